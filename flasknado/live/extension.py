"""`Live`, the Flask extension: publishing, cursors, presence, and streams that a view returns.

No Tornado here: a view, a command line or another program publishes without a server.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flask import Flask, has_request_context, request
from sqlalchemy.orm import scoped_session

from flasknado.errors import ConfigurationError
from flasknado.live import cli
from flasknado.live.errors import InvalidEvent
from flasknado.live.event import REVOCATIONS, Event, check_channel, check_name
from flasknado.live.hooks import Hooks
from flasknado.live.log import tables, transaction
from flasknado.live.log.presence import Presence
from flasknado.live.log.presence_tracker import watched
from flasknado.live.log.run_table import Run
from flasknado.live.response import run_response, start_run, stream_response
from flasknado.live.revocation import revocation_data
from flasknado.live.state import EXTENSION_KEY, LiveState, current_state, draft_of, encode_json

if TYPE_CHECKING:
    from flask import Response
    from flask_sqlalchemy import SQLAlchemy
    from sqlalchemy.orm import Session


class Live(Hooks):
    """Live events for a Flask application.

    With `db` (Flask-SQLAlchemy) the log is in the application's database, and events join
    its transactions. Otherwise `database_url` is the log's own database, or `memory://` for
    tests and single-process applications; `publish()` then commits by itself.

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
        super().__init__()
        self._database_url = database_url
        self._captures: list[list[Event]] = []
        if app is not None:
            self.init_app(app, db)

    def init_app(
        self, app: Flask, db: SQLAlchemy | None = None, *, database_url: str | None = None
    ) -> None:
        """Add this extension to `app`, and the log's tables to `db.metadata`.

        `db.create_all()` and Flask-Migrate then find the tables; the log's own database gets
        them by itself. Raises `ConfigurationError` for a setting out of its range, and
        if not exactly one of `db` and `database_url` is given.
        """
        url = database_url or self._database_url
        if (db is None) == (url is None):
            raise ConfigurationError(
                "the live log needs one database: pass init_app the application's db "
                "(Flask-SQLAlchemy), or a database_url, or memory://"
            )
        if db is not None:
            for table in tables.metadata.sorted_tables:
                if table.name not in db.metadata.tables:
                    table.to_metadata(db.metadata)
            transaction.install()
        app.extensions[EXTENSION_KEY] = LiveState(app, self, self.captured, db, url)
        app.cli.add_command(cli.group)

    def page_key(self) -> str:
        """Return the key of a page, for `connect({ key })` of live.js.

        It identifies the user of this request in an opaque form: pages share a live connection
        only under the same key, and only if it belongs to that user. Empty without a secret key.
        Needs a request context.
        """
        return current_state().page_key(self.who().user) or ""

    def publish(
        self,
        channel: str,
        name: str,
        data: Any = None,
        *,
        session: Session | scoped_session[Any] | None = None,
        buffered: bool = False,
    ) -> None:
        """Publish an event in the session's transaction: it exists if and only if that commits.

        `data` is anything that Flask's JSON provider can serialize. `session` is any session
        on the application's database, by default `db.session`. Needs an application
        context, on any thread that may use the session. Raises `InvalidEvent`.

        If the log has its own database, the event is committed at once.

        A `buffered` event belongs to no transaction: it is appended within 50 ms, together with
        all others of the process, and clients can resume from it for LIVE_BUFFERED_RETENTION_S.
        It is meant for streams such as the tokens of a language model, and keeps its order with
        everything that the thread publishes. If too many are waiting, this waits for 5 seconds
        (not at all on a thread with a running event loop) and raises `BufferFull`.
        """
        state = _publishing_state()
        draft = draft_of(state, channel, name, data, buffered=buffered)
        if not buffered:
            state.log.publish(draft, session)
        elif session is None:
            state.log.publish_buffered(draft)
        else:
            raise InvalidEvent(
                "a buffered event belongs to no transaction: publish it without a session"
            )

    def signal(self, channel: str, name: str, data: Any = None) -> None:
        """Send an event that is not kept ("is typing") to connected clients; no replay.

        It is sent at once, whether or not the session commits; on SQLite, a session that has
        uncommitted writes takes it along, since no other transaction can write before it.
        Needs an application context. Raises `InvalidEvent`.
        """
        state = _publishing_state()
        draft = draft_of(state, channel, name, data, kept=False)
        if not state.signal(draft):
            state.log.append([draft])

    def revoke(
        self,
        user: str | int,
        *,
        generation: str | int | None = None,
        session: Session | scoped_session[Any] | None = None,
    ) -> None:
        """Disconnect a user's live clients everywhere, when the session's transaction commits.

        The user's earlier tickets become invalid. Clients that may still read reconnect. If the
        log has its own database, this takes effect at once.

        With a `generation`, only clients and tickets of other generations end: after a change of
        password the session that made it stays, if it carries the new generation. `user` and
        `generation` are as in `Identity`. Raises `InvalidIdentity`.
        """
        state = _publishing_state()
        data = encode_json(revocation_data(user, generation), state.app)
        state.log.publish(tables.Draft(REVOCATIONS, "revoke", data), session)

    def cursor(self) -> str:
        """Return the current end of the log, as a string.

        Call it before reading the data of a page, and subscribe from it: then nothing is missed
        between the page and the stream. Needs an application context.
        """
        return str(current_state().log.cursor())

    def presence(self, channel: str) -> Presence:
        """Return the presence on a channel, over all workers; at most half a second old.

        Needs an application context. Raises `ConfigurationError` if presence is not enabled.
        """
        state = current_state()
        if not watched(check_channel(channel), state.options.presence):
            raise ConfigurationError(
                f"presence is not enabled for channel {channel!r}: add it to LIVE_PRESENCE"
            )
        return state.log.presence(channel)

    def stream(self, channels: str | Sequence[str], after: str | None = None) -> Response:
        """Return a response of server-sent events that the event loop holds; in a view.

        The view decides who may read: the stream is not authorised again. The view's thread,
        context and transaction end with it. `after` is a cursor, by default the one that the
        browser sends when it reconnects (`Last-Event-ID`), else the current end of the log. Under
        another server the response is a plain generator, which ends after LIVE_FALLBACK_STREAM_S
        (in tests, once it has delivered the existing events). Raises `InvalidEvent` and
        `InvalidCursor`.
        """
        names = [channels] if isinstance(channels, str) else list(channels)
        return stream_response(current_state(), [check_channel(name) for name in names], after)

    def run(
        self,
        source: AsyncIterable[Any] | Iterable[Any],
        channel: str,
        *,
        output: str = "run.output",
        keep_result: bool = False,
    ) -> Response:
        """Start a run: a generator whose output goes to a channel, whoever listens; in a view.

        What `source` yields, JSON at most as large as the data of an event, is published as
        buffered events with the name `output` and the data `{"run": ID, "data": ...}`, between
        `run.started` and one of `run.finished`, `run.failed`, `run.cancelled` and
        `run.interrupted` (the server was restarted). With `keep_result` there is `run.result`,
        too, before `run.finished`: all of the output as one kept event, joined if it is text.

        The response is `{"run": ID, "channel": ..., "cursor": ...}` with status 202: the client
        follows the channel from that cursor. To a client that accepts `text/event-stream`, as an
        EventSource does, it is these events, as `stream()` sends them; if it reconnects, no other
        run is started. The run does not end with its client.

        An asynchronous generator runs on the event loop of the server and must not block it; a
        synchronous one has a thread of its own. Both see the `request` of the view
        (`flasknado.stream`). Commit before: a run is noted at once, whatever becomes of the view's
        transaction. Raises `TooManyRuns` (a 503), `InvalidEvent`, `LiveError` if the session holds
        uncommitted writes on SQLite, and `TypeError` for what cannot be iterated.
        """
        _check_source(source)
        return run_response(
            _publishing_state(),
            source,
            check_channel(channel),
            check_name(output),
            keep_result=keep_result,
        )

    def start_run(
        self,
        source: AsyncIterable[Any] | Iterable[Any],
        channel: str,
        *,
        output: str = "run.output",
        keep_result: bool = False,
    ) -> Run:
        """Start a run as `run()` does, and return it; for views with a response of their own.

        Needs an application context. Without a request it runs on a thread.
        """
        _check_source(source)
        return start_run(
            _publishing_state(),
            source,
            check_channel(channel),
            check_name(output),
            keep_result=keep_result,
        )

    def cancel(self, run: Run | str) -> bool:
        """Cancel a run, by its id, in whichever process it is; return whether it ran.

        Its event `run.cancelled` is the last one: what its generator yields later is dropped. A
        generator that awaits is cancelled there, a synchronous one is closed at its next `yield`.
        Needs an application context.
        """
        return current_state().runs.stop(run if isinstance(run, str) else run.id)

    def runs(self, channel: str, limit: int = 10) -> list[Run]:
        """Return the newest runs of a channel, the newest first.

        A page that is loaded while one runs follows the channel from its `cursor`. Needs an
        application context.
        """
        return current_state().runs.store.newest(check_channel(channel), limit)

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
        events = [event for event in events if "!" not in event.channel]
        for capture in self._captures:
            capture.extend(events)


def _check_source(source: object) -> None:
    if isinstance(source, (str, bytes, Mapping)) or not isinstance(
        source, (AsyncIterable, Iterable)
    ):
        raise TypeError(
            f"a run takes a generator, such as a call of a generator function, not "
            f"{type(source).__name__}"
        )


def _publishing_state() -> LiveState:
    state = current_state()
    if has_request_context():
        state.check_processes(bool(request.environ.get("wsgi.multiprocess")))
    return state
