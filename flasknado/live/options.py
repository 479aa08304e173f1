"""The settings of the live part, read from `app.config`, with their units and defaults."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from flasknado.errors import ConfigurationError
from flasknado.live.errors import InvalidEvent
from flasknado.live.event import check_pattern


@dataclasses.dataclass(frozen=True, slots=True)
class LiveOptions:
    """Each field is `app.config["LIVE_" + its name in capitals]`; `_s` is seconds.

    Read once, when the extension is initialised. All numbers must be positive.
    """

    retention_events: int = 100_000
    """How many kept events the log holds; clients cannot resume from older ones."""
    retention_s: float = 24 * 3600
    """How long the log keeps an event."""
    channel_retention_s: tuple[tuple[str, float], ...] = ()
    """For which channels the log keeps events for a shorter time: glob patterns with seconds, such
    as `{"telemetry:*": 300}`; the first that matches counts. None is deleted within its first
    minute."""
    channel_retention_events: tuple[tuple[str, int], ...] = ()
    """For which channels the log keeps fewer kept events: glob patterns with the number that each
    channel has, such as `{"chat:*": 500}`."""
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
    patterns: tuple[str, ...] = ()
    """Patterns such as `post:*` that clients may follow; each of its channels is authorised."""
    max_pattern_channels: int = 1000
    """For how many channels of its patterns a client's access is remembered."""
    max_last: int = 100
    """How many of a channel's newest events a client may ask for when it subscribes."""
    max_subscribers: int = 20_000
    """How many live clients a process may have."""
    max_per_user: int = 200
    """How many live clients of one user a process may have."""
    max_per_address: int = 20_000
    """How many live clients of one address; the default is no further limit, because all clients
    of a proxy may have one address."""
    compression: bool = False
    """Whether streams and WebSocket messages are compressed for clients that ask for it."""
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
    fallback_streams: int = 100
    """How many streams and long-polls may hold a thread there at once, in each process; further
    ones get 503. Set it below the number of its threads, so that some are left for pages."""
    tag_lifetime_s: float = 24 * 3600
    """How long a page may subscribe with what `live.tag()` has given it."""
    presence: tuple[str, ...] = ()
    """Channels with presence enabled, as glob patterns such as `post:*`."""
    presence_users: tuple[str, ...] = ()
    """Channels with presence enabled whose readers may also know who is there, by id and `info`."""
    presence_grace_s: float = 5
    """How long a connection that has ended still counts as present, unless its user is back."""
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
    cache_bytes: int = 32 * 1024 * 1024
    """How much each worker keeps of the pages of cached views (`live.cached`)."""
    cache_wait_s: float = 5
    """How long a request waits for the same page that is being made for another."""

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
            if field.type == "tuple[str, ...]" and key in config:
                values[field.name] = _patterns(key, config[key])
                if field.name == "patterns":
                    _check_patterns(key, values[field.name])
            elif key.startswith("LIVE_CHANNEL_RETENTION_") and key in config:
                values[field.name] = _limits(key, config[key], whole=key.endswith("_EVENTS"))
            elif field.type == "bool" and key in config:
                values[field.name] = _truth(key, config[key])
            elif key in config:
                values[field.name] = _positive(key, config[key], whole=field.type == "int")
        options = cls(**values)
        for pattern, age_s in options.channel_retention_s:
            if age_s > options.retention_s:
                raise ConfigurationError(
                    f"LIVE_CHANNEL_RETENTION_S must not be longer than LIVE_RETENTION_S, which is "
                    f"that of the whole log: {pattern!r} has {age_s:g} s, and the log "
                    f"{options.retention_s:g} s"
                )
        return options


def _patterns(key: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not all(isinstance(pattern, str) for pattern in value):
        raise ConfigurationError(
            f"{key} must be a list of channels or patterns such as ['post:*'], not {value!r}"
        )
    return tuple(value)


def _check_patterns(key: str, patterns: tuple[str, ...]) -> None:
    for pattern in patterns:
        try:
            check_pattern(pattern)
        except InvalidEvent as error:
            raise ConfigurationError(f"{key} must hold patterns: {error}") from None


def _limits(key: str, value: Any, *, whole: bool) -> tuple[tuple[str, float], ...]:
    if not isinstance(value, Mapping) or not all(isinstance(pattern, str) for pattern in value):
        raise ConfigurationError(
            f"{key} must be a dict of patterns such as {{'chat:*': 300}}, not {value!r}"
        )
    return tuple(
        (pattern, _positive(f"{key}[{pattern!r}]", limit, whole=whole))
        for pattern, limit in value.items()
    )


def _truth(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError(f"{key} must be True or False, not {value!r}")
    return value


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
