"""The HTTP side of Engine.IO: `GET` and `POST` of long-polling, and the WebSocket handshake.

A GET that waits is held by its session and by nothing else: no task, no timer. On the loop's
thread.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from collections.abc import Awaitable, Callable
from http.cookies import Morsel
from typing import Any, ClassVar, Protocol

from tornado.iostream import StreamClosedError
from tornado.web import HTTPError

from flasknado.live.endpoints.base import LiveHandler
from flasknado.live.errors import LiveError
from flasknado.live.flask_cors import FlaskCors
from flasknado.live.origins import OriginPolicy
from flasknado.native import websocket_handshake as handshake
from flasknado.native.in_flask import Caller, Refused
from flasknado.socketio.engineio import packet
from flasknado.socketio.engineio.options import POLLING, WEBSOCKET
from flasknado.socketio.engineio.packet import Control
from flasknado.socketio.engineio.peers import POLL, POST, PeerGone, Peers
from flasknado.socketio.engineio.reason import Reason
from flasknado.socketio.engineio.server import Engine
from flasknado.socketio.engineio.session import Session
from flasknado.socketio.engineio.websocket import WebSocketTransport

UNKNOWN_TRANSPORT = 0
UNKNOWN_SID = 1
BAD_METHOD = 2
BAD_REQUEST = 3
FORBIDDEN = 4
UNSUPPORTED_VERSION = 5
"""The codes of errors, which Engine.IO's own server gives."""

UNKNOWN = "this session is not known: connect again"
RETRY_AFTER_S = "2"


class EngineRefused(Refused):
    """A request that is refused, with Engine.IO's code for why."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        headers = {"Retry-After": RETRY_AFTER_S} if status == 503 else None
        super().__init__(status, message, headers)
        self.code = code


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
        transport = self._argument("transport")
        if transport not in engine.options.transports:
            raise EngineRefused(UNKNOWN_TRANSPORT, "this transport is not served")
        if self._argument("EIO") != packet.PROTOCOL:
            raise EngineRefused(
                UNSUPPORTED_VERSION, "this server speaks version 4 of Engine.IO (?EIO=4)"
            )
        return transport

    def _known(self, engine: Engine) -> Session:
        session = engine.sessions.get(self._argument("sid") or "")
        if session is None or engine.overdue(session):
            raise EngineRefused(UNKNOWN_SID, UNKNOWN)
        return session

    def get(self) -> None:
        engine = self._find_engine(self)
        if self._transport(engine) == WEBSOCKET:
            self._open_websocket(engine)
        elif self._argument("sid") is None:
            session = self._open(engine)
            engine.is_polling(session)
            if engine.options.cookie is not None:
                self.add_header("Set-Cookie", _cookie(engine.options.cookie, session.sid))
            self._write_text(_open_packet(session, upgrades=True).packets)
        elif not self._handed_on(POLL):
            self._session = session = self._known(engine)
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
            self._status_and_error(400, UNKNOWN_SID, UNKNOWN)
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
        self._session = session = self._known(engine)
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

    def _open(self, engine: Engine) -> Session:
        address = self.address()
        refusal = engine.refusal(address)
        if refusal is not None:
            raise EngineRefused(FORBIDDEN, refusal, 503)
        return engine.open(Caller(self), address)

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
        session = self._known(engine) if upgrading else self._open(engine)
        if upgrading and (session.transport == WEBSOCKET or not engine.options.allows_upgrade):
            raise EngineRefused(BAD_REQUEST, "this session cannot go on to WebSocket")
        self.set_status(101)
        opening = None if upgrading else _open_packet(session, upgrades=False).frames
        try:
            stream = handshake.accept(self, first=opening)
            transport = WebSocketTransport(engine, session, stream, upgrading=upgrading)
            if upgrading:
                if not engine.propose(session, transport):
                    transport.close()
                    return
            else:
                session.begin_on(transport)
            transport.start()
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
        data = text.encode("utf-8", "replace")
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        options = self._find_engine(self).options
        threshold_bytes = options.compression_threshold_bytes
        if threshold_bytes is not None and len(data) > threshold_bytes:
            self.add_header("Vary", "Accept-Encoding")
            if "gzip" in self.request.headers.get("Accept-Encoding", ""):
                self.set_header("Content-Encoding", "gzip")
                data = gzip.compress(data, compresslevel=6)
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


def _open_packet(session: Session, *, upgrades: bool) -> Control:
    said = session.engine.options.handshake(session.sid, upgrades)
    return Control(packet.OPEN + json.dumps(said, separators=(",", ":")))


def _cookie(attributes: Any, sid: str) -> str:
    """Return the value of `Set-Cookie` for a session id."""
    morsel: Morsel[str] = Morsel()
    morsel.set(attributes.get("name", "io"), sid, sid)
    for name, value in attributes.items():
        if name != "name":
            morsel[name] = value() if callable(value) else value
    return morsel.OutputString()
