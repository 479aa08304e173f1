"""`Live`, the Flask extension: publishing, cursors, presence, and streams that a view returns.

No Tornado here: a view, a command line or another program publishes without a server.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flask import Flask, abort, has_request_context, request
from sqlalchemy.orm import scoped_session

from flasknado.errors import ConfigurationError
from flasknado.live import cli
from flasknado.live.blueprint import blueprint
from flasknado.live.cache.install import install as install_cache
from flasknado.live.cache.rules import CachedView, CacheKey, Channels, ViewT, cached_view
from flasknado.live.errors import InvalidEvent
from flasknado.live.event import (
    BY_KEY,
    REVOCATIONS,
    Event,
    check_channel,
    check_name,
    connection_digest,
    shown_name,
)
from flasknado.live.formats import CONNECTION_FIELD, cursor_or_reset
from flasknado.live.hooks import Hooks
from flasknado.live.html import SSE_FORMATS, check_format, check_fragment
from flasknado.live.log import sql_publish, tables, transaction
from flasknado.live.log.presence import Presence
from flasknado.live.log.presence_tracker import watched
from flasknado.live.log.run_table import Run
from flasknado.live.log.session_log import metadata_of
from flasknado.live.rendering import render_for_all
from flasknado.live.response import stream_response
from flasknado.live.revocation import revocation_data
from flasknado.live.run_response import run_response, start_run
from flasknado.live.state import EXTENSION_KEY, LiveState, current_state, draft_of, encode_json
from flasknado.live.wanted import Wanted
from flasknado.route_providers import provide_routes

if TYPE_CHECKING:
    from flask import Blueprint, Response
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
        bind_key: str | None = None,
    ) -> None:
        super().__init__()
        self._database_url = database_url
        self._bind_key = bind_key
        self._captures: list[list[Event]] = []
        if app is not None:
            self.init_app(app, db)

    def init_app(
        self,
        app: Flask,
        db: SQLAlchemy | None = None,
        *,
        database_url: str | None = None,
        bind_key: str | None = None,
    ) -> None:
        """Add this extension to `app` and its templates (`live`), and its tables to `db.metadata`.

        `db.create_all()` and Flask-Migrate then find the tables; the log's own database gets
        them by itself. With a `bind_key` they are in that bind's database (SQLALCHEMY_BINDS):
        the one with the rows that the events tell of. Raises `ConfigurationError` for a setting
        out of its range, and if not exactly one of `db` and `database_url` is given.
        """
        url = database_url or self._database_url
        if (db is None) == (url is None):
            raise ConfigurationError(
                "the live log needs one database: pass init_app the application's db "
                "(Flask-SQLAlchemy), or a database_url, or memory://"
            )
        bind_key = bind_key or self._bind_key
        if db is not None:
            metadata = metadata_of(db, bind_key)
            for table in tables.metadata.sorted_tables:
                key = f"{metadata.schema}.{table.name}" if metadata.schema else table.name
                if key not in metadata.tables:
                    copied = table.to_metadata(metadata)
                    if table is tables.live_outbox:
                        sql_publish.create_with(copied)
            transaction.install()
        elif bind_key is not None:
            raise ConfigurationError("a bind_key names a bind of db: pass db, and no database_url")
        state = LiveState(app, self, self.captured, db, url, bind_key)
        app.extensions[EXTENSION_KEY] = state
        provide_routes(app, functools.partial(install_cache, state))
        app.cli.add_command(cli.group)
        app.context_processor(lambda: {"live": self})

    def cached(
        self, *, channels: Channels, key: CacheKey | None = None, max_age_s: float = 60
    ) -> Callable[[ViewT], ViewT]:
        """Have each worker keep a view's page until an event on these channels; a decorator.

        It belongs next to the view, below `@app.get(...)`. `channels` are channels or patterns
        such as `post:*`, with the values of the URL in braces (`post:{post_id}`), or a function
        that is called with those values. A page is kept for `max_age_s` seconds at most.

        Only requests without a session, other cookies apart, and without `Authorization` get kept
        pages; those run no hook of the application. With `key`, a function of the request, all
        requests for which it returns the same text share pages, and those for which it returns
        `None` get none; it is called on the event loop, so it must not block. Only a whole 200
        is kept, without `Set-Cookie`, `Vary: *`, `Cache-Control: no-store` or `private`.

        Under another server than Flasknado nothing is kept. Raises `InvalidEvent` for what is no
        channel, and `ConfigurationError` for a bad `max_age_s`.
        """
        about = CachedView(channels, key, max_age_s)
        return lambda view: cached_view(view, about)

    def blueprint(self, prefix: str = "/live") -> Blueprint:
        """Return the live endpoints as Flask views, for `app.register_blueprint`.

        For servers without an event loop of ours, such as `flask run` and gunicorn: `events`,
        `ndjson` and `poll`, which hold a thread for LIVE_FALLBACK_STREAM_S at most, `send`, `who`,
        `publish` and `live.js`. Under Flasknado with `routes()` at the same prefix they are not
        reached.
        """
        return blueprint(prefix)

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
        now: bool = False,
        buffered: bool = False,
        to_others: bool = False,
    ) -> None:
        """Publish an event in the session's transaction: it exists if and only if that commits.

        `data` is anything that Flask's JSON provider can serialize. `session` is any session
        on the application's database, by default `db.session`. Needs an application
        context, on any thread that may use the session. Raises `InvalidEvent`, and
        `TransactionEnded` in a transaction that has been committed or rolled back already, as
        in `after_commit` or Flask-SQLAlchemy's `models_committed`.

        With `now=True` the event is committed at once, by itself, in such places and anywhere
        else. On SQLite this raises `TransactionEnded` while the transaction of `db.session` has
        uncommitted writes, which keep every other from writing. If the log has its own database,
        every event is committed at once.

        A `buffered` event belongs to no transaction: it is appended within 50 ms, together with
        all others of the process, and clients can resume from it for LIVE_BUFFERED_RETENTION_S.
        It is meant for streams such as the tokens of a language model, and keeps its order with
        everything that the thread publishes. If too many are waiting, this waits for 5 seconds
        (not at all on a thread with a running event loop) and raises `BufferFull`.

        With `to_others` it does not go to the connection that caused it: the one with the id
        that this request gives in `X-Live-Connection` (or as `live_connection` in its query or
        form). Without such an id, or a request, it goes to all.
        """
        state = _publishing_state()
        by = _digest_of_request() if to_others else None
        draft = draft_of(state, channel, name, data, buffered=buffered, by=by)
        _publish(state, draft, session, now)

    def render(
        self,
        channel: str,
        template: str | None,
        /,
        *,
        target: str | None = None,
        action: str | None = None,
        event: str = "html",
        session: Session | scoped_session[Any] | None = None,
        buffered: bool = False,
        now: bool = False,
        to_others: bool = False,
        context: Mapping[str, Any] | None = None,
        **values: Any,
    ) -> None:
        """Publish a fragment of HTML, rendered from a template, as `publish` does an event.

        `target` is the id of an element, and `action` what to do with it: `append`, `prepend`,
        `before`, `after`, `replace` (the default), `update` or `remove`, which needs no template
        (`None`). Without a target the fragment itself says where it goes. Pages take it with the
        `format` of their library; for other clients its data is `{"html", "action", "target"}`,
        under the name `event`.

        The template gets `values`, and `context` for names that this function has itself. It is
        rendered once for all subscribers, so without a user: in a request context of its own,
        without the session, the user and the address of this request. `url_for` makes
        paths. Raises as `publish` does, and what rendering raises.
        """
        state = _publishing_state()
        html = "" if template is None else render_for_all(state.app, template, context, values)
        data = check_fragment(html, action, target)._asdict()
        by = _digest_of_request() if to_others else None
        draft = draft_of(state, channel, event, data, buffered=buffered, html=True, by=by)
        _publish(state, draft, session, now)

    def tag(self, *channels: str) -> str:
        """Return a tag, with which this page may subscribe to channels: the view has decided.

        For `?tag=` of the endpoints, in a template `{{ live.tag("post:7") }}`. It is signed, names
        the user that `@live.identity` returns, and is good for LIVE_TAG_LIFETIME_S, for that
        user only, unless a revocation takes the access away. `@live.authorize` is not asked.
        Needs a request context. Raises `InvalidEvent`, and `ConfigurationError` without a secret
        key.
        """
        state = current_state()
        if state.tickets is None:
            raise ConfigurationError("live.tag() signs with app.secret_key, which is not set")
        if not channels:
            raise InvalidEvent("a tag needs a channel: live.tag('post:7')")
        names = [check_channel(channel) for channel in channels]
        return state.tickets.issue_tag(self.who(), names, state.log.cursor(), time.time())

    def signal(self, channel: str, name: str, data: Any = None, *, to_others: bool = False) -> None:
        """Send an event that is not kept ("is typing") to connected clients; no replay.

        It is sent at once, whether or not the session commits; on SQLite, a session that has
        uncommitted writes takes it along, since no other transaction can write before it.
        `to_others` is as in `publish`. Needs an application context. Raises `InvalidEvent`.
        """
        state = _publishing_state()
        by = _digest_of_request() if to_others else None
        draft = draft_of(state, channel, name, data, kept=False, by=by)
        if not state.signal(draft):
            state.log.append([draft])

    def revoke(
        self,
        user: str | int,
        *,
        generation: str | int | None = None,
        session_id: str | int | None = None,
        channel: str | None = None,
        session: Session | scoped_session[Any] | None = None,
        now: bool = False,
    ) -> None:
        """Disconnect a user's live clients everywhere, when the session's transaction commits.

        The user's earlier tickets become invalid. Clients that may still read reconnect. If the
        log has its own database, this takes effect at once.

        With a `generation`, only clients and tickets of other generations end: after a change of
        password the session that made it stays, if it carries the new generation. With a
        `session_id` only clients and tickets of that session end, as for a log-out on one of
        several devices, and with a `channel` only those that follow it. `user`, `generation` and
        `session_id` are as in `Identity`, `session` and `now` as in `publish`. Raises
        `InvalidIdentity`, and `InvalidEvent` for a channel that is none.
        """
        state = _publishing_state()
        data = encode_json(revocation_data(user, generation, session_id, channel), state.app)
        _publish(state, tables.Draft(REVOCATIONS, "revoke", data), session, now)

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
        patterns = (*state.options.presence, *state.options.presence_users)
        if not watched(check_channel(channel), patterns):
            raise ConfigurationError(
                f"presence is not enabled for channel {channel!r}: add it to LIVE_PRESENCE"
            )
        return state.log.presence(channel)

    def stream(
        self,
        channels: str | Sequence[str],
        after: str | None = None,
        *,
        last: int = 0,
        format: str = "json",  # noqa: A002 (as in the query of GET events)
    ) -> Response:
        """Return a response of server-sent events that the event loop holds; in a view.

        The view decides who may read: the stream is not authorised again. The view's thread,
        context and transaction end with it. A browser that reconnects goes on
        where it was (`Last-Event-ID`). Else the stream begins after the cursor `after`, or with the
        `last` events of each channel, or at the current end of the log; an `after` that is no
        cursor gives a reset. Under
        another server the response is a plain generator, which ends after LIVE_FALLBACK_STREAM_S
        (in tests, once it has delivered the existing events). `format` is that of `GET events`.
        Raises `InvalidEvent`.
        """
        check_format(format, SSE_FORMATS)
        names = [channels] if isinstance(channels, str) else list(channels)
        state = current_state()
        if not 0 <= last <= state.options.max_last:
            raise InvalidEvent(
                f"last must be from 0 to {state.options.max_last} (LIVE_MAX_LAST), not {last!r}"
            )
        names = [check_channel(name) for name in names]
        cursor = None if after is None else cursor_or_reset(after)
        wanted = Wanted(tuple(names), cursor, last, format)
        return stream_response(state, wanted)

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
        events = [
            event._replace(name=shown_name(event)) for event in events if "!" not in event.channel
        ]
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


def _publish(
    state: LiveState,
    draft: tables.Draft,
    session: Session | scoped_session[Any] | None,
    now: bool,
) -> None:
    if sum((draft.buffered, now, session is not None)) > 1:
        raise InvalidEvent(
            "an event joins the transaction of a session, or is committed now, or is "
            "buffered: pass one of session, now and buffered"
        )
    if draft.buffered:
        state.log.publish_buffered(draft)
    elif now:
        state.log.publish_now(draft)
    else:
        state.log.publish(draft, session)


def _digest_of_request() -> str | None:
    """Return the digest of the connection that a request says it has; aborts with 400."""
    if not has_request_context():
        return None
    by: str | None = request.environ.get(BY_KEY)
    if by is not None:
        return by
    connection = request.headers.get(CONNECTION_FIELD) or request.values.get("live_connection")
    try:
        return connection_digest(connection) if connection else None
    except InvalidEvent as error:
        abort(400, str(error))


def _publishing_state() -> LiveState:
    state = current_state()
    if has_request_context():
        state.check_processes(bool(request.environ.get("wsgi.multiprocess")))
    return state
