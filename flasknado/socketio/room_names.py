"""The names of rooms. Pure.

A room may have any name that Flask-SocketIO's may, mostly text or a number. Inside it has a key,
which is text, so that it can be told to other processes; 5 and "5" are two rooms.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

Room = Hashable

_MARK = "\x00"


def room_key(room: Room) -> str:
    """Return the key of a room; raises `TypeError` for what cannot name one."""
    if isinstance(room, str):
        return f"{_MARK}str:{room}" if room.startswith(_MARK) else room
    hash(room)
    return f"{_MARK}{type(room).__name__}:{room!r}"


def room_keys(to: Any) -> tuple[str, ...] | None:
    """Return the keys of what an event is sent `to`: a room, a list of them, or all (`None`)."""
    if to is None:
        return None
    if isinstance(to, (list, tuple, set, frozenset)):
        return tuple(dict.fromkeys(map(room_key, to)))
    return (room_key(to),)


def sids_of(skip: str | Iterable[str] | None) -> frozenset[str]:
    """Return the clients that an event is not for: one, several, or none."""
    if skip is None:
        return frozenset()
    return frozenset((skip,) if isinstance(skip, str) else skip)
