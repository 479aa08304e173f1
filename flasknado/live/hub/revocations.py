"""Who was revoked lately, and who may come back by a ticket. On the loop's thread.

Access is given in steps: somebody says who may read, and later a client is counted in. What
was said before a revocation is worth nothing after it. Two orders tell before from after, and
neither is a clock that can be set: the log's offsets for tickets, which come from other
processes, and the monotonic time at which a revocation was heard here for what was said here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from flasknado.live.event import Cursor, Event
from flasknado.live.hub.subscriber import Subscriber
from flasknado.live.log.reader import REVOCATIONS_LIMIT
from flasknado.live.revocation import Revocation, revocation_of
from flasknado.live.tickets import Access, Identity, Tickets

MAX_OF_ONE_USER = 32
"""How many partial revocations of one user are told apart; one more counts as a whole one."""


class _Ended(NamedTuple):
    """A revocation, and when it was: by offset, and by when it was heard."""

    revocation: Revocation
    offset: int
    heard_at: float


class Revocations:
    """The tickets of one application, and the revocations that they are checked against."""

    def __init__(self, tickets: Tickets | None) -> None:
        self._tickets = tickets
        self._ended: dict[str, list[_Ended]] = {}
        self._count = 0
        """How many revocations these are."""
        self._place: Cursor | None = None
        self._known_from = 0
        """The offset behind which every revocation is known."""
        self._doubted_at = -math.inf
        """What was said until then may have been overtaken by a revocation that is not known."""

    def begin(self, place: Cursor, known_from: int, revocations: Sequence[Event]) -> None:
        """Know of a log up to a place: of all its revocations after an offset, which are these."""
        if self._place is not None:
            self._doubted_at = time.monotonic()
        self._ended.clear()
        self._count = 0
        self._place = place
        self._known_from = known_from
        for event in revocations:
            revocation = revocation_of(event)
            if revocation is not None and event.offset <= place.offset:
                self.revoke(revocation, event.offset)

    def advance(self, place: Cursor) -> None:
        """Note that every revocation up to a place in the log has been told."""
        self._place = place

    def revoke(self, revocation: Revocation, offset: int) -> None:
        """Note that a user was revoked, at an offset of the log."""
        ended = _Ended(revocation, offset, time.monotonic())
        before = self._ended.pop(revocation.user, [])
        self._count -= len(before)
        # The last of several that say the same is enough, and a whole one says what all do.
        kept = [e for e in before if not (revocation.whole or _same(e.revocation, revocation))]
        if len(kept) >= MAX_OF_ONE_USER:
            kept, ended = [], ended._replace(revocation=Revocation(revocation.user))
        # Last in the order, so that the first is the oldest.
        self._ended[revocation.user] = [*kept, ended]
        self._count += len(kept) + 1
        while self._count > REVOCATIONS_LIMIT:
            oldest = self._ended.pop(next(iter(self._ended)))
            self._count -= len(oldest)
            self._known_from = max(self._known_from, oldest[-1].offset)
            self._doubted_at = max(self._doubted_at, oldest[-1].heard_at)

    def upholds(self, access: Access) -> bool:
        """Return whether access that was given is good still."""
        if access.identity.user is None:
            return True
        if access.asked_at <= self._doubted_at:
            return False
        return not any(
            access.asked_at <= ended.heard_at
            for ended in self._ended_for(access.identity, access.channels)
        )

    def _ended_for(self, identity: Identity, channels: Collection[str] | None) -> Iterator[_Ended]:
        """Yield the revocations that take such access away, if it is from before them."""
        for ended in self._ended.get(identity.user or "", ()):
            if ended.revocation.ends(identity) and ended.revocation.concerns(channels):
                yield ended

    def ticket_for(self, subscriber: Subscriber) -> str | None:
        """Return a ticket that lets a client back to its channels."""
        if self._tickets is None or self._place is None or not subscriber.channels:
            return None
        identity = subscriber.identity
        return self._tickets.issue(
            identity, subscriber.channels, self._place, time.time(), subscriber.address
        )

    def admits_by(self, text: str, channels: Collection[str]) -> Access | None:
        """Return who may read these channels by a ticket, if it is good for all of them."""
        ticket = self._tickets.check(text, time.time()) if self._tickets is not None else None
        if ticket is None or not ticket.channels.issuperset(channels):
            return None
        if not self.is_since(ticket.identity, channels, ticket.place):
            return None
        return Access(
            ticket.identity,
            time.monotonic(),
            frozenset(channels),
            ticket.address,
            by_ticket=True,
        )

    def is_since(self, identity: Identity, channels: Collection[str], place: Cursor) -> bool:
        """Return whether nobody took such access away after a place in the log.

        False if that is not known.
        """
        if identity.user is None:
            return True
        if self._place is None or place.epoch != self._place.epoch:
            return False
        if place.offset < self._known_from:
            return False
        return not any(place.offset < ended.offset for ended in self._ended_for(identity, channels))


def _same(before: Revocation, now: Revocation) -> bool:
    """Return whether a later revocation stands for an earlier one: of all but one generation,
    which changes each time, or of the same session and channel.
    """
    return before[2:] == now[2:] and (before.generation is None) is (now.generation is None)
