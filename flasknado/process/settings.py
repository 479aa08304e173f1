"""The server's own settings, beside gunicorn's, in gunicorn's terms.

Importing this module adds them to gunicorn's command line and configuration files. Each,
and each of gunicorn's own, is also read from `FLASKNADO_<NAME>` in the environment; the
command line, `GUNICORN_CMD_ARGS` and the configuration file win.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from gunicorn.config import (
    Config,
    ForwardedAllowIPS,
    Setting,
    SettingMeta,
    validate_bool,
    validate_pos_int,
    validate_string,
)

from flasknado.http.body_limits import DEFAULT_MAX_BODY_BYTES, split_rule
from flasknado.http.forwarded import DEFAULT_FIELDS, SECURE_SCHEMES
from flasknado.http.limits import Limits
from flasknado.http.memory import default_limit_bytes
from flasknado.on_loop.host import DEFAULT_MAX_STREAMS
from flasknado.ops.vitals import DEFAULT_STUCK_AFTER_S
from flasknado.process.validators import (
    validate_body_limits,
    validate_layer,
    validate_metrics_allow,
    validate_networks,
    validate_not_negative,
    validate_prefix,
    validate_seconds,
    validate_share,
    validate_size,
    validate_size_or_zero,
    validate_static,
    validate_token,
    validate_trusted_fields,
)
from flasknado.server import LAYERS, default_layer
from flasknado.wsgi.container import ABANDONED_AFTER_S, STREAM_GRACE_S, STREAM_THREADS

SECTION = "Flasknado"
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


ForwardedAllowIPS.validator = staticmethod(validate_networks)

TYPES: Final = {"INT": int, "BYTES": int, "SECONDS": float, "SHARE": float}
"""What the text of an option is converted to, by what the help calls its value."""


def _own(
    option: str,
    validator: Callable[[Any], Any],
    default: Any,
    text: str,
    *,
    name: str | None = None,
    action: str | None = None,
) -> Any:
    """Add a setting to gunicorn's, and return its class; `option` is as the help shows it."""
    flag, _, meta = option.partition(" ")
    name = name or flag.removeprefix("--").replace("-", "_")
    attributes = {
        "name": name,
        "section": SECTION,
        "cli": [flag],
        "meta": meta,
        "validator": validator,
        "default": default,
        "desc": text,
        "action": action,
        "type": TYPES.get(meta),
    }
    return SettingMeta(name.title().replace("_", ""), (Setting,), attributes)


OWN: Final = (
    _own(
        "--debug",
        validate_bool,
        False,
        "Development mode, on this machine only: errors in Werkzeug's debugger, a restart when "
        "code changes, pages that reload themselves, a line for each request.",
        action="store_true",
    ),
    _own(
        "--handlers MODULE:ROUTES",
        validate_string,
        None,
        "Native routes to serve beside the application: a list of Tornado routes, or a function "
        "without arguments that returns one.",
    ),
    _own(
        "--static PREFIX=FOLDER",
        validate_static,
        (),
        "A folder whose files are served on the event loop, without the application, such as "
        "/static=web/static; app: the static folders of the Flask application and its "
        "blueprints.\n\n"
        "May be repeated; in FLASKNADO_STATIC, separate them with commas.",
        action="append",
    ),
    _own(
        "--http LAYER",
        validate_layer,
        default_layer(),
        f"The connection layer: one of {', '.join(LAYERS)}.",
        name="http_layer",
    ),
    _own(
        "--queue-limit INT",
        validate_pos_int,
        0,
        "How many requests may wait for a thread in each worker; further requests get 503.\n\n"
        "0 means 64 per thread.",
    ),
    _own(
        "--queue-timeout SECONDS",
        validate_seconds,
        30.0,
        "How long a request may wait for a thread before it gets 503.",
    ),
    _own(
        "--request-timeout SECONDS",
        validate_not_negative,
        0.0,
        "How long a request may run before its client gets 504; 0 means no limit.\n\n"
        "The thread runs on, and the log shows where it is.",
    ),
    _own(
        "--stuck-share SHARE",
        validate_share,
        0.5,
        "The share of a worker's threads that has to hang before something is done: once that "
        "many run past --request-timeout or are abandoned, the worker is replaced; once that many "
        "run past --stuck-after, readyz answers 503.",
    ),
    _own(
        "--slow-request SECONDS",
        validate_not_negative,
        0.0,
        "How long a request may run before the log shows once where its thread is; 0 means never.",
    ),
    _own(
        "--abandoned-after SECONDS",
        validate_not_negative,
        ABANDONED_AFTER_S,
        "How long a thread may go on with a request after its client has left before it counts as "
        "stuck and the log shows once where it is; 0 means no limit.",
    ),
    _own(
        "--max-loop-streams INT",
        validate_pos_int,
        DEFAULT_MAX_STREAMS,
        "How many responses the event loop of a worker may make at once (flasknado.stream); "
        "further ones get 503.",
    ),
    _own(
        "--stream-threads INT",
        validate_pos_int,
        STREAM_THREADS,
        "How many streams, WebSockets of libraries and long polls may hold a thread each, in each "
        "worker, beside the threads that run views; one more stream gets 503. 0 means that they "
        "hold those that run views.",
    ),
    _own(
        "--stream-grace SECONDS",
        validate_not_negative,
        STREAM_GRACE_S,
        "How long streams of server-sent events may go on once the server drains; then they are "
        "ended, so that their clients reconnect elsewhere. Other responses have the whole "
        "--graceful-timeout.",
    ),
    _own(
        "--max-memory SIZE",
        validate_size_or_zero,
        0,
        "How much memory a worker may take before it is replaced, in bytes or as 512M; 0 means no "
        "limit.",
    ),
    _own(
        "--stuck-after SECONDS",
        validate_not_negative,
        DEFAULT_STUCK_AFTER_S,
        "How long a request may run without starting a response before its thread counts as stuck "
        "for readyz; 0 turns the check off.",
    ),
    _own(
        "--max-body SIZE",
        validate_size,
        DEFAULT_MAX_BODY_BYTES,
        "The largest request body, for views and native handlers alike, in bytes or as 64K, 16M, "
        "1G; larger bodies get 413.",
    ),
    _own(
        "--max-body-for RULE",
        validate_body_limits,
        (),
        "A different limit for a path and everything below it, with an optional method: 'POST "
        "/upload=100M'.\n\nMay be repeated; in FLASKNADO_MAX_BODY_FOR, separate the rules with "
        "commas.",
        action="append",
    ),
    _own(
        "--memory-limit SIZE",
        validate_size_or_zero,
        0,
        "The most memory that the bodies, write buffers and live backlogs of all clients may take "
        "in a worker, in bytes or as 512M. Beyond it, reading pauses, then bodies get 503.\n\n"
        "0 means half of the machine's memory, or of the control group's if that is less, divided "
        "among the workers.",
    ),
    _own(
        "--min-write-rate SIZE",
        validate_size,
        int(LIMITS.min_write_rate_bytes_s),
        "The lowest average rate, in bytes per second over each --write-timeout, at which a "
        "client may take the response data that waits for it; slower clients are disconnected.",
    ),
    _own(
        "--busy-write-rate SIZE",
        validate_size,
        int(LIMITS.busy_write_rate_bytes_s),
        "The same over each 10 seconds, for responses that hold a thread while requests wait for "
        "one: the slowest clients are disconnected, at most as many as requests are waiting.",
    ),
    _own(
        "--response-timeout SECONDS",
        validate_not_negative,
        0.0,
        "How long a response may take in total once it has started; then the client is "
        "disconnected. Does not apply to WebSockets and live events. 0 means no limit.",
    ),
    _own(
        "--mount PREFIX",
        validate_prefix,
        "",
        "A path prefix such as /shop under which the application and the native handlers are "
        "served. The default is SCRIPT_NAME in the environment.",
    ),
    _own(
        "--ops-prefix PREFIX",
        validate_prefix,
        "/-",
        "The path prefix of healthz, readyz and metrics.",
    ),
    _own(
        "--header-timeout SECONDS",
        validate_seconds,
        LIMITS.header_timeout_s,
        "How long a client may take to send the head of a request before it gets 408.",
    ),
    _own(
        "--body-timeout SECONDS",
        validate_seconds,
        LIMITS.body_timeout_s,
        "How long a request body may take before its rate is checked; a body that arrives too "
        "slowly gets 408.",
    ),
    _own(
        "--write-timeout SECONDS",
        validate_seconds,
        LIMITS.write_timeout_s,
        "How long a client may take none of the data that waits for it before it is disconnected.",
    ),
    _own(
        "--max-head BYTES",
        validate_pos_int,
        LIMITS.max_head_bytes,
        "The largest request head (request line and header fields), in bytes; larger heads get "
        "431.",
    ),
    _own(
        "--lame-duck SECONDS",
        validate_not_negative,
        0.0,
        "How long to go on accepting connections during a shutdown, while readyz answers 503, so "
        "that a load balancer stops sending new ones first. Does not apply to reloads.",
    ),
    _own(
        "--log-format FORMAT",
        validate_string,
        "text",
        "The format of the error log: text, or json (one object per line).",
    ),
    _own(
        "--secret-parameters NAMES",
        validate_string,
        "",
        "Query parameters whose values are hidden in the logs, separated by commas, in addition "
        "to the usual ones (token, access_token, ticket, jwt, ...).",
    ),
    _own(
        "--ops-bind ADDRESS",
        validate_string,
        None,
        "A separate address for healthz, readyz and metrics: HOST:PORT or unix:PATH. The other "
        "addresses then do not serve them.",
    ),
    _own(
        "--metrics-allow NETWORKS",
        validate_metrics_allow,
        "",
        "The clients that may read the metrics without the token, if no proxy has forwarded the "
        "request: addresses and CIDR blocks separated by commas, unix for clients on a Unix "
        "socket, * for everyone, or none. The default is the clients on this machine that use the "
        "server's own address, or none if a token is set.",
    ),
    _own(
        "--metrics-token TOKEN",
        validate_token,
        None,
        "Clients that send this token (Authorization: Bearer TOKEN) may read the metrics from "
        "anywhere. Set it in the environment rather than on the command line, which every user of "
        "the machine can see.",
    ),
    _own(
        "--trusted-fields NAMES",
        validate_trusted_fields,
        ",".join(DEFAULT_FIELDS),
        "What the proxies in --forwarded-allow-ips are trusted for, separated by commas: proto, "
        "for, host, port, prefix, request-id, client-cert, and forwarded to read for, proto and "
        "host from Forwarded (RFC 7239) only. Name only what the proxy sets on every request: "
        "everything else comes from the client. none: they are trusted for nothing.",
    ),
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
