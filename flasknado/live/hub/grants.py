"""What a client of patterns may read: each channel is asked for when it first has an event.

On the loop's thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable

from flasknado.errors import FlasknadoError
from flasknado.live.event import is_pattern, matches
from flasknado.live.tickets import Access

Ask = Callable[[Collection[str]], Awaitable[tuple[frozenset[str], Access]]]
"""Returns those of some channels that a client may read, and who it is."""


class Undecided(FlasknadoError):
    """Nobody has said yet if a client may read these channels."""

    def __init__(self, channels: Collection[str]) -> None:
        super().__init__("it is not known yet if a client may read a channel")
        self.channels = channels


class Grants:
    """The answers for one client, at most so many; of more the oldest is asked for again."""

    __slots__ = ("_decided", "_limit", "ask")

    def __init__(self, ask: Ask, limit: int) -> None:
        self.ask = ask
        self._limit = limit
        self._decided: dict[str, bool] = {}

    def allows(self, channel: str) -> bool:
        """Return whether the client may read a channel, as far as it was asked for."""
        return self._decided.get(channel, False)

    def decide(self, channels: Iterable[str], granted: Collection[str]) -> None:
        """Note the answers for some channels, which of them may be read."""
        for channel in channels:
            self._decided.pop(channel, None)
            self._decided[channel] = channel in granted
        while len(self._decided) > self._limit:
            del self._decided[next(iter(self._decided))]

    def among(self, followed: Collection[str], channels: Iterable[str]) -> tuple[str, ...]:
        """Return those of some channels that the client gets; raises `Undecided`."""
        patterns = [pattern for pattern in followed if is_pattern(pattern)]
        wanted: list[str] = []
        unknown: list[str] = []
        for channel in channels:
            if channel in followed:
                wanted.append(channel)
            elif any(matches(channel, pattern) for pattern in patterns):
                may_read = self._decided.get(channel)
                if may_read is None:
                    unknown.append(channel)
                elif may_read:
                    wanted.append(channel)
        if unknown:
            raise Undecided(unknown)
        return tuple(wanted)
