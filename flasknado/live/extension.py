"""`Live`, the Flask extension: publishing, cursors, and who may read what.

No Tornado here: a view, a command line or another program publishes without a server.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from flask import Flask, current_app, has_request_context, request
from sqlalchemy.orm import scoped_session

from flasknado.errors import ConfigurationError
from flasknado.live import store, transaction
from flasknado.live.database import DatabaseLog, SessionLog
from flasknado.live.event import Event, check_channel, check_name, encode_data
from flasknado.live.logs import Log
from flasknado.live.memory import MemoryLog
from flasknado.live.options import LiveOptions

if TYPE_CHECKING:
    from flask_sqlalchemy import SQLAlchemy
    from sqlalchemy.orm import Session

    from flasknado.live.hub import Hub

MayRead = Callable[[str], bool]
MayReadT = TypeVar("MayReadT", bound=MayRead)

EXTENSION_KEY = "live"
MEMORY_URL = "memory://"


class LiveState:
    """What one Flask application has of `Live`: `app.extensions["live"]`."""

    def __init__(self, app: Flask, live: Live, db: SQLAlchemy | None, url: str | None) -> None:
        self.app = app
        self.live = live
        self.options = LiveOptions.from_config(app.config)
        self.log = self._log(db, url)
        self.hubs: dict[asyncio.AbstractEventLoop, Hub] = {}
        """The hub of each event loop that has needed one (`flasknado.live.hub.hub_of`)."""
        self._wakers: tuple[Callable[[], None], ...] = ()

    def _log(self, db: SQLAlchemy | None, url: str | None) -> Log:
        if db is not None:
            return SessionLog(self._engine_of(db), db, self.committed)
        assert url is not None
        if url == MEMORY_URL:
            return MemoryLog(self.committed)
        return DatabaseLog(url, self.committed)

    def _engine_of(self, db: SQLAlchemy) -> Callable[[], sa.Engine]:
        def engine() -> sa.Engine:
            with self.app.app_context():
                return db.engine

        return engine

    def committed(self, events: Sequence[Event]) -> None:
        """Tell the readers of this process, and whoever captures, of committed events."""
        self.live.captured(events)
        for wake in self._wakers:
            wake()

    def add_waker(self, wake: Callable[[], None]) -> None:
        """Have `wake()` called after each commit that published, on the committing thread."""
        self._wakers = (*self._wakers, wake)

    def remove_waker(self, wake: Callable[[], None]) -> None:
        """Call `wake` no longer."""
        self._wakers = tuple(other for other in self._wakers if other != wake)

    def check_processes(self, multiprocess: bool) -> None:
        """Raise `ConfigurationError` if other processes would have a log of their own."""
        if multiprocess and self.log.one_process:
            raise ConfigurationError(
                "a log of live events in memory is seen by one process only, and this server "
                "has several: give Live a database, or run one worker"
            )


class Live:
    """Live events for a Flask application.

    With `db` (Flask-SQLAlchemy) the log is in the application's database, and events join
    its transactions. Without it, `database_url` names a database of the log's own, or is
    `memory://` for tests and applications of one process; `publish()` then commits by itself.

    Unbound until `init_app`, like every extension; one `Live` and `db` may serve any
    number of applications. Settings: `flasknado.live.options.LiveOptions`.
    """

    def __init__(
        self,
        app: Flask | None = None,
        db: SQLAlchemy | None = None,
        *,
        database_url: str | None = None,
    ) -> None:
        self._database_url = database_url
        self._may_read: MayRead | None = None
        self._captures: list[list[Event]] = []
        if app is not None:
            self.init_app(app, db)

    def init_app(
        self, app: Flask, db: SQLAlchemy | None = None, *, database_url: str | None = None
    ) -> None:
        """Add this extension to `app`, and the log's tables to `db.metadata`.

        `db.create_all()` and Flask-Migrate then see the tables; a database of the log's own
        gets them by itself. Raises `ConfigurationError` for a setting out of its range, and
        if not exactly one of `db` and `database_url` is given.
        """
        url = database_url or self._database_url
        if (db is None) == (url is None):
            raise ConfigurationError(
                "live events need one place: give init_app the application's db "
                "(Flask-SQLAlchemy), or a database_url of their own, or memory://"
            )
        if db is not None:
            for table in store.metadata.sorted_tables:
                if table.name not in db.metadata.tables:
                    table.to_metadata(db.metadata)
            transaction.install()
        app.extensions[EXTENSION_KEY] = LiveState(app, self, db, url)

    def authorize(self, function: MayReadT) -> MayReadT:
        """Register `function(channel) -> bool`, which decides who may read what; a decorator.

        It runs in a Flask request context made from the live request, after the
        application's `before_request` functions, on a thread. Until one is registered
        nobody may read anything. It may `abort(401)` or `abort(404)` to say why not.
        """
        self._may_read = function
        return function

    def may_read(self, channel: str) -> bool:
        """Ask the registered function about one channel, in a request context."""
        if self._may_read is None:
            current_app.logger.error(
                "nobody may read the channel %r: register a function with @live.authorize", channel
            )
            return False
        return bool(current_app.ensure_sync(self._may_read)(channel))

    def publish(
        self,
        channel: str,
        name: str,
        data: Any = None,
        *,
        session: Session | scoped_session[Any] | None = None,
    ) -> None:
        """Publish an event in the session's transaction: it exists if and only if that commits.

        `data` is anything that Flask's JSON provider can write. `session` is any session
        on the application's database, by default `db.session`. Needs an application
        context, on any thread that may use the session. Raises `InvalidEvent`.

        Where the log has a database of its own, the event is committed at once.
        """
        state = _publishing_state()
        state.log.publish(_draft(state, channel, name, data), session)

    def cursor(self) -> str:
        """Return the log's present end, as text.

        Read it before the data of a page and subscribe from it: then nothing falls
        between the page and the stream. Needs an application context.
        """
        return str(current_state().log.cursor())

    @contextlib.contextmanager
    def capture(self) -> Iterator[list[Event]]:
        """Collect the events that this process commits while the block runs; for tests."""
        events: list[Event] = []
        self._captures.append(events)
        try:
            yield events
        finally:
            # By identity: two captures with equal events are still two.
            self._captures = [other for other in self._captures if other is not events]

    def captured(self, events: Sequence[Event]) -> None:
        """Give committed events to every running capture."""
        for capture in self._captures:
            capture.extend(events)


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


def _publishing_state() -> LiveState:
    state = current_state()
    if has_request_context():
        state.check_processes(bool(request.environ.get("wsgi.multiprocess")))
    return state


def _draft(
    state: LiveState, channel: str, name: str, data: object, *, kept: bool = True
) -> store.Draft:
    """Return an event that is not committed yet; raises `InvalidEvent`."""
    default = getattr(state.app.json, "default", None)
    return store.Draft(
        check_channel(channel),
        check_name(name),
        encode_data(data, state.options.max_data_bytes, default),
        kept,
    )
