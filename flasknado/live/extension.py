"""`Live`, the Flask extension: publishing, cursors, presence, and streams that a view returns.

No Tornado here: a view, a command line or another program publishes without a server.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from flask import Flask, has_request_context, request
from sqlalchemy.orm import scoped_session

from flasknado.errors import ConfigurationError
from flasknado.live import cli
from flasknado.live.errors import InvalidEvent
from flasknado.live.event import REVOCATIONS, Event, check_channel
from flasknado.live.hooks import Hooks
from flasknado.live.log import tables, transaction
from flasknado.live.log.presence import Presence
from flasknado.live.log.presence_tracker import watched
from flasknado.live.response import stream_response
from flasknado.live.revocation import revocation_data
from flasknado.live.state import EXTENSION_KEY, LiveState, current_state, draft_of, encode_json

if TYPE_CHECKING:
    from flask import Response
    from flask_sqlalchemy import SQLAlchemy
    from sqlalchemy.orm import Session


class Live(Hooks):
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
        super().__init__()
        self._database_url = database_url
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
        """Return the key of the page that a view makes, for `connect({ key })` of live.js.

        It names the user of this request, in a form that says nothing to anybody else: pages
        share a live connection only under the same key, and only one that is of that user.
        Empty without a secret key. Needs a request context.
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

        `data` is anything that Flask's JSON provider can write. `session` is any session
        on the application's database, by default `db.session`. Needs an application
        context, on any thread that may use the session. Raises `InvalidEvent`.

        Where the log has a database of its own, the event is committed at once.

        A `buffered` event is a part of no transaction: within 50 ms it is appended together
        with all others of the process, and it can be resumed from for
        LIVE_BUFFERED_RETENTION_S. For the tokens of a language model, say. It keeps its order
        with everything that the thread publishes. If too many wait, this waits for 5 seconds
        (on a thread with a running loop not at all) and raises `BufferFull`.
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
        """Send what need not be kept ("is typing"): to who is there now, never replayed.

        At once, whatever becomes of the session's transaction; on SQLite a session that has
        written and not committed takes it along, since nobody else can write before it.
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

        Tickets that were issued to the user before are worthless from then on. Whoever may
        still read, reconnects. Where the log has a database of its own, it happens at once.

        With a `generation` only clients and tickets of another one end: at a change of
        password the session that made it stays, once it carries the new generation. `user`
        and `generation` mean what they mean in `Identity`. Raises `InvalidIdentity`.
        """
        state = _publishing_state()
        data = encode_json(revocation_data(user, generation), state.app)
        state.log.publish(tables.Draft(REVOCATIONS, "revoke", data), session)

    def cursor(self) -> str:
        """Return the log's present end, as text.

        Read it before the data of a page and subscribe from it: then nothing falls
        between the page and the stream. Needs an application context.
        """
        return str(current_state().log.cursor())

    def presence(self, channel: str) -> Presence:
        """Return who is on a channel, over all workers and machines; half a second old.

        Needs an application context. Raises `ConfigurationError` if nobody counts.
        """
        state = current_state()
        if not watched(check_channel(channel), state.options.presence):
            raise ConfigurationError(
                f"presence is not enabled for channel {channel!r}: add it to LIVE_PRESENCE"
            )
        return state.log.presence(channel)

    def stream(self, channels: str | Sequence[str], after: str | None = None) -> Response:
        """Return a response of server-sent events that the event loop holds; in a view.

        The view decides who may read: what it returns is not authorised again. Its thread,
        context and transaction end with it. `after` is a cursor, by default what the browser
        sends when it reconnects (`Last-Event-ID`), else the log's present end. Under another
        server it is a plain generator, which ends after LIVE_FALLBACK_STREAM_S (when testing,
        as soon as it has what is there). Raises `InvalidEvent` and `InvalidCursor`.
        """
        names = [channels] if isinstance(channels, str) else list(channels)
        return stream_response(current_state(), [check_channel(name) for name in names], after)

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


def _publishing_state() -> LiveState:
    state = current_state()
    if has_request_context():
        state.check_processes(bool(request.environ.get("wsgi.multiprocess")))
    return state
