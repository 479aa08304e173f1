"""Following the log: one thread with one database connection in each process.

The loop never touches the database. It hands reads to this thread (`Reader.request`) and
gets everything back through one callback, in order: what the log says of new events, and
the answers to its requests. That order is what lets a subscriber join the live flow
without a gap or a duplicate, see `flasknado.live.hub.hub`.

How it learns of other processes' commits depends on the log (`flasknado.live.log.base`). A commit
in this process wakes it at once (`Reader.wake`).
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from flasknado.live.event import REVOCATIONS, Cursor, Event
from flasknado.live.log.base import Busy, Follower, Log
from flasknado.live.log.follower_thread import FollowerThread, Loop
from flasknado.live.log.tables import Batch, Draft
from flasknado.live.options import LiveOptions

log = logging.getLogger("flasknado.live")

LIVE_BATCH_EVENTS = 100
LIVE_BATCH_BYTES = 256 * 1024
CATCH_UP_BATCH_EVENTS = 200
CATCH_UP_BATCH_BYTES = 64 * 1024
PRUNE_BATCH_EVENTS = 500
READ_INTERVAL_S = 0.005
"""The least time between two reads of what is new, when each was woken for."""
REVOCATIONS_LIMIT = 10_000
"""How many revocations are known of; tickets from before the oldest are not taken."""
REPORTS_UNDERWAY = 8
REQUESTS_PER_TURN = 16


class Started(NamedTuple):
    """The log can be read, and live batches go on from this cursor.

    `unbroken` says that nothing was missed since the last live batch. Otherwise `revocations`
    are all that the log has after the offset `known_from`, for tickets to be checked against.
    """

    cursor: Cursor
    unbroken: bool
    known_from: int = 0
    revocations: Sequence[Event] = ()


class Stopped(NamedTuple):
    """The log cannot be read at present; the reader goes on trying."""

    reason: str


class LiveBatch(NamedTuple):
    """The next events of the live flow; `Reader.taken()` is to be called when they are off."""

    batch: Batch


class Request:
    """A read that a subscriber needs: the bounds (`after` is `None`), or events after an offset."""

    __slots__ = ("after", "asker", "cancelled", "channels", "newest")

    def __init__(
        self,
        asker: object,
        channels: Collection[str],
        after: int | None,
        newest: Mapping[str, int] | None = None,
    ) -> None:
        self.asker = asker
        self.channels = channels
        self.after = after
        self.newest = newest or {}
        """How many of the newest events of which channels are wanted beside."""
        self.cancelled = False
        """Set on the loop's thread when nobody waits for the answer any more."""


class Answer(NamedTuple):
    """The answer to a request."""

    request: Request
    batch: Batch
    history: Sequence[Event] = ()
    """The newest events that were asked for, up to the batch's head, oldest first."""


Report = Started | Stopped | LiveBatch | Answer


class Reader(FollowerThread):
    """The thread that follows the log.

    `report(report)` is called on the loop's thread, in order; at most `REPORTS_UNDERWAY`
    are on their way there, or are live batches that wait there.
    """

    what = "the log of live events cannot be read"

    def __init__(
        self,
        live_log: Log,
        options: LiveOptions,
        loop: Loop,
        report: Callable[[Report], object],
        signals: deque[Draft] | None = None,
    ) -> None:
        super().__init__("flasknado-live-log", live_log, options, loop)
        self._report = report
        self._requests: deque[Request] = deque()
        self._signals: deque[Draft] = deque() if signals is None else signals
        self._underway = threading.Semaphore(REPORTS_UNDERWAY)
        self._cursor: Cursor | None = None
        self._next_read_at = 0.0
        self._prune_at = time.monotonic() + options.prune_interval_s * random.uniform(0.5, 1.5)

    def request(self, request: Request) -> None:
        """Have an `Answer` reported. May be called on any thread.

        Requests wait while the database does not answer; each subscriber has one at most.
        """
        self._requests.append(request)
        self._wakeup.wake()

    def _lost(self) -> None:
        self._send(Stopped("the database of the live events does not answer"))

    def _follow(self, follower: Follower) -> None:
        self._start_from(follower)
        more = True
        while not self.ended:
            if not more:
                self._busy_since = None
                follower.wait()
                self._pause()
            self._progress()
            if follower.changed() or more:
                more = self._read_live(follower)
            more = self._serve(follower) or more
            more = self._write_signals(follower) or more
            more = self._prune(follower) or more

    def _start_from(self, follower: Follower) -> None:
        """Report that the log can be read, going on where the last connection ended."""
        bounds = follower.bounds()
        unbroken = self._cursor is not None and bounds.resumable(self._cursor)
        if self._cursor is not None and not unbroken:
            bounds = self._renewed(follower, bounds)
        if unbroken:
            assert self._cursor is not None
            self._send(Started(self._cursor, unbroken))
        else:
            self._start_at(follower, bounds)

    def _start_at(self, follower: Follower, bounds: Batch) -> None:
        """Report that live batches go on from the log's head."""
        revocations = follower.newest(REVOCATIONS, REVOCATIONS_LIMIT)
        known_from = bounds.oldest - 1
        if len(revocations) == REVOCATIONS_LIMIT:
            known_from = max(known_from, revocations[0].offset - 1)
        self._cursor = Cursor(bounds.epoch, bounds.head)
        self._send(Started(self._cursor, False, known_from, revocations))

    def _read_live(self, follower: Follower) -> bool:
        """Report the next events; return whether there are more."""
        assert self._cursor is not None
        after = self._cursor.offset
        batch = follower.read(
            after, None, limit_events=LIVE_BATCH_EVENTS, limit_bytes=LIVE_BATCH_BYTES
        )
        if not batch.resumable(self._cursor):
            self._start_from_new(follower, batch)
            return True
        if batch.complete_to > after:
            self._cursor = Cursor(batch.epoch, batch.complete_to)
            self._send(LiveBatch(batch))
            self._next_read_at = time.monotonic() + READ_INTERVAL_S
        return batch.complete_to < batch.head

    def _pause(self) -> None:
        """Let a burst of small commits, each of which wakes this thread, share one read."""
        pause_s = self._next_read_at - time.monotonic()
        if pause_s > 0:
            self._stopping.wait(pause_s)

    def _continues(self, batch: Batch) -> bool:
        """Return whether a read is of the log that has been followed, at its place or later."""
        cursor = self._cursor
        assert cursor is not None
        return batch.epoch == cursor.epoch and batch.head >= cursor.offset

    def _start_from_new(self, follower: Follower, batch: Batch) -> None:
        batch = self._renewed(follower, batch)
        log.warning(
            "the log of live events was replaced or pruned: at %s, it has %s:%d to %d; "
            "subscribers are told to reset",
            self._cursor,
            batch.epoch,
            batch.oldest,
            batch.head,
        )
        self._start_at(follower, batch)

    def _renewed(self, follower: Follower, batch: Batch) -> Batch:
        """Return the bounds of a log that cannot be gone on with, renamed if it went back."""
        cursor = self._cursor
        assert cursor is not None
        if batch.epoch == cursor.epoch and batch.head < cursor.offset:
            follower.gone_back(cursor)
            return follower.bounds()
        return batch

    def _serve(self, follower: Follower) -> bool:
        """Answer some requests; return whether there are more."""
        requests = self._requests
        # Counted before anything is read, so that those who ask for the same may share it: many
        # clients that come back at once want the same events.
        shared: dict[tuple[int | None, tuple[str, ...]], Batch] = {}
        histories: dict[tuple[int, tuple[tuple[str, int], ...]], list[Event]] = {}
        for _ in range(min(len(requests), REQUESTS_PER_TURN)):
            # Taken out after the read: a request outlives a lost connection.
            request = requests[0]
            if not request.cancelled:
                key = (request.after, () if request.after is None else tuple(request.channels))
                batch = shared.get(key)
                if batch is None:
                    batch = shared[key] = self._read_for(follower, request)
                if not self._continues(batch):
                    self._start_from_new(follower, batch)
                    shared.clear()
                    continue
                wanted = batch.head, tuple(request.newest.items())
                if request.newest and wanted not in histories:
                    histories[wanted] = follower.history(request.newest, batch.head)
                self._send(Answer(request, batch, histories.get(wanted, ())))
            requests.popleft()
        return bool(requests)

    def _read_for(self, follower: Follower, request: Request) -> Batch:
        if request.after is None:
            return follower.bounds()
        return follower.read(
            request.after,
            request.channels,
            limit_events=CATCH_UP_BATCH_EVENTS,
            limit_bytes=CATCH_UP_BATCH_BYTES,
        )

    def _write_signals(self, follower: Follower) -> bool:
        """Append the signals that wait; return whether the log has to be read for them."""
        signals = self._signals
        drafts = [signals.popleft() for _ in range(min(len(signals), LIVE_BATCH_EVENTS))]
        if not drafts:
            return False
        try:
            follower.append(drafts)
        except BaseException as error:
            # They outlive a lost connection.
            signals.extendleft(reversed(drafts))
            if not isinstance(error, Busy):
                raise
            log.debug("signals have to wait: %s", error)
            return False
        return True

    def _prune(self, follower: Follower) -> bool:
        """Delete old events now and then, in small batches; return whether there are more."""
        if time.monotonic() < self._prune_at:
            return False
        try:
            more = follower.prune(PRUNE_BATCH_EVENTS) >= PRUNE_BATCH_EVENTS
            more = follower.sweep(PRUNE_BATCH_EVENTS).more or more
        except Busy as error:
            log.debug("pruning live events has to wait: %s", error)
            more = False
        if not more:
            # Every process prunes, so that one may die; apart, so that they seldom meet.
            interval_s = self._options.prune_interval_s
            self._prune_at = time.monotonic() + interval_s * random.uniform(0.5, 1.5)
            return False
        return True

    def _send(self, report: Report) -> None:
        """Give a report to the loop, waiting while too many are on their way."""
        self._progress()
        while not self._underway.acquire(timeout=0.5):
            self._progress()  # it is the loop that is late, not the database
            if self.ended:
                return
        with contextlib.suppress(RuntimeError):  # the loop has just closed
            self._loop.call_soon_threadsafe(self._arrive, report)

    def _arrive(self, report: Report) -> None:
        """Hand a report over; on the loop's thread."""
        if not isinstance(report, LiveBatch):
            self._underway.release()
        self._report(report)

    def taken(self) -> None:
        """Note that a live batch waits no more, so that another may be reported."""
        self._underway.release()
