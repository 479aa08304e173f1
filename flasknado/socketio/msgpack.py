"""Socket.IO packets as msgpack, as socket.io-msgpack-parser writes them. Pure.

Needs the package msgpack (`pip install flasknado[socketio]`).
"""

from __future__ import annotations

import importlib
from typing import Any

from flasknado.errors import ConfigurationError
from flasknado.socketio.engineio.packet import Data, ProtocolError
from flasknado.socketio.packet import (
    MAX_CONTAINERS,
    ROOT,
    TOO_MANY_CONTAINERS,
    Packet,
    Parser,
    checked,
)


class MsgpackParser(Parser):
    """One binary message for each packet; bytes are among its data. Raises `ConfigurationError`."""

    def __init__(self) -> None:
        try:
            self._msgpack: Any = importlib.import_module("msgpack")
        except ImportError:
            raise ConfigurationError(
                "SocketIO(serializer='msgpack') needs the package msgpack: "
                "pip install flasknado[socketio]"
            ) from None

    def encode(self, packet: Packet) -> list[Data]:
        fields: dict[str, Any] = {"type": packet.type, "data": packet.data, "nsp": packet.namespace}
        if packet.id is not None:
            fields["id"] = packet.id
        packed: bytes = self._msgpack.packb(fields)
        return [packed]

    def _extension(self, code: int, data: bytes) -> Any:
        # So the JavaScript client writes `undefined`.
        return None if (code, data) == (0, b"\x00") else self._msgpack.ExtType(code, data)

    def begin(self, data: Data) -> Packet:
        if isinstance(data, str):
            raise ProtocolError("text came where msgpack is spoken")
        hooks: dict[str, Any] = {}
        if len(data) > MAX_CONTAINERS:  # each is a byte or more
            count = _Containers()
            hooks = {"list_hook": count, "object_hook": count}
        try:
            fields = self._msgpack.unpackb(data, ext_hook=self._extension, **hooks)
        except (TypeError, ValueError, RecursionError, self._msgpack.exceptions.UnpackException):
            raise ProtocolError("the packet is not msgpack") from None
        if not isinstance(fields, dict):
            raise ProtocolError("the packet is not a map")
        kind, namespace, ack_id = fields.get("type"), fields.get("nsp", ROOT), fields.get("id")
        if (
            type(kind) is not int
            or not isinstance(namespace, str)
            or not namespace.startswith(ROOT)
            or not (ack_id is None or type(ack_id) is int)
        ):
            raise ProtocolError("the packet's type, namespace or id is none")
        return checked(Packet(kind, namespace, fields.get("data"), ack_id))


class _Containers:
    """Counts the arrays and maps of a packet; raises `ProtocolError`."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_CONTAINERS

    def __call__(self, container: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise ProtocolError(TOO_MANY_CONTAINERS)
        return container
