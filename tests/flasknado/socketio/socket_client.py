"""A client of Socket.IO over WebSocket, with what it received kept for the test to look at."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from tests.flasknado.live.helpers import wait_for
from tests.flasknado.socketio.clients import PING, PONG, Requests
from tests.support.serving import Serving


class SocketClient:
    """One connection; its thread answers pings and keeps the packets that came."""

    def __init__(
        self,
        serving: Serving,
        *namespaces: str,
        at_once: bool = True,
        auth: Any = None,
        headers: dict[str, str] | None = None,
        origin: str | None = None,
        **query: str,
    ) -> None:
        self._stack = ExitStack()
        connecting = Requests(serving).websocket(headers, origin, **query)
        self.websocket: ClientConnection = self._stack.enter_context(connecting)
        self.packets: list[str | bytes] = []
        self.closed = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self.sids: dict[str, str] = {}
        self.pids: dict[str, str] = {}
        if at_once:
            for namespace in namespaces or ("/",):
                self.connect(namespace, auth)

    def _read(self) -> None:
        try:
            for packet in self.websocket:
                if packet == PING:
                    self.websocket.send(PONG)
                else:
                    self.packets.append(packet)
        except ConnectionClosed:
            pass
        self.closed = True

    def connect(self, namespace: str = "/", auth: Any = None) -> dict[str, Any]:
        """Connect to a namespace; returns what the server said."""
        prefix = "" if namespace == "/" else f"{namespace},"
        self.send("40" + prefix + ("" if auth is None else json.dumps(auth)))
        answer = self.wait_for_packet(f"40{prefix}{{")
        said: dict[str, Any] = json.loads(answer[2 + len(prefix) :])
        self.sids[namespace] = said["sid"]
        if "pid" in said:
            self.pids[namespace] = said["pid"]
        return said

    @property
    def sid(self) -> str:
        return self.sids["/"]

    def send(self, packet: str | bytes) -> None:
        self.websocket.send(packet)

    def emit(self, event: str, *args: Any, ack_id: int | None = None, namespace: str = "/") -> None:
        prefix = "" if namespace == "/" else f"{namespace},"
        number = "" if ack_id is None else str(ack_id)
        self.send(f"42{prefix}{number}{json.dumps([event, *args])}")

    def ask(self, event: str, *args: Any, ack_id: int = 7) -> Any:
        """Emit an event and return its acknowledgement."""
        self.emit(event, *args, ack_id=ack_id)
        answer = self.wait_for_packet(f"43{ack_id}[")
        self.packets.remove(answer)
        return json.loads(answer[len(f"43{ack_id}") :])

    def wait_for_packet(self, prefix: str) -> str:
        """Return the first packet that begins with a text; it stays."""

        def find() -> str | None:
            closed = self.closed
            found = (p for p in list(self.packets) if isinstance(p, str) and p.startswith(prefix))
            packet = next(found, None)
            assert packet is not None or not closed, f"closed, after {self.packets}"
            return packet

        return str(wait_for(find, f"a packet {prefix}... among {self.packets}"))

    def events(self, count: int, namespace: str = "/") -> list[Any]:
        """Return the first `count` events that came, waiting for them."""
        prefix = "42" if namespace == "/" else f"42{namespace},"

        def came() -> list[Any]:
            texts = [p for p in list(self.packets) if isinstance(p, str) and p.startswith(prefix)]
            return [json.loads(text[text.index("[") :]) for text in texts]

        wait_for(lambda: len(came()) >= count, f"{count} events, not {self.packets}")
        return came()[:count]

    def wait_closed(self) -> None:
        wait_for(lambda: self.closed, "the server closes")

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> SocketClient:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
