"""`SocketIOTestClient`: a client for tests of handlers, without a server; as Flask-SocketIO's.

Everything happens on the calling thread: when `emit()` returns, the handlers have run.
"""

from __future__ import annotations

from typing import Any

from flask import Flask
from flask.testing import EnvironBuilder

from flasknado.socketio import packet
from flasknado.socketio.client import Connection
from flasknado.socketio.core import TestCaller
from flasknado.socketio.engineio.packet import Outgoing, ProtocolError
from flasknado.socketio.engineio.reason import Reason
from flasknado.socketio.message import Joined, Message
from flasknado.socketio.packet import Packet
from flasknado.socketio.runtime import DirectRuntime
from flasknado.socketio.served import Served
from flasknado.socketio.server import Server


class SocketIOTestClient:
    """Connects when it is made.

    `namespace`, `query_string`, `headers` and `auth` are what a client would connect with. With
    `flask_test_client` its cookies are sent, so that handlers find the session of its user.
    """

    def __init__(
        self,
        app: Flask,
        socketio: Served,
        namespace: str | None = None,
        query_string: str | None = None,
        headers: dict[str, str] | None = None,
        auth: Any = None,
        flask_test_client: Any = None,
    ) -> None:
        self.app = app
        self.socketio = socketio
        self.flask_test_client = flask_test_client
        self.connected: dict[str, bool] = {}
        self.queue: list[dict[str, Any]] = []
        self.acks: dict[str, Any] | None = None
        self.callback_counter = 0
        self._link: _TestLink | None = None
        self._server = _server_of(socketio)
        self.connect(namespace, query_string, headers, auth)

    @property
    def eio_sid(self) -> str:
        """A name for the connection."""
        return f"test-{id(self._link)}"

    def is_connected(self, namespace: str | None = None) -> bool:
        """Return whether it is connected to a namespace."""
        return self.connected.get(namespace or "/", False)

    def connect(
        self,
        namespace: str | None = None,
        query_string: str | None = None,
        headers: dict[str, str] | None = None,
        auth: Any = None,
    ) -> None:
        """Connect to a namespace, the first or one more."""
        namespace = namespace or "/"
        link = self._link
        if link is None or link.closed:
            link = self._link = _TestLink(self, self._environ(query_string, headers))
            self._server.opened(link)
        else:
            link.caller = TestCaller(self._environ(query_string, headers), self.app)
        self._receive(Packet(packet.CONNECT, namespace, auth))

    def _environ(self, query_string: str | None, headers: dict[str, str] | None) -> dict[str, Any]:
        path = f"/{self.socketio.options.path}/"
        if query_string:
            path = f"{path}?{query_string.removeprefix('?')}"
        environ: dict[str, Any]
        if self.flask_test_client is not None:
            request = self.flask_test_client._request_from_builder_args(
                (), {"path": path, "headers": headers}
            )
            environ = request.environ
            self.flask_test_client._add_cookies_to_wsgi(environ)
        else:
            environ = EnvironBuilder(self.app, path=path, headers=headers).get_environ()
        environ["flask.app"] = self.app
        return environ

    def disconnect(self, namespace: str | None = None) -> None:
        """Disconnect from a namespace."""
        self._check_connected(namespace)
        self._receive(Packet(packet.DISCONNECT, namespace or "/"))
        self.connected.pop(namespace or "/", None)

    def emit(self, event: str, *args: Any, **kwargs: Any) -> Any:
        """Emit an event. With `callback=True` returns what the handler answers.

        The other keyword is `namespace`.
        """
        namespace = kwargs.pop("namespace", None)
        self._check_connected(namespace)
        ack_id = None
        if kwargs.pop("callback", False):
            self.callback_counter += 1
            ack_id = self.callback_counter
        self._receive(Packet(packet.EVENT, namespace or "/", [event, *args], ack_id))
        if self.acks is None:
            return None
        answer, self.acks = self.acks["args"], None
        return answer[0] if len(answer) == 1 else answer

    def send(
        self, data: Any, json: bool = False, callback: bool = False, namespace: str | None = None
    ) -> Any:
        """Emit a `message` event, or with `json` a `json` event."""
        name = "json" if json else "message"
        return self.emit(name, data, callback=callback, namespace=namespace)

    def get_received(self, namespace: str | None = None) -> list[dict[str, Any]]:
        """Return the events of a namespace that came since this was called last.

        Each is a dict of `name`, `args` and `namespace`; the `args` of `message` and `json` are
        the one argument itself.
        """
        self._check_connected(namespace)
        namespace = namespace or "/"
        received = [event for event in self.queue if event["namespace"] == namespace]
        self.queue = [event for event in self.queue if event["namespace"] != namespace]
        return received

    def _check_connected(self, namespace: str | None) -> None:
        if not self.is_connected(namespace):
            raise RuntimeError("not connected")

    def _receive(self, sent: Packet) -> None:
        """Have the server receive a packet, in the form that it would have."""
        link = self._link
        assert link is not None
        try:
            for piece in self.socketio.options.parser.encode(sent):
                self._server.received(link, piece)
        except ProtocolError as error:
            link.close(Reason.TRANSPORT_ERROR)
            raise ValueError(str(error)) from error

    def _take(self, got: Packet) -> None:
        namespace = got.namespace
        if got.type == packet.CONNECT:
            self.connected[namespace] = True
        elif got.type in (packet.DISCONNECT, packet.CONNECT_ERROR):
            self.connected[namespace] = False
        elif got.type == packet.ACK:
            self.acks = {"args": got.data, "namespace": namespace}
        else:
            name, *args = got.data
            plain = name in ("message", "json") and len(args) == 1
            self.queue.append(
                {"name": name, "args": args[0] if plain else args, "namespace": namespace}
            )


class _TestLink:
    """A connection to a client in the same thread."""

    def __init__(self, client: SocketIOTestClient, environ: dict[str, Any]) -> None:
        self._client = client
        self.address: str | None = None
        self.caller = TestCaller(environ, client.app)
        self.paused = False
        self.closed = False
        self.transport = "websocket"
        self.upper: Connection | None = None

    def send(self, message: Outgoing) -> None:
        messages = message.messages if isinstance(message, Joined) else (message,)
        for one in messages:
            assert isinstance(one, Message)
            # As it would come out at the client, so that what cannot be written fails here.
            self._client._take(_read(one))

    def close(self, reason: str) -> None:
        if not self.closed:
            self.closed = True
            self._client._server.closed(self, reason)

    def evict(self) -> None:
        self.close(Reason.TRANSPORT_ERROR)

    def resume(self) -> None:
        self.paused = False


def _read(message: Message) -> Packet:
    """Return what a client reads of a message."""
    sent = message.packet
    if sent.type not in (packet.EVENT, packet.ACK):
        return sent
    read = message.parser.begin(message.pieces[0])
    for piece in message.pieces[1:]:
        assert not isinstance(read, Packet)
        read = read.add(piece) or read
    assert isinstance(read, Packet)
    return read


def _server_of(socketio: Served) -> Server:
    """Return the server for the test clients of a `SocketIO`."""
    emitter = socketio.server
    for server in emitter.servers:
        if isinstance(server.runtime, DirectRuntime):
            found: Server = server
            return found
    server = Server(socketio.core, DirectRuntime(), emitter.bus)
    emitter.servers.append(server)
    return server
