"""The settings of the live part, read from `app.config`, with their units and defaults."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from flasknado.errors import ConfigurationError


@dataclasses.dataclass(frozen=True, slots=True)
class LiveOptions:
    """Each field is `app.config["LIVE_" + its name in capitals]`; `_s` is seconds.

    Read once, when the extension is initialised. All numbers must be positive.
    """

    retention_events: int = 100_000
    """How many kept events the log holds; clients cannot resume from older ones."""
    retention_s: float = 24 * 3600
    """How long the log keeps an event."""
    buffered_retention_events: int = 100_000
    """How many buffered events clients can resume from; kept events do not count."""
    buffered_retention_s: float = 300
    """How long clients can resume from a buffered event."""
    prune_interval_s: float = 30
    """How often each process looks for events to prune."""
    max_data_bytes: int = 64 * 1024
    """The largest data of one event, as JSON."""
    poll_s: float = 0.02
    """How often the log is checked for events that another process has published."""
    heartbeat_s: float = 15
    """How often a client is sent the head of the log."""
    retry_s: float = 2
    """How long a client of an event stream is asked to wait before it reconnects."""
    backlog_limit_bytes: int = 1024 * 1024
    """How much data may wait for a client; beyond it, the client is disconnected and may resume."""
    max_channels: int = 64
    """How many channels a connection may follow."""
    max_subscribers: int = 20_000
    """How many live clients a process may have."""
    max_per_user: int = 200
    """How many live clients of one user a process may have."""
    max_per_address: int = 20_000
    """How many live clients of one address; the default is no further limit, because all clients
    of a proxy may have one address."""
    max_message_bytes: int = 16 * 1024
    """The largest message that a WebSocket client may send."""
    max_messages_per_s: float = 50
    """How many messages a WebSocket client may send per second, on average over two seconds."""
    message_timeout_s: float = 10
    """How long the application may take to handle a client's message."""
    poll_timeout_s: float = 25
    """How long a long-poll waits by default."""
    max_poll_timeout_s: float = 60
    """The longest wait that a long-poll may ask for."""
    fallback_stream_s: float = 25
    """How long `live.stream()` holds a thread under a server that cannot take it over."""
    presence: tuple[str, ...] = ()
    """Channels with presence enabled, as glob patterns such as `post:*`."""
    authorize_timeout_s: float = 10
    """How long the application may take to authorise a client before the client gets 503."""
    authorize_threads: int = 4
    """How many clients are authorised concurrently. Threads that hang are replaced."""
    authorize_queue: int = 2000
    """How many more clients may wait to be authorised; further ones get 503."""
    message_threads: int = 4
    """How many messages of clients the application handles concurrently."""
    message_queue: int = 2000
    """How many more messages may wait; further ones get 503."""
    subscribe_timeout_s: float = 10
    """How long a WebSocket client may take to subscribe to its first channel."""

    max_runs: int = 1000
    """How many runs (`live.run`) a process may have at once; further ones get 503."""
    run_threads: int = 64
    """How many of them may hold a thread, as those of synchronous generators do."""
    run_timeout_s: float = 600
    """How long a run may take before it ends with `run.failed`."""
    max_run_bytes: int = 4 * 1024 * 1024
    """How much data a run may publish before it ends with `run.failed`."""
    run_lost_after_s: float = 15
    """After how long without a sign of life of its process a run counts as interrupted."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LiveOptions:
        """Return the options that `config` sets; raises `ConfigurationError`."""
        values: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            key = f"LIVE_{field.name.upper()}"
            if key == "LIVE_PRESENCE" and key in config:
                values[field.name] = _patterns(key, config[key])
            elif key in config:
                values[field.name] = _positive(key, config[key], whole=field.type == "int")
        return cls(**values)


def _patterns(key: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not all(isinstance(pattern, str) for pattern in value):
        raise ConfigurationError(
            f"{key} must be a list of channels or patterns such as ['post:*'], not {value!r}"
        )
    return tuple(value)


def _positive(key: str, value: Any, *, whole: bool) -> float:
    kinds = int if whole else (int, float)
    if (
        isinstance(value, bool)
        or not isinstance(value, kinds)
        or not math.isfinite(value)
        or value <= 0
    ):
        kind = "whole number" if whole else "number"
        raise ConfigurationError(f"{key} must be a positive {kind}, not {value!r}")
    return value
