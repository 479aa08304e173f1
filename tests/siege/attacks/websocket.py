"""Floods of frames on WebSockets, live ones and Tornado's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tests.siege.attack import Attack, Report, Target
from tests.siege.sockets import (
    PING,
    PONG,
    TEXT,
    endlessly,
    frame,
    handshake,
    subscribe,
    swarm,
)

LIVE = b"/live/socket"
TORNADO = b"/native/echo"
FRAGMENTS = frame(0, final=False) * 10_000
BYTES = frame(0, b"x", final=False) * 10_000
BEGINNING = frame(TEXT, final=False)


def flood(path: bytes, first: bytes, piece: bytes, target: Target, seconds: float) -> Report:
    """Send frames without an end on one connection after another; each must be closed by 1008."""
    opening = handshake(path) + (subscribe("open") if path == LIVE else b"") + first
    report, senders = swarm(
        target,
        seconds,
        lambda: (opening, endlessly(piece)),
        most=500,
        until=lambda senders: any(not sender.open for sender in senders),
    )
    closed = [sender for sender in senders if not sender.open]
    report.expect(closed, "a client of endless frames is cut off")
    report.expect(
        all(answer in ("close 1008", "closed") for answer in report.answers),
        f"a client of endless frames is cut off with 1008, not {dict(report.answers)}",
    )
    return report


def messages(target: Target, seconds: float) -> Report:
    """Send small messages without an end to a handler that takes and answers any number."""
    piece = frame(TEXT, b"x") * 5_000
    report, senders = swarm(target, seconds, lambda: (handshake(TORNADO), endlessly(piece)))
    report.expect(len(senders) == 1, "a handler that allows any number of messages gets them")
    return report


def _floods(path: bytes, word: str, setups: tuple[str, ...]) -> tuple[Attack, ...]:
    def attack(name: str, what: str, first: bytes, piece: bytes) -> Attack:
        run: Callable[[Target, float], Report] = partial(flood, path, first, piece)
        return Attack(f"{word}-{name}", what, run, setups)

    return (
        attack("fragments", "empty fragments without an end", BEGINNING, FRAGMENTS),
        attack("bytes", "fragments of one byte without an end", BEGINNING, BYTES),
        attack("pings", "pings as fast as they go", b"", frame(PING) * 10_000),
        attack("pongs", "pongs that nobody asked for", b"", frame(PONG) * 10_000),
    )


ATTACKS = (
    *_floods(LIVE, "live", ("small", "small, tornado")),
    Attack(
        "live-messages",
        "messages of one byte as fast as they go",
        partial(flood, LIVE, b"", frame(TEXT, b"x") * 10_000),
        ("small", "small, tornado"),
    ),
    # Nothing counts the frames of Tornado's handlers on Tornado's own layer: docs/http-safety.md.
    *_floods(TORNADO, "tornado", ("small",)),
    Attack("tornado-messages", "the same to a handler that echoes", messages, ("small",)),
)
