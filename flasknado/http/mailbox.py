"""How pool threads hand work to the event loop: in batches, with one wake-up.

`loop.call_soon_threadsafe` writes to a pipe on every call. A mailbox calls it only when
the loop is not already on its way, so that many results cost one wake-up.
"""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from mypy_extensions import trait

log: Final = logging.getLogger("flasknado.http")


@trait
class Delivery:
    """Something that a pool thread has made ready and the loop delivers."""

    __slots__ = ()

    @abstractmethod
    def deliver(self) -> None:
        """Deliver it; called on the loop's thread, must not block."""


class Mailbox:
    """Calls to be made on one event loop, in the order in which they were posted.

    It is bounded by its senders: a pool thread posts one response, or waits for room
    (`Reply.write`) before it posts more of a stream.
    """

    __slots__ = ("_loop", "_posted", "_waking")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._posted: deque[Delivery | tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._waking = False

    def post(self, call: Callable[..., object], *args: Any) -> None:
        """Have `call(*args)` run on the loop's thread soon. May be called on any thread.

        After the loop has closed nothing runs any more and nothing is raised: there is
        no client left to tell.
        """
        self._post((call, args))

    def post_delivery(self, delivery: Delivery) -> None:
        """Have `delivery.deliver()` run as `post()` has a call: quicker, with nothing to make."""
        self._post(delivery)

    def _post(self, item: Delivery | tuple[Callable[..., object], tuple[Any, ...]]) -> None:
        self._posted.append(item)
        if not self._waking:
            self._waking = True
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:
                self._posted.clear()

    def _deliver(self) -> None:
        # Cleared first: what is posted from now on either is popped below or wakes the loop again.
        self._waking = False
        posted = self._posted
        for _ in range(len(posted)):
            item = posted.popleft()
            try:
                if isinstance(item, Delivery):
                    item.deliver()
                else:
                    call, args = item
                    call(*args)
            except Exception:
                # Without a call's arguments: a part of somebody's response may be among them.
                failed = item if isinstance(item, Delivery) else item[0]
                log.exception("a call posted to the event loop failed: %r", failed)
        if posted and not self._waking:
            self._waking = True
            self._loop.call_soon(self._deliver)


_mailboxes: Final[dict[int, tuple[asyncio.AbstractEventLoop, Mailbox]]] = {}


def mailbox_of(loop: asyncio.AbstractEventLoop) -> Mailbox:
    """Return the mailbox of a loop, the same one each time; on that loop's thread only."""
    known = _mailboxes.get(id(loop))
    if known is None or known[0] is not loop:
        for key in [key for key, (other, _) in _mailboxes.items() if other.is_closed()]:
            del _mailboxes[key]
        known = _mailboxes[id(loop)] = (loop, Mailbox(loop))
    return known[1]
