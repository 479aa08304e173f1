"""How many connections a user and an address may have."""

from __future__ import annotations

from collections import Counter

from flasknado.live.errors import TooManySubscribers
from flasknado.live.hub.subscriber import Subscriber
from flasknado.live.options import LiveOptions


class ConnectionQuota:
    """Counts the clients of one process by user and by address; on the loop's thread."""

    def __init__(self, options: LiveOptions) -> None:
        self._options = options
        self._of_user: Counter[str] = Counter()
        self._of_address: Counter[str] = Counter()
        self._by_address = True

    def enter(self, subscriber: Subscriber) -> None:
        """Count a client in; raises `TooManySubscribers` if its address or user has too many."""
        address = subscriber.address if self._by_address else None
        limit = self._options.max_per_address
        if address is not None:
            if self._of_address[address] >= limit:
                raise TooManySubscribers(
                    f"{address} has {limit} live connections, as many as an address may have "
                    f"(LIVE_MAX_PER_ADDRESS): close one of them"
                )
            self._of_address[address] += 1
        try:
            self.name(subscriber, subscriber.user)
        except TooManySubscribers:
            _less(self._of_address, address)
            raise

    def name(self, subscriber: Subscriber, user: str | None) -> None:
        """Count a client as this user's; raises `TooManySubscribers`."""
        limit = self._options.max_per_user
        if user is not None:
            if self._of_user[user] >= limit:
                raise TooManySubscribers(
                    f"you have {limit} live connections, as many as a user may have "
                    f"(LIVE_MAX_PER_USER): close one of them"
                )
            self._of_user[user] += 1
        subscriber.user = user

    def forget_addresses(self) -> None:
        """Count by address no longer, because it is not that of the client."""
        self._by_address = False
        self._of_address.clear()

    def leave(self, subscriber: Subscriber, user: str | None) -> None:
        """Count a client out that is counted as this user's."""
        self.leave_address(subscriber.address)
        _less(self._of_user, user)

    def leave_address(self, address: str | None) -> None:
        """Count a client out that is counted as of this address, and as no user's."""
        if self._by_address:
            _less(self._of_address, address)


def _less(counter: Counter[str], key: str | None) -> None:
    if key is not None:
        counter[key] -= 1
        if not counter[key]:
            del counter[key]
