"""The HTTP side of Engine.IO: `GET` and `POST` of long-polling, and the WebSocket handshake.

A GET that waits is held by its session and by nothing else: no task, no timer. On the loop's
thread.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Protocol

from tornado.iostream import StreamClosedError
from tornado.web import HTTPError

from flasknado.live.endpoints.base import LiveHandler
from flasknado.live.errors import LiveError
from flasknado.live.flask_cors import FlaskCors
from flasknado.live.origins import OriginPolicy
from flasknado.native import websocket_handshake as handshake
from flasknado.native.in_flask import Caller, Refused
from flasknado.socketio.engineio import admission
from flasknado.socketio.engineio.admission import (
    BAD_METHOD,
    BAD_REQUEST,
    FORBIDDEN,
    UNKNOWN_SID,
    EngineRefused,
)
from flasknado.socketio.engineio.options import POLLING, WEBSOCKET
from flasknado.socketio.engineio.peers import POLL, POST, PeerGone, Peers
from flasknado.socketio.engineio.reason import Reason
from flasknado.socketio.engineio.server import Engine
from flasknado.socketio.engineio.session import Session
from flasknado.socketio.engineio.websocket import WebSocketTransport


class Policy(Protocol):
    """Which pages of other origins may connect, and as whom (`flasknado.live.origins`)."""

    def allows(self, origin: str) -> bool: ...
    def allows_credentials(self, origin: str) -> bool: ...
    def headers(self, origin: str) -> dict[str, str]: ...


class EngineHandler(LiveHandler):
    """One request of a client. `find_engine(handler)` returns what has its session.

    Each server has a class of its own, because Tornado asks for these before it is initialised.
    """

    max_body_bytes: ClassVar[int] = 1_000_000
    policy: ClassVar[Policy | None] = None
    """Goes before the application's own."""
    serve_direct: ClassVar[Any] = None
    """What serves most requests without a handler (`flasknado.native.direct`), if anything."""
    _session: Session | None = None
    _asking: asyncio.Task[None] | None = None

    def initialize(
        self,
        find_engine: Callable[[EngineHandler], Engine],
        ready: Callable[[EngineHandler], Awaitable[None]] | None = None,
        find_peers: Callable[[EngineHandler], Peers | None] | None = None,
    ) -> None:
        """Take what the route says.

        `ready(handler)` is awaited before a session begins; it raises `LiveError` if none can.
        `find_peers(handler)` returns the other workers, which may have the session asked for.
        """
        self._find_engine = find_engine
        self._ready = ready
        self._find_peers = find_peers

    @property
    def origin_policy(self) -> OriginPolicy | FlaskCors | Policy:  # type: ignore[override]
        return self.policy if self.policy is not None else super().origin_policy

    async def prepare(self) -> None:
        if self._argument("transport") == WEBSOCKET:
            # Of a page's own making is nothing but the URL.
            self.ambient_fields = ("Cookie", "Authorization")  # type: ignore[misc]
        await super().prepare()
        origin = self.request.headers.get("Origin")
        if not (origin is None or self.own_page or self.origin_policy.allows(origin)):
            raise EngineRefused(FORBIDDEN, f"pages of {origin[:80]!a} may not connect", 403)
        if self._ready is not None and self._argument("sid") is None:
            try:
                await self._ready(self)
            except LiveError as error:
                raise EngineRefused(FORBIDDEN, str(error), 503) from None

    def options(self) -> None:
        super().options()
        asked = self.request.headers.get("Access-Control-Request-Headers")
        if asked and "Access-Control-Allow-Origin" in self.cors_headers():
            # `extraHeaders` of the client may be any.
            self.set_header("Access-Control-Allow-Headers", asked)

    def _argument(self, name: str) -> str | None:
        return self.get_query_argument(name, None)

    def _transport(self, engine: Engine) -> str:
        return admission.checked_transport(
            engine, self._argument("transport"), self._argument("EIO")
        )

    def get(self) -> None:
        engine = self._find_engine(self)
        if self._transport(engine) == WEBSOCKET:
            self._open_websocket(engine)
        elif self._argument("sid") is None:
            session = self._new_session(engine, polls=True)
            if engine.options.cookie is not None:
                self.add_header("Set-Cookie", admission.cookie(engine.options.cookie, session.sid))
            self._write_text(session.open_packet(upgrades=True).packets)
        elif not self._handed_on(POLL):
            session = admission.known_session(engine, self._argument("sid"))
            self._session = session
            self._auto_finish = False
            session.poll(self)

    def _handed_on(self, kind: str) -> bool:
        """Hand the request on to the worker that has its session, if that is another one."""
        sid = self._argument("sid") or ""
        peers = self._find_peers(self) if self._find_peers is not None else None
        owner = None if peers is None else peers.owner(sid)
        if peers is None or owner is None:
            return False
        self._auto_finish = False
        self._asking = asyncio.ensure_future(self._ask(peers, owner, kind, sid))
        return True

    async def _ask(self, peers: Peers, owner: str, kind: str, sid: str) -> None:
        try:
            if kind == WEBSOCKET:
                peer = await peers.open_websocket(owner, sid)
                self.set_status(101)
                peers.pass_on(handshake.accept(self), peer)
                self.application.log_request(self)
                return
            status, text = await peers.ask(owner, kind, sid, self.request.body)
        except PeerGone:
            self._status_and_error(400, UNKNOWN_SID, admission.UNKNOWN)
        except StreamClosedError:
            pass  # the client has gone
        else:
            if status == 200:
                self.answer(text)
            else:
                self._status_and_error(status, BAD_REQUEST, text)

    def post(self) -> None:
        engine = self._find_engine(self)
        if self._transport(engine) != POLLING or self._argument("sid") is None:
            raise EngineRefused(BAD_METHOD, "a session begins with GET")
        if self._handed_on(POST):
            return
        session = admission.known_session(engine, self._argument("sid"))
        self._session = session
        try:
            payload = self.request.body.decode()
        except UnicodeDecodeError:
            session.close(Reason.TRANSPORT_ERROR)
            raise EngineRefused(BAD_REQUEST, "the payload is not UTF-8") from None
        self._auto_finish = False
        session.post(self, payload)

    def _bad_method(self) -> None:
        raise EngineRefused(BAD_METHOD, "Engine.IO has GET and POST")

    head = put = patch = delete = _bad_method

    def _new_session(self, engine: Engine, *, polls: bool) -> Session:
        return admission.new_session(engine, Caller(self), self.address(), polls=polls)

    def _open_websocket(self, engine: Engine) -> None:
        try:
            handshake.check(self.request)
        except handshake.HandshakeError as error:
            for name, value in error.headers.items():
                self.set_header(name, value)
            raise EngineRefused(BAD_REQUEST, str(error), error.status) from None
        upgrading = self._argument("sid") is not None
        if upgrading and self._handed_on(WEBSOCKET):
            return
        opening = None
        if upgrading:
            session = admission.known_session(engine, self._argument("sid"))
            admission.check_upgradable(engine, session)
        else:
            session = self._new_session(engine, polls=False)
            opening = session.open_packet(upgrades=False).frames
        self.set_status(101)
        try:
            stream = handshake.accept(self, first=opening)
            WebSocketTransport(engine, session, stream, upgrading=upgrading).open()
        except StreamClosedError:
            if not upgrading:
                session.close(Reason.TRANSPORT_CLOSE)
        self.application.log_request(self)

    # Answers, now or later (`flasknado.socketio.engineio.session.Exchange`).

    def answer(self, payload: str) -> None:
        """Answer with packets, or `ok`."""
        self._session = None
        if not self._finished:
            self._write_text(payload)
            self.finish()

    def refuse(self, message: str) -> None:
        """Answer 400."""
        self._session = None
        if not self._finished:
            self._status_and_error(400, BAD_REQUEST, message)

    def _write_text(self, text: str) -> None:
        options = self._find_engine(self).options
        accepts_gzip = "gzip" in self.request.headers.get("Accept-Encoding", "")
        data, fields = admission.encoded(text, options, accepts_gzip=accepts_gzip)
        self.clear_header("Content-Type")
        for name, value in fields:
            self.add_header(name, value)
        self.write(data)

    def on_connection_close(self) -> None:
        super().on_connection_close()
        session, self._session = self._session, None
        if session is not None:
            session.lost(self)
        if self._asking is not None:
            self._asking.cancel()

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", sys.exc_info())[1]
        message: str | None = None
        if isinstance(error, Refused):
            message = error.message
            for name, value in error.headers.items():
                self.set_header(name, value)
        elif isinstance(error, HTTPError):
            message = error.log_message
        code = error.code if isinstance(error, EngineRefused) else BAD_REQUEST
        self._status_and_error(status_code, code, message or self._reason)

    def _status_and_error(self, status: int, code: int, message: str) -> None:
        self.set_status(status)
        self.finish({"code": code, "message": message})
