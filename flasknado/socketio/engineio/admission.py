"""What a request of Engine.IO asks for, and the session that it gets; or why it is refused.

For whoever reads the request: Tornado's handler, or none. On the loop's thread.
"""

from __future__ import annotations

import gzip
from http.cookies import Morsel
from typing import Any

from flasknado.native.in_flask import Caller, Refused
from flasknado.socketio.engineio import packet
from flasknado.socketio.engineio.options import WEBSOCKET, EngineOptions
from flasknado.socketio.engineio.server import Engine
from flasknado.socketio.engineio.session import Session

UNKNOWN_TRANSPORT = 0
UNKNOWN_SID = 1
BAD_METHOD = 2
BAD_REQUEST = 3
FORBIDDEN = 4
UNSUPPORTED_VERSION = 5
"""The codes of errors, which Engine.IO's own server gives."""

UNKNOWN = "this session is not known: connect again"
RETRY_AFTER_S = "2"
TEXT_TYPE = "text/plain; charset=UTF-8"


class EngineRefused(Refused):
    """A request that is refused, with Engine.IO's code for why."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        headers = {"Retry-After": RETRY_AFTER_S} if status == 503 else None
        super().__init__(status, message, headers)
        self.code = code


def checked_transport(engine: Engine, transport: str | None, version: str | None) -> str:
    """Return the transport that is asked for; raises `EngineRefused`."""
    if transport is None or transport not in engine.options.transports:
        raise EngineRefused(UNKNOWN_TRANSPORT, "this transport is not served")
    if version != packet.PROTOCOL:
        raise EngineRefused(
            UNSUPPORTED_VERSION, "this server speaks version 4 of Engine.IO (?EIO=4)"
        )
    return transport


def known_session(engine: Engine, sid: str | None) -> Session:
    """Return the session that is asked for; raises `EngineRefused`."""
    session = engine.sessions.get(sid or "")
    if session is None or engine.overdue(session):
        raise EngineRefused(UNKNOWN_SID, UNKNOWN)
    return session


def new_session(engine: Engine, caller: Caller, address: str | None, *, polls: bool) -> Session:
    """Return a session for a client that shakes hands; raises `EngineRefused`."""
    refusal = engine.refusal(address)
    if refusal is not None:
        raise EngineRefused(FORBIDDEN, refusal, 503)
    session = engine.open(caller, address)
    if polls:
        engine.is_polling(session)
    return session


def check_upgradable(engine: Engine, session: Session) -> None:
    """Raise `EngineRefused` if a session cannot go on to WebSocket."""
    if session.transport == WEBSOCKET or not engine.options.allows_upgrade:
        raise EngineRefused(BAD_REQUEST, "this session cannot go on to WebSocket")


def encoded(
    text: str, options: EngineOptions, *, accepts_gzip: bool
) -> tuple[bytes, list[tuple[str, str]]]:
    """Return the body of an answer in packets, with the fields that are about it."""
    data = text.encode("utf-8", "replace")
    fields = [("Content-Type", TEXT_TYPE)]
    threshold_bytes = options.compression_threshold_bytes
    if threshold_bytes is not None and len(data) > threshold_bytes:
        fields.append(("Vary", "Accept-Encoding"))
        if accepts_gzip:
            fields.append(("Content-Encoding", "gzip"))
            data = gzip.compress(data, compresslevel=6)
    return data, fields


def cookie(attributes: Any, sid: str) -> str:
    """Return the value of `Set-Cookie` for a session id."""
    morsel: Morsel[str] = Morsel()
    morsel.set(attributes.get("name", "io"), sid, sid)
    for name, value in attributes.items():
        if name != "name":
            morsel[name] = value() if callable(value) else value
    return morsel.OutputString()
