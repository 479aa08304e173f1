"""Requests of Engine.IO without Tornado's handlers: handshakes, polls and upgrades.

What needs more than the head of a request is left to `flasknado.socketio.engineio.handler`: a
POST, a page of another origin, a session that another worker has, a log that is not ready. On
the loop's thread.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from flasknado.http.message import RequestHead
from flasknado.live.origins import host_of
from flasknado.native import websocket_handshake as handshake
from flasknado.native.direct import DirectExchange
from flasknado.native.in_flask import Caller
from flasknado.socketio.engineio import admission
from flasknado.socketio.engineio.admission import BAD_REQUEST, EngineRefused
from flasknado.socketio.engineio.options import WEBSOCKET
from flasknado.socketio.engineio.reason import Reason
from flasknado.socketio.engineio.server import Engine
from flasknado.socketio.engineio.session import Session
from flasknado.socketio.engineio.websocket import WebSocketTransport

MAX_QUERY_BYTES = 512
"""A longer query is the handler's to read."""
UNKNOWN_ADDRESS = "0.0.0.0"
"""What a client on a Unix socket is counted under, as with Tornado's handlers."""
_READ = frozenset(
    (
        b"accept-encoding",
        b"origin",
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"upgrade",
    )
)


class DirectRequests:
    """The requests of one route.

    `find_engine()` returns the engine of the running loop if it takes clients at once;
    `is_elsewhere(sid)` whether another worker has a session.
    """

    def __init__(
        self, find_engine: Callable[[], Engine | None], is_elsewhere: Callable[[str], bool]
    ) -> None:
        self._find_engine = find_engine
        self._is_elsewhere = is_elsewhere

    def serve(
        self, settings: dict[str, Any], head: RequestHead
    ) -> Callable[[DirectExchange], None] | None:
        """Return what serves a request; `None`: the handler does."""
        if head.method != "GET":
            return None
        fields: dict[bytes, bytes] = {}
        for name, value in head.headers:
            lower = name.lower()
            if lower in _READ:
                if lower in fields:
                    return None
                fields[lower] = value
        query = _read_query(head.query)
        engine = self._find_engine()
        if query is None or engine is None:
            return None
        sid = query.get("sid")
        if sid is not None and self._is_elsewhere(sid):
            return None
        key = None
        origin = fields.get(b"origin")
        if query.get("transport") == WEBSOCKET:
            key = _key_of(head, fields)
            if key is None or (origin is not None and not _is_own(origin, head)):
                return None
        elif origin is not None:
            return None
        accepts_gzip = b"gzip" in fields.get(b"accept-encoding", b"")
        return DirectRequest(engine, settings, query, key, accepts_gzip).serve


class DirectRequest:
    """One request, which may become the poll of a session (`Exchange`)."""

    __slots__ = ("_accepts_gzip", "_engine", "_exchange", "_key", "_query", "_session", "_settings")

    _exchange: DirectExchange

    def __init__(
        self,
        engine: Engine,
        settings: dict[str, Any],
        query: Mapping[str, str],
        key: str | None,
        accepts_gzip: bool,
    ) -> None:
        self._engine = engine
        self._settings: dict[str, Any] | None = settings
        self._query: Mapping[str, str] | None = query
        self._key = key
        self._accepts_gzip = accepts_gzip
        self._session: Session | None = None

    def serve(self, exchange: DirectExchange) -> None:
        """Serve the request, which has come whole."""
        self._exchange = exchange
        engine, query = self._engine, self._query
        assert query is not None
        self._query = None
        try:
            sid = query.get("sid")
            transport = admission.checked_transport(
                engine, query.get("transport"), query.get("EIO")
            )
            if transport == WEBSOCKET:
                self._open_websocket(sid)
            elif sid is None:
                session = self._new_session(polls=True)
                fields = []
                if engine.options.cookie is not None:
                    fields = [("Set-Cookie", admission.cookie(engine.options.cookie, session.sid))]
                self._say(session.open_packet(upgrades=True).packets, fields)
            else:
                session = admission.known_session(engine, sid)
                self._session = session
                session.poll(self)
                if self._session is not None:
                    exchange.park(self)
        except EngineRefused as refusal:
            self._refuse(refusal)

    def _new_session(self, *, polls: bool) -> Session:
        head = self._exchange.head
        assert self._settings is not None
        address = sys.intern(head.client[0] if head.client is not None else UNKNOWN_ADDRESS)
        caller = Caller.of(head, self._settings)
        return admission.new_session(self._engine, caller, address, polls=polls)

    def _open_websocket(self, sid: str | None) -> None:
        engine = self._engine
        upgrading = sid is not None
        if sid is None:
            session = self._new_session(polls=False)
            first = session.open_packet(upgrades=False).frames
        else:
            session = admission.known_session(engine, sid)
            admission.check_upgradable(engine, session)
            first = b""
        assert self._key is not None
        stream = self._exchange.switch(handshake.accept_fields(self._key), first)
        if stream is None:
            if not upgrading:
                session.close(Reason.TRANSPORT_CLOSE)
            return
        WebSocketTransport(engine, session, stream, upgrading=upgrading).open()

    # What the session answers a poll with, now or later.

    def answer(self, payload: str) -> None:
        """Answer with packets."""
        self._session = None
        self._say(payload, [])

    def refuse(self, message: str) -> None:
        """Answer 400."""
        self._session = None
        self._refuse(EngineRefused(BAD_REQUEST, message))

    def gone(self) -> None:
        """Note that the client has gone."""
        session, self._session = self._session, None
        if session is not None:
            session.lost(self)

    def _say(self, text: str, fields: list[tuple[str, str]]) -> None:
        options = self._engine.options
        data, content_fields = admission.encoded(text, options, accepts_gzip=self._accepts_gzip)
        self._respond(200, [*fields, *content_fields], data)

    def _refuse(self, refusal: EngineRefused) -> None:
        said = {"code": refusal.code, "message": refusal.message}
        fields = [("Content-Type", "application/json; charset=UTF-8"), *refusal.headers.items()]
        self._respond(refusal.status_code, fields, json.dumps(said).encode())

    def _respond(self, status: int, fields: list[tuple[str, str]], body: bytes) -> None:
        fields += [("Cache-Control", "no-store"), ("Vary", "Origin")]
        self._exchange.respond(status, fields, body)


def _read_query(text: str) -> Mapping[str, str] | None:
    """Return the last value of each name; `None` if there is more to read than the usual."""
    return _split(text) if "sid=" in text else _known_query(text)


def _split(text: str) -> Mapping[str, str] | None:
    if len(text) > MAX_QUERY_BYTES or "%" in text or "+" in text:
        return None
    query = {}
    for part in text.split("&"):
        name, _, value = part.partition("=")
        query[name] = value
    return query


_known_query = functools.lru_cache(maxsize=64)(_split)
"""Those of handshakes are the same for most clients."""


def _key_of(head: RequestHead, fields: dict[bytes, bytes]) -> str | None:
    """Return the key of an opening handshake; `None`: the handler says what is wrong with it."""
    key = fields.get(b"sec-websocket-key", b"")
    if (
        not head.upgrade
        or fields.get(b"upgrade", b"").lower() != b"websocket"
        or fields.get(b"sec-websocket-version") != handshake.VERSION.encode()
        or not handshake.is_key(key)
    ):
        return None
    return key.decode()


def _is_own(origin: bytes, head: RequestHead) -> bool:
    """Return whether an origin is this very site, as far as the head says."""
    return head.host is not None and host_of(origin.decode("latin-1")) == head.host.lower()
