"""What one Flask application has of `Live`: where its log is, and who reads it here.

No Tornado here, as in `flasknado.live.extension`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from flask import Flask, current_app
from werkzeug.exceptions import ServiceUnavailable

from flasknado.errors import ConfigurationError
from flasknado.live.event import Event, check_channel, check_name, encode_data, marked
from flasknado.live.hooks import Hooks
from flasknado.live.log import tables
from flasknado.live.log.base import Log, OnCommit
from flasknado.live.log.database import DatabaseLog
from flasknado.live.log.memory import MemoryLog
from flasknado.live.log.session_log import SessionLog
from flasknado.live.options import LiveOptions
from flasknado.live.runs.manager import Runs
from flasknado.live.tickets import Tickets

if TYPE_CHECKING:
    from flask_sqlalchemy import SQLAlchemy

EXTENSION_KEY = "live"
MEMORY_URL = "memory://"
MAX_WAITING_SIGNALS = 1000
MIN_TOKEN_CHARS = 16
RETRY_AFTER_S = 2


class HeldThreads:
    """The requests that hold a thread while they wait for events. May be used on any thread.

    limit: how many there may be; requests that begin at the same moment may be a few more.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.count = 0
        self._lock = threading.Lock()

    def check(self) -> None:
        """Raise `ServiceUnavailable` if there are as many as may be."""
        if self.count >= self.limit:
            raise ServiceUnavailable(
                f"{self.limit} streams and long-polls hold a thread of this process already "
                f"(LIVE_FALLBACK_STREAMS): try again",
                retry_after=RETRY_AFTER_S,
            )

    def counted(self, body: Iterator[bytes]) -> Iterator[bytes]:
        """Yield a body, and count it meanwhile."""
        with self._lock:
            self.count += 1
        try:
            yield from body
        finally:
            with self._lock:
                self.count -= 1


class LiveState:
    """What one Flask application has of `Live`: `app.extensions["live"]`."""

    def __init__(
        self,
        app: Flask,
        hooks: Hooks,
        captured: OnCommit,
        db: SQLAlchemy | None,
        url: str | None,
        bind_key: str | None = None,
    ) -> None:
        self.app = app
        self.hooks = hooks
        self._captured = captured
        self.on_commit: list[OnCommit] = []
        """Called with the events that this process has committed, on the committing thread."""
        self.caches: list[Any] = []
        """What serves the pages of cached views (`flasknado.live.cache.front.Front`)."""
        self.options = LiveOptions.from_config(app.config)
        self.tickets = Tickets(_signing_keys(app)) if app.secret_key else None
        """`None` without a secret key to sign them with."""
        self.held_threads = HeldThreads(self.options.fallback_streams)
        self.publish_token = _publish_token(app)
        self.log = self._log(db, url, bind_key)
        self.runs = Runs(app, self.log, self.options, self._encode)
        self.hubs: dict[Any, Any] = {}
        """The hub of each event loop that has needed one (`flasknado.live.hub.hub.hub_of`)."""
        self.signals: deque[tables.Draft] = deque()
        """The signals that wait for a reader to write them."""
        self._wakers: tuple[Callable[[], None], ...] = ()

    def _log(self, db: SQLAlchemy | None, url: str | None, bind_key: str | None) -> Log:
        listen_url = self.app.config.get("LIVE_LISTEN_DATABASE_URI")
        if db is not None:
            return SessionLog(
                self._engine_of(db, bind_key),
                db,
                self.committed,
                self.published,
                bind_key=bind_key,
                listen_url=listen_url,
            )
        assert url is not None
        if url == MEMORY_URL:
            return MemoryLog(self.committed)
        return DatabaseLog(url, self.committed, self.published, listen_url=listen_url)

    def _encode(self, data: object, max_data_bytes: int) -> str:
        return encode_json(data, self.app, max_data_bytes)

    def _engine_of(self, db: SQLAlchemy, bind_key: str | None) -> Callable[[], sa.Engine]:
        def engine() -> sa.Engine:
            with self.app.app_context():
                engines = db.engines
            if bind_key not in engines:
                raise ConfigurationError(
                    "the application has no SQLALCHEMY_DATABASE_URI for the live events: set it, "
                    "or name the bind that they are in, live.init_app(app, db, bind_key=...)"
                    if bind_key is None
                    else f"live events are to be in the bind {bind_key!r}, which is not in "
                    f"SQLALCHEMY_BINDS ({', '.join(map(repr, engines))})"
                )
            return engines[bind_key]

        return engine

    def committed(self, events: Sequence[Event]) -> None:
        """Tell the readers of this process, and whoever captures, of committed events."""
        if events:
            self.published(events)
        for wake in self._wakers:
            wake()

    def published(self, events: Sequence[Event]) -> None:
        """Tell whoever captures, and the kept pages, of committed events; on their thread."""
        self._captured(events)
        for tell in tuple(self.on_commit):
            tell(events)

    def page_key(self, user: str | None) -> str | None:
        """Return what names a user to its own pages; `None` without a secret key."""
        return None if self.tickets is None else self.tickets.page_key(user)

    def add_waker(self, wake: Callable[[], None]) -> None:
        """Have `wake()` called after each commit that published, on the committing thread."""
        self._wakers = (*self._wakers, wake)

    def remove_waker(self, wake: Callable[[], None]) -> None:
        """Call `wake` no longer."""
        self._wakers = tuple(other for other in self._wakers if other != wake)

    def signal(self, draft: tables.Draft) -> bool:
        """Leave a signal to this process's reader, if there is one, which writes several at once.

        May be called on any thread. Above the bound the signal is lost, as a signal may be.
        """
        if not self._wakers:
            return False
        if len(self.signals) < MAX_WAITING_SIGNALS:
            self.signals.append(draft)
        for wake in self._wakers:
            wake()
        return True

    def check_processes(self, multiprocess: bool) -> None:
        """Raise `ConfigurationError` if other processes would have a log of their own."""
        if multiprocess and self.log.one_process:
            raise ConfigurationError(
                "an in-memory log of live events is visible to one process only, and this server "
                "has several: give Live a database, or use one worker"
            )


def state_of(app: Flask) -> LiveState:
    """Return what `app` has of `Live`; raises `ConfigurationError` if it has nothing."""
    state = app.extensions.get(EXTENSION_KEY)
    if not isinstance(state, LiveState):
        raise ConfigurationError(
            f"the Flask application {app.name!r} has no live events: "
            f"call live.init_app(app, db) in its factory"
        )
    return state


def current_state() -> LiveState:
    """Return what the current application has of `Live`; needs an application context."""
    return state_of(current_app)


def draft_of(
    state: LiveState,
    channel: str,
    name: str,
    data: object,
    *,
    kept: bool = True,
    buffered: bool = False,
    html: bool = False,
    by: str | None = None,
) -> tables.Draft:
    """Return an event that is not committed yet; raises `InvalidEvent`.

    `html`: whether its data is a fragment (`flasknado.live.html`). `by` is the digest of the
    connection that is not to get it.
    """
    return tables.Draft(
        check_channel(channel),
        marked(check_name(name), html=html, by=by),
        encode_json(data, state.app, state.options.max_data_bytes),
        kept,
        buffered,
    )


def encode_json(data: object, app: Flask, max_data_bytes: int = 2**31) -> str:
    """Return what the application's JSON provider makes of data; raises `InvalidEvent`."""
    return encode_data(data, max_data_bytes, getattr(app.json, "default", None))


def _signing_keys(app: Flask) -> list[bytes]:
    """Return the keys that tickets may be signed with, the newest last (itsdangerous's order)."""
    fallbacks = app.config.get("SECRET_KEY_FALLBACKS") or []
    keys: list[Any] = [app.secret_key]
    keys[:0] = fallbacks if isinstance(fallbacks, (list, tuple)) else [None]
    if not all(isinstance(key, (str, bytes)) and key for key in keys):
        raise ConfigurationError(
            "SECRET_KEY_FALLBACKS must be a list of former secret keys, none of them empty"
        )
    return [key.encode() if isinstance(key, str) else key for key in keys]


def _publish_token(app: Flask) -> str | None:
    token = app.config.get("LIVE_PUBLISH_TOKEN")
    if token and (not isinstance(token, str) or len(token) < MIN_TOKEN_CHARS):
        raise ConfigurationError(
            f"LIVE_PUBLISH_TOKEN must not be easy to guess: set it to a random string of "
            f"{MIN_TOKEN_CHARS} characters or more, or leave it unset"
        )
    return token or None
