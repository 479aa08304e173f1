"""What `SocketIO` is configured with: Flask-SocketIO's keywords, and a few of ours.

Everything that Flask-SocketIO 5.7 takes is known. What has no meaning here is refused with what
to do instead, unless leaving it out changes nothing.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

from flasknado.errors import ConfigurationError
from flasknado.live.origins import OriginPolicy
from flasknado.socketio.engineio.options import TRANSPORTS, EngineOptions
from flasknado.socketio.msgpack import MsgpackParser
from flasknado.socketio.origins import SocketPolicy
from flasknado.socketio.packet import DefaultParser, Parser

log = logging.getLogger("flasknado.socketio")

DEFAULT_PATH: Final = "socket.io"
DEFAULT_CHANNEL: Final = "flask-socketio"

MEANINGLESS: Final = frozenset(
    ("async_mode", "async_handlers", "manage_session", "monitor_clients")
)
"""There is one way here, which does what any value of these asks for, see the documentation."""

ELSEWHERE: Final = {
    "client_manager": "the log of live events takes the place of a client manager: leave it out",
    "write_only": "an object without an application only emits by itself: leave it out",
}

_DATABASES: Final = ("sqlite", "postgresql", "postgres", "memory")


@dataclasses.dataclass(frozen=True)
class SocketIOOptions:
    """The settings of one `SocketIO`."""

    engine: EngineOptions = EngineOptions()  # noqa: RUF009 (it is frozen)
    path: str = DEFAULT_PATH
    log_url: str | None = None
    channel: str = DEFAULT_CHANNEL
    parser: Parser = dataclasses.field(default_factory=DefaultParser)
    policy: SocketPolicy | None = None
    """Which other origins may connect; `None`: the application's own policy."""
    always_connect: bool = False
    namespaces: str | tuple[str, ...] | None = None
    durable: bool | frozenset[str] = False
    threads: int = 16
    queue_limit: int = 2000

    def is_durable(self, namespace: str) -> bool:
        """Return whether clients of a namespace can be recovered."""
        if isinstance(self.durable, bool):
            return self.durable
        return namespace in self.durable

    @classmethod
    def of(cls, keywords: Mapping[str, Any], app: Any = None) -> SocketIOOptions:
        """Return what keywords of `SocketIO` say; raises `ConfigurationError`."""
        known = Keywords(keywords)
        known.drop(MEANINGLESS)
        for name, instead in ELSEWHERE.items():
            if known.take(name) is not None:
                raise ConfigurationError(f"SocketIO({name}=...): {instead}")
        for name in ("logger", "engineio_logger"):
            _set_level(known.take(name))
        engine = _engine_options(known)
        path = str(known.take("path") or known.take("resource") or DEFAULT_PATH).strip("/")
        known.drop(("resource",))
        options = cls(
            engine=engine,
            path=path,
            log_url=_log_url(known.take("message_queue")),
            channel=str(known.take("channel", DEFAULT_CHANNEL)),
            parser=_parser(known, engine.max_payload_bytes, app),
            policy=_policy(
                known.take("cors_allowed_origins"), known.take("cors_credentials", True)
            ),
            always_connect=bool(known.take("always_connect", False)),
            namespaces=_namespaces(known.take("namespaces")),
            durable=_durable(known.take("durable", False)),
            threads=int(known.number("handler_threads", 16)),
            queue_limit=int(known.number("handler_queue", 2000)),
        )
        known.refuse_rest()
        return options


class Keywords:
    """Keywords that are taken one by one."""

    def __init__(self, keywords: Mapping[str, Any]) -> None:
        self._left = dict(keywords)

    def take(self, name: str, default: Any = None) -> Any:
        """Return a keyword's value, or the default."""
        return self._left.pop(name, default)

    def drop(self, names: Iterable[str]) -> None:
        """Take keywords without looking at them."""
        for name in names:
            self._left.pop(name, None)

    def number(self, name: str, default: float) -> float:
        """Return a number above 0; raises `ConfigurationError`."""
        value = self.take(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
            raise ConfigurationError(
                f"SocketIO({name}={value!r}): it must be a number greater than 0"
            )
        return value

    def refuse_rest(self) -> None:
        """Raise `ConfigurationError` if there is a keyword that nobody knows."""
        for name in self._left:
            raise ConfigurationError(f"SocketIO() has no option {name!r}")


def _engine_options(known: Keywords) -> EngineOptions:
    interval, grace_s = known.take("ping_interval", 25), 0.0
    if isinstance(interval, (tuple, list)) and len(interval) == 2:
        interval, grace_s = interval
    numbers = Keywords({"ping_interval": interval})
    transports = known.take("transports") or TRANSPORTS
    if isinstance(transports, str):
        transports = (transports,)
    if not set(transports) <= set(TRANSPORTS):
        raise ConfigurationError(
            f"SocketIO(transports={transports!r}): choose from {', '.join(TRANSPORTS)}"
        )
    threshold_bytes = known.take("compression_threshold", 1024)
    cookie = known.take("cookie")
    return EngineOptions(
        ping_interval_s=numbers.number("ping_interval", 25),
        ping_grace_s=float(grace_s),
        ping_timeout_s=known.number("ping_timeout", 20),
        max_payload_bytes=int(known.number("max_http_buffer_size", 1_000_000)),
        allow_upgrades=bool(known.take("allow_upgrades", True)),
        transports=tuple(transports),
        cookie={"name": cookie, "path": "/", "samesite": "Lax"}
        if isinstance(cookie, str)
        else cookie,
        compression_threshold_bytes=(
            int(threshold_bytes) if known.take("http_compression", False) else None
        ),
    )


def _parser(known: Keywords, max_bytes: int, app: Any) -> Parser:
    serializer = known.take("serializer", "default")
    module = known.take("json") or json
    if serializer == "msgpack":
        return MsgpackParser()
    if serializer != "default":
        raise ConfigurationError(
            f"SocketIO(serializer={serializer!r}): choose 'default' or 'msgpack'"
        )
    if not (callable(getattr(module, "dumps", None)) and callable(getattr(module, "loads", None))):
        raise ConfigurationError(
            f"SocketIO(json={module!r}): give it a module with dumps() and loads()"
        )
    if getattr(module, "__name__", "") == "flask.json" and app is not None:
        # Its functions are the current application's; here they are this one's.
        module = app.json
    return DefaultParser(module, max_bytes)


def _log_url(message_queue: Any) -> str | None:
    if not message_queue:
        return None
    scheme = str(message_queue).partition(":")[0].partition("+")[0]
    if scheme in _DATABASES:
        return str(message_queue)
    raise ConfigurationError(
        f"SocketIO(message_queue={scheme!r}): no message queue is needed; leave it out, and "
        f"processes meet in the database of the live events, or give the URL of a database "
        f"(sqlite:/// or postgresql://)"
    )


def _policy(origins: Any, credentials: bool) -> SocketPolicy | None:
    if origins is None:
        return None
    if callable(origins):
        return SocketPolicy(origins, credentials=credentials)
    listed = (origins,) if isinstance(origins, str) else tuple(origins)
    return SocketPolicy(OriginPolicy(listed), credentials=credentials)


def _namespaces(namespaces: Any) -> str | tuple[str, ...] | None:
    if namespaces is None:
        return None
    if namespaces == "*":
        return "*"
    return (namespaces,) if isinstance(namespaces, str) else tuple(namespaces)


def _durable(durable: Any) -> bool | frozenset[str]:
    if isinstance(durable, bool):
        return durable
    return frozenset((durable,) if isinstance(durable, str) else durable)


def _set_level(logger: Any) -> None:
    """Do what `logger=True` asks for, at the one logger of this package."""
    if logger is True:
        log.setLevel(logging.INFO)
    elif isinstance(logger, logging.Logger):
        log.addHandler(_Forward(logger))


class _Forward(logging.Handler):
    """Gives what is logged to a logger of the application's."""

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != self._logger.name:
            self._logger.handle(record)
