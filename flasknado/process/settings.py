"""The server's own settings, beside gunicorn's, in gunicorn's terms.

Importing this module adds them to gunicorn's command line and configuration files. Each,
and each of gunicorn's own, is also read from `FLASKNADO_<NAME>` in the environment; the
command line, `GUNICORN_CMD_ARGS` and the configuration file win.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from gunicorn.config import (
    Config,
    ForwardedAllowIPS,
    Setting,
    validate_dict,
    validate_pos_int,
    validate_string,
)
from gunicorn.errors import ConfigError

from flasknado.errors import ConfigurationError
from flasknado.http.body_limits import DEFAULT_MAX_BODY_BYTES, BodyLimits, split_rule
from flasknado.http.forwarded import DEFAULT_FIELDS, SECURE_SCHEMES, checked_fields
from flasknado.http.limits import Limits
from flasknado.http.memory import default_limit_bytes
from flasknado.http.networks import Networks
from flasknado.ops.vitals import DEFAULT_STUCK_AFTER_S
from flasknado.server import LAYERS, default_layer
from flasknado.sizes import size_bytes
from flasknado.wsgi.container import ABANDONED_AFTER_S

SECTION = "Flasknado"
LIMITS = Limits()
ENVIRONMENT_PREFIX = "FLASKNADO_"

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


def _validate_seconds(value: Any) -> float:
    seconds = float(value)
    if not 0 < seconds < math.inf:
        raise ValueError(f"{value!r} is not a number of seconds above 0")
    return seconds


def _validate_not_negative(value: Any) -> float:
    seconds = float(value)
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{value!r} is not a number of seconds of 0 or more")
    return seconds


def _validate_share(value: Any) -> float:
    share = float(value)
    if not 0 < share <= 1:
        raise ValueError(f"{value!r} is not a share above 0 and up to 1")
    return share


def _size_of(name: str, least_bytes: int = 1) -> Callable[[Any], int]:
    """Return a validator of sizes such as `64K`, whose errors call the value by `name`."""

    def validate(value: Any) -> int:
        size = size_bytes(value, name)
        if size < least_bytes:
            raise ConfigurationError(f"{name} must be {least_bytes} bytes or more, not {value!r}")
        return size

    return validate


def _validate_body_limits(value: Any) -> list[str]:
    """Take one rule, or several as a list, or as text with commas or line ends between them."""
    items = re.split(r"[,\n]", value) if isinstance(value, str) else list(value or ())
    rules = [str(item).strip() for item in items]
    rules = [rule for rule in rules if rule]
    BodyLimits(rules=dict(map(split_rule, rules)))
    return rules


def _validate_layer(value: Any) -> str:
    if value not in LAYERS:
        raise ValueError(f"{value!r} is not one of {', '.join(LAYERS)}")
    return str(value)


def _validate_prefix(value: Any) -> str:
    text = str(value).strip()
    if text and (not text.startswith("/") or text.endswith("/")):
        raise ValueError(f"{value!r} must begin with a slash and not end with one, as /shop does")
    return text


def _validate_networks(value: Any) -> list[str]:
    """Take what gunicorn takes for `forwarded_allow_ips`, and `unix`."""
    items = value if isinstance(value, list | tuple) else str(value or "").split(",")
    networks = [item.strip() for item in items if item.strip()]
    try:
        Networks(networks, "the list")
    except ConfigurationError as error:
        raise ValueError(str(error)) from None
    return networks


ForwardedAllowIPS.validator = staticmethod(_validate_networks)


def _validate_trusted_fields(value: Any) -> list[str]:
    items = value.split(",") if isinstance(value, str) else list(value or ())
    names = [item for item in items if item.strip()]
    try:
        return sorted(checked_fields(() if names == ["none"] else names))
    except ConfigurationError as error:
        raise ValueError(str(error)) from None


class Handlers(Setting):
    name = "handlers"
    section = SECTION
    cli = ["--handlers"]
    meta = "MODULE:ROUTES"
    validator = validate_string
    default = None
    desc = """\
        Native routes to serve beside the application: a list of Tornado's routes,
        or a function without arguments that returns one.
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
        How many requests of a worker may wait for a thread; one more is answered 503.

        0 means 64 for each thread.
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
        How long a request may wait for a thread before it is answered 503.
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
        How long a request may run before its client is answered 504; 0: as long as it takes.

        The thread goes on, and the log says where it is.
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
        The share of a worker's threads that may be stuck (past the request timeout, or abandoned)
        before the worker is replaced, and past --stuck-after before readyz answers 503.
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
        How long a request may run without beginning a response before its thread counts as
        stuck for readyz; 0: it never does.
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
        How long a request may run before the log says once where its thread is; 0: never.
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
        How long a thread may go on with a request after its client has left; then it counts as
        stuck, and the log says once where it is. 0: for ever.
        """


class MaxMemory(Setting):
    name = "max_memory"
    section = SECTION
    cli = ["--max-memory"]
    meta = "SIZE"
    validator = _size_of("max_memory", 0)
    default = 0
    desc = """\
        How much memory a worker may take before it is replaced, and goes, in bytes or as 512M;
        0: any.
        """


class MaxBody(Setting):
    name = "max_body"
    section = SECTION
    cli = ["--max-body"]
    meta = "SIZE"
    validator = _size_of("max_body")
    default = DEFAULT_MAX_BODY_BYTES
    desc = """\
        The largest request body of both halves, in bytes or as 64K, 16M, 1G; a larger one
        is answered 413.
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
        Another limit for a path and all below it, after an optional method: 'POST /upload=100M'.

        May be given several times; in FLASKNADO_MAX_BODY_FOR, with commas between.
        """


class MemoryLimit(Setting):
    name = "memory_limit"
    section = SECTION
    cli = ["--memory-limit"]
    meta = "SIZE"
    validator = _size_of("memory_limit", 0)
    default = 0
    desc = """\
        What the bodies, write buffers and live backlogs of all clients may take of a worker's
        memory, in bytes or as 512M; then reading pauses, and then bodies are answered 503.

        0 means half of the machine's memory, or of the control group's if that is less,
        divided among the workers.
        """


class MinWriteRate(Setting):
    name = "min_write_rate"
    section = SECTION
    cli = ["--min-write-rate"]
    meta = "SIZE"
    validator = _size_of("min_write_rate")
    default = int(LIMITS.min_write_rate_bytes_s)
    desc = """\
        How many bytes a second a client must take of a response on average in each
        --write-timeout, while something waits for it; then it is cut off.
        """


class BusyWriteRate(Setting):
    name = "busy_write_rate"
    section = SECTION
    cli = ["--busy-write-rate"]
    meta = "SIZE"
    validator = _size_of("busy_write_rate")
    default = int(LIMITS.busy_write_rate_bytes_s)
    desc = """\
        The same while requests wait for a thread and the client's response holds one, in
        each 10 seconds: the slowest are cut off, no more than requests wait.
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
        How long a response that has begun may take in all; then it is cut off. Not for
        WebSockets and live events. 0: as long as it takes.
        """


class Mount(Setting):
    name = "mount"
    section = SECTION
    cli = ["--mount"]
    meta = "PREFIX"
    validator = _validate_prefix
    default = ""
    desc = """\
        A path prefix such as /shop under which the application and the native handlers
        answer (SCRIPT_NAME). By default what SCRIPT_NAME is in the environment.
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
        How long a client may take to send the head of a request; then 408.
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
        How long a request body is watched before its rate is judged; too slow gets 408.
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
        How long a client may take nothing of what waits for it; then it is cut off.
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
        The largest request head (request line and header fields), in bytes; more is answered 431.
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
        How long to go on accepting connections at a shutdown, with readyz answering 503,
        so that a load balancer stops sending new ones first. Not done in a reload.
        """


class LogFormat(Setting):
    name = "log_format"
    section = SECTION
    cli = ["--log-format"]
    meta = "FORMAT"
    validator = validate_string
    default = "text"
    desc = """\
        The format of the error log: text, or json (one object a line).
        """


class SecretParameters(Setting):
    name = "secret_parameters"
    section = SECTION
    cli = ["--secret-parameters"]
    meta = "NAMES"
    validator = validate_string
    default = ""
    desc = """\
        Query parameters whose values no log shows, separated by commas; beside the usual ones
        (token, access_token, ticket, jwt, ...).
        """


class OpsBind(Setting):
    name = "ops_bind"
    section = SECTION
    cli = ["--ops-bind"]
    meta = "ADDRESS"
    validator = validate_string
    default = None
    desc = """\
        An address for healthz, readyz and metrics alone: HOST:PORT or unix:PATH. They are
        then not served on the others.
        """


class MetricsAllow(Setting):
    name = "metrics_allow"
    section = SECTION
    cli = ["--metrics-allow"]
    meta = "NETWORKS"
    validator = validate_string
    default = ""
    desc = """\
        Whose programs may read the metrics without the token, if no proxy has passed the request
        on: addresses and CIDR blocks separated by commas, unix for clients on a Unix socket, * for
        everybody, or none. By default those of this machine that ask the server's own address, and
        none once there is a token.
        """


class MetricsToken(Setting):
    name = "metrics_token"
    section = SECTION
    cli = ["--metrics-token"]
    meta = "TOKEN"
    validator = validate_string
    default = None
    desc = """\
        Who sends it (Authorization: Bearer TOKEN) may read the metrics from anywhere. Better from
        the environment than from the command line, which every user of the machine can see.
        """


class TrustedFields(Setting):
    name = "trusted_fields"
    section = SECTION
    cli = ["--trusted-fields"]
    meta = "NAMES"
    validator = _validate_trusted_fields
    default = ",".join(DEFAULT_FIELDS)
    desc = """\
        What the proxies of forwarded_allow_ips are believed in, separated by commas: proto, for,
        host, port, prefix, request-id, client-cert, and forwarded to read for, proto and host from
        Forwarded (RFC 7239) alone. Name what the proxy sets on every request, and nothing else: the
        rest is the client's own. none: they are believed in nothing.
        """


OWN = (
    Handlers,
    HttpLayer,
    QueueLimit,
    QueueTimeout,
    RequestTimeout,
    StuckShare,
    SlowRequest,
    AbandonedAfter,
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


def apply_defaults(cfg: Config, environment: Mapping[str, str] = os.environ) -> None:
    """Set our defaults and what `FLASKNADO_*` variables say.

    Raises `ConfigurationError` for a bad value.
    """
    for name, value in DEFAULTS.items():
        cfg.set(name, value)
    if "FORWARDED_ALLOW_IPS" in environment:  # gunicorn's own variable
        _set_from(cfg, environment, "FORWARDED_ALLOW_IPS", "forwarded_allow_ips")
    for name in cfg.settings:
        _set_from(cfg, environment, ENVIRONMENT_PREFIX + name.upper(), name)


def _set_from(cfg: Config, environment: Mapping[str, str], variable: str, name: str) -> None:
    """Set what a variable says, as the command line would."""
    text = environment.get(variable)
    if not text:
        return
    setting = cfg.settings[name]
    if setting.validator is validate_dict:
        raise ConfigurationError(
            f"{variable} is {text!r}, which will not do: a dictionary cannot be given as text, "
            f"so set {name} in a configuration file"
        )
    try:
        setting.set(_as_on_the_command_line(setting, text))
    except (TypeError, ValueError, ConfigError, ConfigurationError) as error:
        raise ConfigurationError(f"{variable} is {text!r}, which will not do: {error}") from None


def _as_on_the_command_line(setting: Setting, text: str) -> Any:
    convert: Any = setting.type
    if setting.action == "append":
        return [item.strip() for item in text.split(",") if item.strip()]
    if convert is None or convert is callable:  # a hook is named as MODULE.FUNCTION
        return text
    return convert(text)


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
