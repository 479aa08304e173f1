"""What one client may take of the server: sizes, counts and seconds, each with its unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from flasknado.errors import ConfigurationError


@dataclass(frozen=True)
class Limits:
    """The limits of each connection of a server; immutable, may be read on any thread.

    A periodic sweep over all connections enforces the timeouts, so each may be late by up to
    twice `sweep_interval_s`. Raises `ConfigurationError` for a value that is not positive.
    """

    max_head_bytes: int = 64 * 1024
    """Request line and header fields together; more is answered 431."""

    max_fields: int = 128
    """Header fields of one request, and again its trailers; more is answered 431."""

    max_target_bytes: int = 16 * 1024
    """The request target; a longer one is answered 414."""

    pipeline_limit: int = 16
    """Requests read ahead from one connection while an earlier one is answered."""

    max_body_bytes: int | str | None = None
    """The largest body, on both halves, in bytes or as `16M`; more is answered 413.
    `None`: the container's, which is 100 MiB."""

    body_limits: Mapping[str, int | str] | None = None
    """Other limits by method and path prefix, on both halves, such as
    `{"POST /upload": "100M", "/login": "64K"}`; see `flasknado.http.body_limits`."""

    memory_limit_bytes: int | None = None
    """What bodies, write buffers and live backlogs of all clients may take of the process's
    memory; at the bound reading pauses, then new bodies get 503.
    `None`: half of the machine's memory or of the control group's."""

    max_connections: int = 50_000
    """Open connections of the server; one more is answered 503 and closed."""

    header_timeout_s: float = 30.0
    """From the first byte of a head (on a new connection: from its start) to its last; then 408."""

    body_timeout_s: float = 30.0
    """How long a body is watched before its rate is judged, again and again; too slow gets 408."""

    min_body_rate_bytes_s: float = 64.0
    """What a body must bring on average in each `body_timeout_s`."""

    keep_alive_timeout_s: float = 75.0
    """How long a connection may rest between two requests; then it is closed."""

    write_timeout_s: float = 60.0
    """How long a client may take nothing of what is waiting for it; then it is cut off."""

    min_write_rate_bytes_s: float = 256.0
    """What a client must take on average in each `write_timeout_s` while something waits for it."""

    busy_write_rate_bytes_s: float = 64.0 * 1024
    """While requests wait for a thread that streams hold: what a client must take on average in
    each `busy_write_window_s` if its response holds a thread; else it may be cut off, the slowest
    first, and no more clients than requests wait."""

    busy_write_window_s: float = 10.0
    """How long such a client is watched before it is judged."""

    response_timeout_s: float | None = None
    """How long a response that has begun may take in all; then it is cut off. `None`: as long
    as it takes. Not for connections that have left HTTP (WebSocket, live events)."""

    write_high_water_bytes: int = 64 * 1024
    """What may wait in a connection's write buffer before the writer must wait too."""

    linger_timeout_s: float = 2.0
    """How long a refused client's bytes are read and dropped, so that it can read the answer."""

    linger_bytes: int = 1024 * 1024
    """How many of them at most."""

    sweep_interval_s: float = 1.0
    """How often the timeouts of all connections are looked at."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None or field.name in ("max_body_bytes", "body_limits"):
                continue  # those of bodies are checked together (`BodyLimits`)
            if value <= 0:
                raise ConfigurationError(f"{field.name} must be more than 0, not {value}")
