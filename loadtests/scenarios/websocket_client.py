"""Somebody who holds a WebSocket open."""

from __future__ import annotations

import json

from websocket import create_connection

from loadtests.scenarios.live import CHANNEL, SILENCE_S, LiveUser


class WebSocketClient(LiveUser):
    method = "WS"

    def listen(self) -> None:
        host, port = self.address
        socket = create_connection(f"ws://{host}:{port}/live/socket", timeout=SILENCE_S)
        try:
            socket.send(json.dumps({"type": "subscribe", "channels": [CHANNEL]}))
            while message := socket.recv():
                self.take(message)
            raise ConnectionError("the socket was closed")
        finally:
            socket.close()
