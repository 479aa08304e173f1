"""Requests for sessions that another worker of this server has: they are handed on to it.

Workers share a port, and each request of long-polling may reach any of them, as may the
WebSocket that a session is to go on over. Each worker listens on a Unix socket in a folder that
only their user may enter; a session's id begins with the name of its worker's socket.

A request is one line of JSON, with the body behind it. The answer to a poll or a POST is one line
of JSON with the text behind it; after the answer to a WebSocket its bytes are passed on.

On the loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import secrets
import socket
import stat
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from tornado.iostream import IOStream, StreamClosedError
from tornado.netutil import add_accept_handler, bind_unix_socket

from flasknado.errors import FlasknadoError
from flasknado.socketio.engineio.reason import Reason
from flasknado.socketio.engineio.server import Engine
from flasknado.socketio.engineio.session import Session
from flasknado.socketio.engineio.websocket import WebSocketTransport

log = logging.getLogger("flasknado.socketio")

POLL = "poll"
POST = "post"
WEBSOCKET = "websocket"

NAME_BYTES = 6
MAX_LINE_BYTES = 4096
PASSED_BYTES = 64 * 1024
MARK = "."
_NAME = re.compile(rf"[0-9a-f]{{{2 * NAME_BYTES}}}\Z")


class PeerGone(FlasknadoError):
    """The worker that has a session does not answer, or has it no more."""


class Peers:
    """The other workers, and the socket on which they reach this one."""

    def __init__(self, folder: Path | None = None) -> None:
        self.name = secrets.token_hex(NAME_BYTES)
        self._folder = folder or _shared_folder()
        self._engine: Engine | None = None
        self._passing: set[IOStream] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def listen(self, engine: Engine) -> None:
        """Take requests for the sessions of an engine; raises `OSError`."""
        self._engine = engine
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self._folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise PermissionError(f"{self._folder} is not a folder of this user's alone")
        self._socket = bind_unix_socket(str(self._folder / self.name), mode=0o600)
        self._stop = add_accept_handler(self._socket, self._accept)

    def close(self) -> None:
        """Take no more requests, and pass nothing on any more."""
        self._stop()
        self._socket.close()
        with contextlib.suppress(OSError):
            (self._folder / self.name).unlink()
            self._folder.rmdir()  # if this was the last
        for stream in list(self._passing):
            stream.close()

    def owner(self, sid: str) -> str | None:
        """Return the name of the worker that has a session; `None` if it is no other's."""
        name, mark, _ = sid.partition(MARK)
        return name if mark and name != self.name and _NAME.match(name) is not None else None

    # To other workers.

    async def ask(self, owner: str, kind: str, sid: str, body: bytes = b"") -> tuple[int, str]:
        """Return the answer to a poll or a POST: its status and text. Raises `PeerGone`."""
        stream = await self._send(owner, kind, sid, body)
        try:
            said = json.loads(await stream.read_until(b"\n", MAX_LINE_BYTES))
            text = await stream.read_bytes(said["bytes"]) if said["bytes"] else b""
            return said["status"], text.decode()
        except (StreamClosedError, ValueError, KeyError):
            raise PeerGone from None
        finally:
            stream.close()

    async def open_websocket(self, owner: str, sid: str) -> IOStream:
        """Return a stream to the worker that has a session. Raises `PeerGone` if it does not take
        a WebSocket for it.
        """
        stream = await self._send(owner, WEBSOCKET, sid)
        try:
            said = json.loads(await stream.read_until(b"\n", MAX_LINE_BYTES))
            if said["status"] == 101:
                return stream
        except (StreamClosedError, ValueError, KeyError):
            pass
        stream.close()
        raise PeerGone

    async def _send(self, owner: str, kind: str, sid: str, body: bytes = b"") -> IOStream:
        request = {"kind": kind, "sid": sid, "bytes": len(body)}
        try:
            stream = IOStream(socket.socket(socket.AF_UNIX))
            await stream.connect(str(self._folder / owner))
            await stream.write(json.dumps(request).encode() + b"\n" + body)
        except OSError:  # also if too many files are open
            raise PeerGone from None
        return stream

    def pass_on(self, client: IOStream, peer: IOStream) -> None:
        """Pass the bytes of a WebSocket on, in both directions, until one side closes."""
        self._passing.update((client, peer))
        for source, target in ((client, peer), (peer, client)):
            self._begin(self._pass(source, target))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass(self, source: IOStream, target: IOStream) -> None:
        try:
            while True:
                await target.write(await source.read_bytes(PASSED_BYTES, partial=True))
        except StreamClosedError:
            pass
        finally:
            source.close()
            target.close()
            self._passing -= {source, target}

    # From other workers.

    def _accept(self, connection: socket.socket, _: Any) -> None:
        self._begin(self._serve(IOStream(connection)))

    async def _serve(self, stream: IOStream) -> None:
        assert self._engine is not None
        try:
            asked = json.loads(await stream.read_until(b"\n", MAX_LINE_BYTES))
            body = await stream.read_bytes(asked["bytes"]) if asked["bytes"] else b""
            engine = self._engine
            session = engine.sessions.get(asked["sid"])
            if session is None or engine.overdue(session):
                await _say(stream, 400, "this session is not known: connect again")
            elif asked["kind"] == WEBSOCKET:
                await self._take_websocket(engine, session, stream)
                return
            else:
                exchange = _Remote(session, stream)
                if asked["kind"] == POLL:
                    session.poll(exchange)
                else:
                    _post(session, exchange, body)
                await _say(stream, *await exchange.answered)
        except StreamClosedError:
            pass
        except Exception:
            log.exception("a request that another worker has handed on failed")
        stream.close()

    async def _take_websocket(self, engine: Engine, session: Session, stream: IOStream) -> None:
        transport = WebSocketTransport(engine, session, stream, upgrading=True)
        if not engine.options.allows_upgrade or not engine.propose(session, transport):
            await _say(stream, 400, "this session cannot go on to WebSocket")
            stream.close()
            return
        await stream.write(b'{"status":101}\n')
        transport.start()


def _post(session: Session, exchange: _Remote, body: bytes) -> None:
    try:
        payload = body.decode()
    except UnicodeDecodeError:
        exchange.refuse("the payload is not UTF-8")
        session.close(Reason.TRANSPORT_ERROR)
    else:
        session.post(exchange, payload)


class _Remote:
    """A request that another worker has handed on (`Exchange`)."""

    def __init__(self, session: Session, stream: IOStream) -> None:
        self._session = session
        self.answered: asyncio.Future[tuple[int, str]] = session.engine.loop.create_future()
        stream.set_close_callback(self._lost)

    def answer(self, payload: str) -> None:
        self._settle(200, payload)

    def refuse(self, message: str) -> None:
        self._settle(400, message)

    def _settle(self, status: int, text: str) -> None:
        if not self.answered.done():
            self.answered.set_result((status, text))

    def _lost(self) -> None:
        if not self.answered.done():
            self.answered.set_exception(StreamClosedError())
            self._session.lost(self)


async def _say(stream: IOStream, status: int, text: str) -> None:
    data = text.encode("utf-8", "replace")
    await stream.write(json.dumps({"status": status, "bytes": len(data)}).encode() + b"\n" + data)


def _shared_folder() -> Path:
    """Return the folder that the workers of one server share."""
    return Path(tempfile.gettempdir()) / f"flasknado-socketio-{os.getuid()}-{os.getppid()}"
