"""Who was revoked lately, and who may come back by a ticket. On the loop's thread.

Access is given in steps: somebody says who may read, and later a client is counted in. What
was said before a revocation is worth nothing after it. Two orders tell before from after, and
neither is a clock that can be set: the log's offsets for tickets, which come from other
processes, and the monotonic time at which a revocation was heard here for what was said here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence
from typing import NamedTuple

from flasknado.live.event import Cursor, Event
from flasknado.live.hub.subscriber import Subscriber
from flasknado.live.log.reader import REVOCATIONS_LIMIT
from flasknado.live.revocation import Revocation, revocation_of
from flasknado.live.tickets import Access, Identity, Tickets


class _Ended(NamedTuple):
    """When a user was revoked last: by offset, and by when it was heard."""

    offset: int
    heard_at: float
    generation: str | None
    all_offset: int = -1
    """The same of the last revocation that spared no generation."""
    all_heard_at: float = -math.inf

    def spares(self, generation: str | None) -> bool:
        return self.generation is not None and self.generation == generation


class Revocations:
    """The tickets of one application, and the revocations that they are checked against."""

    def __init__(self, tickets: Tickets | None) -> None:
        self._tickets = tickets
        self._ended: dict[str, _Ended] = {}
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
        user, generation = revocation
        now = time.monotonic()
        before = self._ended.pop(user, None)
        if generation is None:
            ended = _Ended(offset, now, None, offset, now)
        elif before is None:
            ended = _Ended(offset, now, generation)
        else:
            ended = before._replace(offset=offset, heard_at=now, generation=generation)
        # Last in the order, so that the first is the oldest.
        self._ended[user] = ended
        if len(self._ended) > REVOCATIONS_LIMIT:
            oldest = self._ended.pop(next(iter(self._ended)))
            self._known_from = max(self._known_from, oldest.offset)
            self._doubted_at = max(self._doubted_at, oldest.heard_at)

    def upholds(self, access: Access) -> bool:
        """Return whether access that was given is good still."""
        user, generation = access.identity.user, access.identity.generation
        if user is None:
            return True
        if access.asked_at <= self._doubted_at:
            return False
        ended = self._ended.get(user)
        if ended is None or access.asked_at > ended.heard_at:
            return True
        return ended.spares(generation) and access.asked_at > ended.all_heard_at

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
        if not self._is_since(ticket.identity, ticket.place):
            return None
        return Access(ticket.identity, time.monotonic(), ticket.address, by_ticket=True)

    def _is_since(self, identity: Identity, place: Cursor) -> bool:
        """Return whether a user was not revoked after a place in the log, as far as is known."""
        if identity.user is None:
            return True
        if self._place is None or place.epoch != self._place.epoch:
            return False
        if place.offset < self._known_from:
            return False
        ended = self._ended.get(identity.user)
        if ended is None or place.offset >= ended.offset:
            return True
        return ended.spares(identity.generation) and place.offset >= ended.all_offset
