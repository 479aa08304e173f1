"""Frames as a client writes them."""

from __future__ import annotations

from websockets.frames import Frame, Opcode


def client_frame(opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    """Return a masked frame as the `websockets` library writes it."""
    return Frame(Opcode(opcode), payload, fin=final).serialize(mask=True)
