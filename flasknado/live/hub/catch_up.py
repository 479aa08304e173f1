"""How far the log has been read for a client that has not joined the live flow.

On the loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from flasknado.live.event import Cursor, Event, is_pattern, matches
from flasknado.live.log.reader import Request


class CatchUp:
    """How far a subscriber that has not joined the live flow has been read, channel by channel.

    A position is an offset, or `None` for a channel that begins at the head, wherever that
    is when it is read.
    """

    __slots__ = (
        "asked",
        "deciding",
        "epoch",
        "greeted",
        "greeting",
        "last",
        "positions",
        "request",
    )

    def __init__(self) -> None:
        self.epoch: str | None = None
        """The log that the positions are of; empty if they are of several, so of none."""
        self.positions: dict[str, int | None] = {}
        self.last: dict[str, int] = {}
        """How many of its newest events a channel that begins at the head begins with."""
        self.request: Request | None = None
        self.asked: dict[str, int | None] = {}
        """The positions when the request was made."""
        self.deciding: asyncio.Task[None] | None = None
        """While the application is asked about channels of a pattern; nothing is read meanwhile."""
        self.greeting = b""
        """What to send before anything else."""
        self.greeted: asyncio.Future[None] | None = None
        """Done when the log has been read for whoever waits for that."""

    def begin(self, channel: str, after: Cursor | None, last: int = 0) -> None:
        """Take a channel in: after a cursor or, if it is new, at the head, with `last` events."""
        if after is None:
            if last and channel not in self.positions:
                self.last[channel] = last
            self.positions.setdefault(channel, None)
            return
        self.positions[channel] = after.offset
        if self.epoch is None:
            self.epoch = after.epoch
        elif self.epoch != after.epoch:
            self.epoch = ""

    def end(self, channel: str) -> None:
        """Let a channel go, also from the request under way: it may come back from elsewhere."""
        self.positions.pop(channel, None)
        self.asked.pop(channel, None)
        self.last.pop(channel, None)

    def history(self, events: Iterable[Event]) -> list[Event]:
        """Return the newest events that were asked for, each channel's once."""
        wanted, self.last = self.last, {}
        return [event for event in events if event.channel in wanted]

    def after(self) -> int | None:
        """Return the offset to read from; `None` if every channel begins at the head."""
        return min((p for p in self.positions.values() if p is not None), default=None)

    def cancel(self) -> None:
        """Forget the request that is under way."""
        if self.greeted is not None and not self.greeted.done():
            self.greeted.set_result(None)
        if self.deciding is not None:
            self.deciding.cancel()
            self.deciding = None
        if self.request is not None:
            self.request.cancelled = True
            self.request = None

    def advance(
        self, events: Iterable[Event], complete_to: int, head: int
    ) -> tuple[list[Event], bool]:
        """Move the positions by what was read; return the events to send, and if that is all.

        A channel that was taken in, let go or moved since the request was made is left as it is.
        """
        positions = self.positions
        wanted: dict[str, int] = {}
        unchanged = 0
        for channel, asked in self.asked.items():
            if channel not in positions or positions[channel] != asked:
                continue
            unchanged += 1
            if asked is None:
                positions[channel] = head
            else:
                wanted[channel] = asked
                positions[channel] = max(asked, complete_to)
        patterns = {c: position for c, position in wanted.items() if is_pattern(c)}
        to_send: list[Event] = []
        for event in events:
            after = [wanted[event.channel]] if event.channel in wanted else []
            after += [at for c, at in patterns.items() if matches(event.channel, c)]
            if after and event.offset > min(after):
                to_send.append(event)
        return to_send, complete_to == head and unchanged == len(positions)
