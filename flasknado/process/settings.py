"""The server's own settings, beside gunicorn's, in gunicorn's terms.

Importing this module adds them to gunicorn's command line and configuration files. Each,
and each of gunicorn's own, is also read from `FLASKNADO_<NAME>` in the environment; the
command line, `GUNICORN_CMD_ARGS` and the configuration file win.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from gunicorn.config import (
    Config,
    ForwardedAllowIPS,
    Setting,
    validate_bool,
    validate_chdir,
    validate_dict,
    validate_file_exists,
    validate_group,
    validate_list_string,
    validate_pos_int,
    validate_reload_engine,
    validate_string,
    validate_user,
)
from gunicorn.reloader import reloader_engines

from flasknado.http.body_limits import DEFAULT_MAX_BODY_BYTES, BodyLimits, split_rule
from flasknado.http.forwarded import DEFAULT_FIELDS, SECURE_SCHEMES, checked_fields
from flasknado.http.limits import Limits
from flasknado.http.memory import default_limit_bytes
from flasknado.http.networks import check_entry
from flasknado.on_loop.host import DEFAULT_MAX_STREAMS
from flasknado.ops.metrics.access import MIN_TOKEN_CHARS, NOBODY, is_token
from flasknado.ops.vitals import DEFAULT_STUCK_AFTER_S
from flasknado.server import LAYERS, default_layer
from flasknado.sizes import size_bytes
from flasknado.static.files import checked_prefix
from flasknado.wsgi.container import ABANDONED_AFTER_S, STREAM_GRACE_S, STREAM_THREADS

SECTION = "Flasknado"
OF_THE_APPLICATION = "app"
"""What `static` says for the static folders of the application itself."""

LIMITS = Limits()

DEFAULTS: Mapping[str, Any] = {
    "worker_class": "flasknado.Worker",
    "logger_class": "flasknado.Logger",
    "threads": 16,
    "worker_connections": 20_000,
    "keepalive": 75,
    "limit_request_line": LIMITS.max_target_bytes,
    "limit_request_fields": LIMITS.max_fields,
    "control_socket_disable": True,
    "forwarded_allow_ips": "127.0.0.1,::1,unix",
    "secure_scheme_headers": {name.upper(): value for name, value in SECURE_SCHEMES.items()},
    "umask": 0o007,
}
"""What gunicorn's settings are by default here: values that suit a hybrid."""

LEAST: Mapping[str, int] = {"workers": 1, "threads": 1, "worker_connections": 1, "backlog": 1}
"""The least values of numbers that must not be 0."""

SECRET = frozenset({"metrics_token"})
"""Settings whose values are never shown."""


def _validate_seconds(value: Any) -> float:
    seconds = float(value)
    if not 0 < seconds < math.inf:
        raise ValueError(f"{value!r} is not above 0")
    return seconds


def _validate_not_negative(value: Any) -> float:
    seconds = float(value)
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{value!r} is below 0")
    return seconds


def _validate_share(value: Any) -> float:
    share = float(value)
    if not 0 < share <= 1:
        raise ValueError(f"{value!r} is not above 0 and at most 1")
    return share


def _validate_size(value: Any) -> int:
    size = size_bytes(value, "the size")
    if size == 0:
        raise ValueError("the size is 0")
    return size


def _validate_size_or_zero(value: Any) -> int:
    return size_bytes(value, "the size")


def _validate_body_limits(value: Any) -> list[str]:
    """Take one rule, or several as a list, or as text with commas or line ends between them."""
    items = re.split(r"[,\n]", value) if isinstance(value, str) else list(value or ())
    rules = [str(item).strip() for item in items]
    rules = [rule for rule in rules if rule]
    BodyLimits(rules=dict(map(split_rule, rules)))
    return rules


def _validate_static(value: Any) -> list[str]:
    """Take one folder, or several as a list, or as text with commas between them."""
    items = value.split(",") if isinstance(value, str) else list(value or ())
    texts = [str(item).strip() for item in items]
    for text in texts:
        prefix, separator, folder = text.partition("=")
        if text != OF_THE_APPLICATION and not (separator and folder):
            raise ValueError(f"{text!r} is no folder")
        if separator:
            checked_prefix(prefix)
    return texts


def _validate_layer(value: Any) -> str:
    if value not in LAYERS:
        raise ValueError(f"there is no layer {value!r}")
    return str(value)


def _validate_prefix(value: Any) -> str:
    text = str(value).strip()
    if text and (not text.startswith("/") or text.endswith("/")):
        raise ValueError(f"{value!r} is not a prefix")
    return text


def _validate_networks(value: Any) -> list[str]:
    """Take what gunicorn takes for `forwarded_allow_ips`, and `unix`."""
    items = value if isinstance(value, list | tuple) else str(value or "").split(",")
    entries = [item.strip() for item in items if item.strip()]
    for entry in entries:
        check_entry(entry)
    return entries


ForwardedAllowIPS.validator = staticmethod(_validate_networks)


def _validate_trusted_fields(value: Any) -> list[str]:
    items = value.split(",") if isinstance(value, str) else list(value or ())
    names = [item for item in items if item.strip()]
    return sorted(checked_fields(() if names == ["none"] else names))


def _validate_metrics_allow(value: Any) -> str:
    text = str(value or "").strip()
    if text != NOBODY:
        _validate_networks(text)
    return text


def _validate_token(value: Any) -> str | None:
    token: str | None = validate_string(value)
    if token and not is_token(token):
        raise ValueError("it could be guessed")
    return token


RULES: Mapping[Any, str] = {
    _validate_seconds: "a number of seconds above 0",
    _validate_not_negative: "a number of seconds, 0 or more",
    _validate_share: "a number above 0 and at most 1",
    _validate_size: "a whole number of bytes above 0, or one with K, M or G such as 64K",
    _validate_size_or_zero: "a whole number of bytes, or one with K, M or G such as 64K",
    _validate_layer: f"one of {', '.join(LAYERS)}",
    _validate_prefix: "a path that begins with a slash and does not end with one, such as /shop",
    _validate_static: "a path prefix and a folder, such as /static=web/static, or app",
    _validate_token: f"at least {MIN_TOKEN_CHARS} ASCII characters without spaces",
    validate_bool: "true or false",
    validate_chdir: "an existing folder",
    validate_dict: "a dictionary",
    validate_file_exists: "an existing file",
    validate_group: "a group of this machine",
    validate_list_string: "a string or a list of strings",
    validate_pos_int: "a whole number, 0 or more",
    validate_reload_engine: f"one of {', '.join(reloader_engines)}",
    validate_string: "a string",
    validate_user: "a user of this machine",
}
"""What a value must be, by the function that validates it. The others explain it themselves."""


class Handlers(Setting):
    name = "handlers"
    section = SECTION
    cli = ["--handlers"]
    meta = "MODULE:ROUTES"
    validator = validate_string
    default = None
    desc = """\
        Native routes to serve beside the application: a list of Tornado routes, or a function
        without arguments that returns one.
        """


class Static(Setting):
    name = "static"
    section = SECTION
    cli = ["--static"]
    action = "append"
    meta = "PREFIX=FOLDER"
    validator = _validate_static
    default = ()
    desc = """\
        A folder whose files are served on the event loop, without the application, such as
        /static=web/static; app: the static folders of the Flask application and its blueprints.

        May be repeated; in FLASKNADO_STATIC, separate them with commas.
        """


class HttpLayer(Setting):
    name = "http_layer"
    section = SECTION
    cli = ["--http"]
    meta = "LAYER"
    validator = _validate_layer
    default = default_layer()
    desc = f"""\
        The connection layer: one of {", ".join(LAYERS)}.
        """


class QueueLimit(Setting):
    name = "queue_limit"
    section = SECTION
    cli = ["--queue-limit"]
    meta = "INT"
    validator = validate_pos_int
    type = int
    default = 0
    desc = """\
        How many requests may wait for a thread in each worker; further requests get 503.

        0 means 64 per thread.
        """


class QueueTimeout(Setting):
    name = "queue_timeout"
    section = SECTION
    cli = ["--queue-timeout"]
    meta = "SECONDS"
    validator = _validate_seconds
    type = float
    default = 30.0
    desc = """\
        How long a request may wait for a thread before it gets 503.
        """


class RequestTimeout(Setting):
    name = "request_timeout"
    section = SECTION
    cli = ["--request-timeout"]
    meta = "SECONDS"
    validator = _validate_not_negative
    type = float
    default = 0.0
    desc = """\
        How long a request may run before its client gets 504; 0 means no limit.

        The thread runs on, and the log shows where it is.
        """


class StuckShare(Setting):
    name = "stuck_share"
    section = SECTION
    cli = ["--stuck-share"]
    meta = "SHARE"
    validator = _validate_share
    type = float
    default = 0.5
    desc = """\
        The share of a worker's threads that has to hang before something is done: once that many
        run past --request-timeout or are abandoned, the worker is replaced; once that many run
        past --stuck-after, readyz answers 503.
        """


class StuckAfter(Setting):
    name = "stuck_after"
    section = SECTION
    cli = ["--stuck-after"]
    meta = "SECONDS"
    validator = _validate_not_negative
    type = float
    default = DEFAULT_STUCK_AFTER_S
    desc = """\
        How long a request may run without starting a response before its thread counts as
        stuck for readyz; 0 turns the check off.
        """


class SlowRequest(Setting):
    name = "slow_request"
    section = SECTION
    cli = ["--slow-request"]
    meta = "SECONDS"
    validator = _validate_not_negative
    type = float
    default = 0.0
    desc = """\
        How long a request may run before the log shows once where its thread is; 0 means never.
        """


class AbandonedAfter(Setting):
    name = "abandoned_after"
    section = SECTION
    cli = ["--abandoned-after"]
    meta = "SECONDS"
    validator = _validate_not_negative
    type = float
    default = ABANDONED_AFTER_S
    desc = """\
        How long a thread may go on with a request after its client has left before it counts as
        stuck and the log shows once where it is; 0 means no limit.
        """


class MaxLoopStreams(Setting):
    name = "max_loop_streams"
    section = SECTION
    cli = ["--max-loop-streams"]
    meta = "INT"
    validator = validate_pos_int
    type = int
    default = DEFAULT_MAX_STREAMS
    desc = """\
        How many responses the event loop of a worker may make at once (flasknado.stream); further
        ones get 503.
        """


class StreamThreads(Setting):
    name = "stream_threads"
    section = SECTION
    cli = ["--stream-threads"]
    meta = "INT"
    validator = validate_pos_int
    type = int
    default = STREAM_THREADS
    desc = """\
        How many streams, WebSockets of libraries and long polls may hold a thread each, in each
        worker, beside the threads that run views; one more stream gets 503. 0 means that they
        hold those that run views.
        """


class StreamGrace(Setting):
    name = "stream_grace"
    section = SECTION
    cli = ["--stream-grace"]
    meta = "SECONDS"
    validator = _validate_not_negative
    type = float
    default = STREAM_GRACE_S
    desc = """\
        How long streams of server-sent events may go on once the server drains; then they are
        ended, so that their clients reconnect elsewhere. Other responses have the whole
        --graceful-timeout.
        """


class MaxMemory(Setting):
    name = "max_memory"
    section = SECTION
    cli = ["--max-memory"]
    meta = "SIZE"
    validator = _validate_size_or_zero
    default = 0
    desc = """\
        How much memory a worker may take before it is replaced, in bytes or as 512M; 0 means no
        limit.
        """


class MaxBody(Setting):
    name = "max_body"
    section = SECTION
    cli = ["--max-body"]
    meta = "SIZE"
    validator = _validate_size
    default = DEFAULT_MAX_BODY_BYTES
    desc = """\
        The largest request body, for views and native handlers alike, in bytes or as 64K, 16M,
        1G; larger bodies get 413.
        """


class MaxBodyFor(Setting):
    name = "max_body_for"
    section = SECTION
    cli = ["--max-body-for"]
    action = "append"
    meta = "RULE"
    validator = _validate_body_limits
    default = ()
    desc = """\
        A different limit for a path and everything below it, with an optional method:
        'POST /upload=100M'.

        May be repeated; in FLASKNADO_MAX_BODY_FOR, separate the rules with commas.
        """


class MemoryLimit(Setting):
    name = "memory_limit"
    section = SECTION
    cli = ["--memory-limit"]
    meta = "SIZE"
    validator = _validate_size_or_zero
    default = 0
    desc = """\
        The most memory that the bodies, write buffers and live backlogs of all clients may take
        in a worker, in bytes or as 512M. Beyond it, reading pauses, then bodies get 503.

        0 means half of the machine's memory, or of the control group's if that is less, divided
        among the workers.
        """


class MinWriteRate(Setting):
    name = "min_write_rate"
    section = SECTION
    cli = ["--min-write-rate"]
    meta = "SIZE"
    validator = _validate_size
    default = int(LIMITS.min_write_rate_bytes_s)
    desc = """\
        The lowest average rate, in bytes per second over each --write-timeout, at which a
        client may take the response data that waits for it; slower clients are disconnected.
        """


class BusyWriteRate(Setting):
    name = "busy_write_rate"
    section = SECTION
    cli = ["--busy-write-rate"]
    meta = "SIZE"
    validator = _validate_size
    default = int(LIMITS.busy_write_rate_bytes_s)
    desc = """\
        The same over each 10 seconds, for responses that hold a thread while requests wait for
        one: the slowest clients are disconnected, at most as many as requests are waiting.
        """


class ResponseTimeout(Setting):
    name = "response_timeout"
    section = SECTION
    cli = ["--response-timeout"]
    meta = "SECONDS"
    validator = _validate_not_negative
    type = float
    default = 0.0
    desc = """\
        How long a response may take in total once it has started; then the client is
        disconnected. Does not apply to WebSockets and live events. 0 means no limit.
        """


class Mount(Setting):
    name = "mount"
    section = SECTION
    cli = ["--mount"]
    meta = "PREFIX"
    validator = _validate_prefix
    default = ""
    desc = """\
        A path prefix such as /shop under which the application and the native handlers are
        served. The default is SCRIPT_NAME in the environment.
        """


class OpsPrefix(Setting):
    name = "ops_prefix"
    section = SECTION
    cli = ["--ops-prefix"]
    meta = "PREFIX"
    validator = _validate_prefix
    default = "/-"
    desc = """\
        The path prefix of healthz, readyz and metrics.
        """


class HeaderTimeout(Setting):
    name = "header_timeout"
    section = SECTION
    cli = ["--header-timeout"]
    meta = "SECONDS"
    validator = _validate_seconds
    type = float
    default = LIMITS.header_timeout_s
    desc = """\
        How long a client may take to send the head of a request before it gets 408.
        """


class BodyTimeout(Setting):
    name = "body_timeout"
    section = SECTION
    cli = ["--body-timeout"]
    meta = "SECONDS"
    validator = _validate_seconds
    type = float
    default = LIMITS.body_timeout_s
    desc = """\
        How long a request body may take before its rate is checked; a body that arrives too
        slowly gets 408.
        """


class WriteTimeout(Setting):
    name = "write_timeout"
    section = SECTION
    cli = ["--write-timeout"]
    meta = "SECONDS"
    validator = _validate_seconds
    type = float
    default = LIMITS.write_timeout_s
    desc = """\
        How long a client may take none of the data that waits for it before it is disconnected.
        """


class MaxHead(Setting):
    name = "max_head"
    section = SECTION
    cli = ["--max-head"]
    meta = "BYTES"
    validator = validate_pos_int
    type = int
    default = LIMITS.max_head_bytes
    desc = """\
        The largest request head (request line and header fields), in bytes; larger heads get
        431.
        """


class LameDuck(Setting):
    name = "lame_duck"
    section = SECTION
    cli = ["--lame-duck"]
    meta = "SECONDS"
    validator = _validate_not_negative
    type = float
    default = 0.0
    desc = """\
        How long to go on accepting connections during a shutdown, while readyz answers 503, so
        that a load balancer stops sending new ones first. Does not apply to reloads.
        """


class LogFormat(Setting):
    name = "log_format"
    section = SECTION
    cli = ["--log-format"]
    meta = "FORMAT"
    validator = validate_string
    default = "text"
    desc = """\
        The format of the error log: text, or json (one object per line).
        """


class SecretParameters(Setting):
    name = "secret_parameters"
    section = SECTION
    cli = ["--secret-parameters"]
    meta = "NAMES"
    validator = validate_string
    default = ""
    desc = """\
        Query parameters whose values are hidden in the logs, separated by commas, in addition
        to the usual ones (token, access_token, ticket, jwt, ...).
        """


class OpsBind(Setting):
    name = "ops_bind"
    section = SECTION
    cli = ["--ops-bind"]
    meta = "ADDRESS"
    validator = validate_string
    default = None
    desc = """\
        A separate address for healthz, readyz and metrics: HOST:PORT or unix:PATH. The other
        addresses then do not serve them.
        """


class MetricsAllow(Setting):
    name = "metrics_allow"
    section = SECTION
    cli = ["--metrics-allow"]
    meta = "NETWORKS"
    validator = _validate_metrics_allow
    default = ""
    desc = """\
        The clients that may read the metrics without the token, if no proxy has forwarded the
        request: addresses and CIDR blocks separated by commas, unix for clients on a Unix
        socket, * for everyone, or none. The default is the clients on this machine that use the
        server's own address, or none if a token is set.
        """


class MetricsToken(Setting):
    name = "metrics_token"
    section = SECTION
    cli = ["--metrics-token"]
    meta = "TOKEN"
    validator = _validate_token
    default = None
    desc = """\
        Clients that send this token (Authorization: Bearer TOKEN) may read the metrics from
        anywhere. Set it in the environment rather than on the command line, which every user
        of the machine can see.
        """


class TrustedFields(Setting):
    name = "trusted_fields"
    section = SECTION
    cli = ["--trusted-fields"]
    meta = "NAMES"
    validator = _validate_trusted_fields
    default = ",".join(DEFAULT_FIELDS)
    desc = """\
        What the proxies in --forwarded-allow-ips are trusted for, separated by commas: proto,
        for, host, port, prefix, request-id, client-cert, and forwarded to read for, proto and
        host from Forwarded (RFC 7239) only. Name only what the proxy sets on every request:
        everything else comes from the client. none: they are trusted for nothing.
        """


OWN = (
    Handlers,
    Static,
    HttpLayer,
    QueueLimit,
    QueueTimeout,
    RequestTimeout,
    StuckShare,
    SlowRequest,
    AbandonedAfter,
    MaxLoopStreams,
    StreamThreads,
    StreamGrace,
    MaxMemory,
    StuckAfter,
    MaxBody,
    MaxBodyFor,
    MemoryLimit,
    MinWriteRate,
    BusyWriteRate,
    ResponseTimeout,
    Mount,
    OpsPrefix,
    HeaderTimeout,
    BodyTimeout,
    WriteTimeout,
    MaxHead,
    LameDuck,
    LogFormat,
    SecretParameters,
    OpsBind,
    MetricsAllow,
    MetricsToken,
    TrustedFields,
)


def option(cfg: Config, name: str) -> Any:
    """Return one of our settings; its default if this configuration was made without them."""
    setting = cfg.settings.get(name)
    if setting is not None:
        return setting.get()
    return next(own().get() for own in OWN if own.name == name)


def limits_of(cfg: Config) -> Limits:
    """Return what one client may take, by gunicorn's settings and ours."""
    return Limits(
        max_body_bytes=option(cfg, "max_body"),
        body_limits=dict(map(split_rule, option(cfg, "max_body_for"))),
        max_head_bytes=option(cfg, "max_head"),
        max_fields=cfg.limit_request_fields or LIMITS.max_fields,
        max_target_bytes=cfg.limit_request_line or LIMITS.max_target_bytes,
        max_connections=cfg.worker_connections,
        header_timeout_s=option(cfg, "header_timeout"),
        body_timeout_s=option(cfg, "body_timeout"),
        keep_alive_timeout_s=cfg.keepalive or LIMITS.keep_alive_timeout_s,
        write_timeout_s=option(cfg, "write_timeout"),
        min_write_rate_bytes_s=option(cfg, "min_write_rate"),
        busy_write_rate_bytes_s=option(cfg, "busy_write_rate"),
        response_timeout_s=option(cfg, "response_timeout") or None,
        memory_limit_bytes=option(cfg, "memory_limit") or default_limit_bytes(cfg.workers),
    )
