"""Who was revoked lately, and who may come back by a ticket. On the loop's thread."""

from __future__ import annotations

import time
from collections.abc import Collection

from flasknado.live.hub.subscriber import Subscriber
from flasknado.live.tickets import LIFETIME_S, Identity, Tickets

CLOCK_SKEW_S = 2.0
"""How far apart the clocks of several machines may be."""


class Revocations:
    """The tickets of one application, and the revocations that they are checked against."""

    def __init__(self, tickets: Tickets | None) -> None:
        self._tickets = tickets
        self._revoked_at: dict[str, float] = {}

    def ticket_for(self, subscriber: Subscriber) -> str | None:
        """Return a ticket that lets a client back to its channels."""
        if self._tickets is None or not subscriber.channels:
            return None
        identity = Identity(subscriber.user, subscriber.expires_at)
        return self._tickets.issue(identity, subscriber.channels, time.time())

    def admits_by(self, ticket: str, channels: Collection[str]) -> Identity | None:
        """Return who may read these channels by a ticket, if it is good for all of them."""
        valid = self._tickets.check(ticket, time.time()) if self._tickets is not None else None
        if valid is None or not valid.channels.issuperset(channels):
            return None
        if self.revoked_since(valid.identity.user, valid.issued_at - CLOCK_SKEW_S):
            return None
        return valid.identity

    def revoke(self, user: str, at: float) -> None:
        """Note that a user was revoked, and forget what no ticket is left from."""
        old = time.time() - 2 * LIFETIME_S
        self._revoked_at = {u: t for u, t in self._revoked_at.items() if t > old}
        self._revoked_at[user] = max(at, self._revoked_at.get(user, at))

    def revoked_since(self, user: str | None, moment: float) -> bool:
        """Return whether a user was revoked after a moment, in seconds since the epoch."""
        return user is not None and self._revoked_at.get(user, 0.0) >= moment
