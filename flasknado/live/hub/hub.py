"""The hub: from the log to every live client of this process. Owned by the loop.

A subscriber first catches up: the reader reads for it, batch by batch, from its cursor.
The answer that reaches the head also joins it to the live flow. No event falls between or
comes twice, because one thread reads both and reports in order: when the answer "complete
up to H" arrives, the live flow has delivered no more than H, and what it still delivers up
to H is left out for this subscriber.

Each event is encoded once per format. A client that does not read is never waited for.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Any

from flasknado.live.errors import AccessChanged, LiveError, LogUnavailable, TooManySubscribers
from flasknado.live.event import REVOCATIONS, Cursor, Event
from flasknado.live.formats import Format, GoAway
from flasknado.live.hub.fanout import Fanout
from flasknado.live.hub.quotas import ConnectionQuota
from flasknado.live.hub.revocations import Revocations
from flasknado.live.hub.subscriber import CatchUp, Subscriber
from flasknado.live.log.presence import SUFFIX
from flasknado.live.log.presence_tracker import PresenceTracker
from flasknado.live.log.presence_writer import PresenceWriter
from flasknado.live.log.reader import Answer, LiveBatch, Reader, Report, Request, Started, Stopped
from flasknado.live.log.tables import Batch
from flasknado.live.options import LiveOptions
from flasknado.live.revocation import Revocation, revocation_of
from flasknado.live.state import LiveState
from flasknado.live.tickets import Access, Identity

log = logging.getLogger("flasknado.live")

HEARTBEAT_SLOTS = 16
"""Heartbeats are written to one part of the clients at a time, to keep the loop free."""
READY_TIMEOUT_S = 5.0
"""How long whoever needs the log waits for it, and for how long of an outage anybody does."""
READER_STUCK_S = 5.0
"""After how long without an answer of the database the log counts as not readable."""
PATIENCE_ROUNDS = 6
"""How many such times a client waits for its turn while the log is readable, but busy."""
WATCH_INTERVAL_S = 1.0
"""How often the hub looks after its threads, and after clients that have not subscribed."""
DISMISSED_PER_S = 500
"""How fast clients are sent away when the drain window would allow to go faster than need be."""


class Hub:
    """The live clients of one application in one process. On the loop's thread only."""

    def __init__(self, state: LiveState, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.options: LiveOptions = state.options
        self.draining = False
        self.dropped_slow = 0
        """How many clients were disconnected because they did not read."""
        self._state = state
        self.gone: Counter[str] = Counter()
        """How many clients were sent away or disconnected, by the reason."""
        self._subscribers: set[Subscriber] = set()
        self._expiring: set[Subscriber] = set()
        self._guests: dict[Subscriber, float] = {}
        """Clients that may not read anything yet, by when they came; the oldest first."""
        self._quota = ConnectionQuota(state.options)
        self._guest_quota = ConnectionQuota(state.options)
        self.gate = Revocations(state.tickets)
        self._slots: list[set[Subscriber]] = [set() for _ in range(HEARTBEAT_SLOTS)]
        self._slot = 0
        self._ready = asyncio.Event()
        self._started = False
        """Whether the reader has read the log since it last lost it."""
        self._unreadable_since = loop.time()
        self._presence_tracker = PresenceTracker(state.options.presence)
        self._reader = Reader(state.log, state.options, loop, self._on_report, state.signals)
        self._presence: PresenceWriter | None = None
        if state.options.presence:
            self._presence = PresenceWriter(state.log, state.options, loop, self._presence_tracker)
        self._fanout = Fanout(loop, self._reader.taken)
        self._beat_timer: asyncio.TimerHandle | None = None
        self._watch_timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to follow the log."""
        self._state.add_waker(self._reader.wake)
        self._watch()
        self._beat_later()

    def close(self) -> None:
        """Disconnect everybody and end the reader's thread; a later need makes another hub."""
        self.draining = True
        self._state.hubs.pop(self.loop, None)
        for timer in (self._beat_timer, self._watch_timer):
            if timer is not None:
                timer.cancel()
        for subscriber in (*self._subscribers, *self._guests):
            self.remove(subscriber)
            subscriber.abort()
        self._state.remove_waker(self._reader.wake)
        self._state.log.flush()
        self._fanout.close()
        if self._presence is not None:
            self._presence.stop()
        self._reader.stop()

    async def drain(self, window_s: float) -> None:
        """Tell every client to reconnect, spread over at most this window."""
        self.draining = True
        # What is buffered goes to who is here still, or is there when they come back.
        await asyncio.to_thread(self._state.log.flush)
        leaving = [*self._subscribers, *self._guests]
        random.shuffle(leaving)
        spread_s = min(window_s * 0.8, len(leaving) / DISMISSED_PER_S)
        ends_at = self.loop.time() + spread_s
        while leaving:
            left_s = max(ends_at - self.loop.time(), 0.0)
            # As many at a time as is due; at once if the window has passed.
            step = max(1, round(len(leaving) * 0.02 / left_s)) if left_s > 0.02 else len(leaving)
            for subscriber in leaving[-step:]:
                self._dismiss(subscriber)
            del leaving[-step:]
            if leaving:
                await asyncio.sleep(min(0.02, left_s))

    def _dismiss(self, subscriber: Subscriber) -> None:
        if not subscriber.gone:
            notice = GoAway(
                self.options.retry_s, self.place_of(subscriber), self.gate.ticket_for(subscriber)
            )
            self.remove(subscriber)
            self.gone["drained"] += 1
            subscriber.go_away(notice)

    @property
    def log_readable(self) -> bool:
        """Whether the log can be read, as far as is known: a reader that hangs cannot."""
        return self._ready.is_set() and self._reader.stuck_s < READER_STUCK_S

    @property
    def unreadable_s(self) -> float:
        """For how long the log has not been readable by now; 0 if it is."""
        if self.log_readable:
            return 0.0
        self._look_at_reader()
        return self.loop.time() - self._unreadable_since

    async def ready(self) -> None:
        """Return when the log can be read.

        Raises `LogUnavailable` if that takes too long, at once if it has for a while already.
        """
        self._refuse_when_draining()
        if self.log_readable:
            return
        self._look_at_reader()
        left_s = self._unreadable_since + READY_TIMEOUT_S - self.loop.time()
        try:
            await asyncio.wait_for(self._ready.wait(), max(left_s, 0.0))
        except TimeoutError:
            raise unavailable() from None

    def _refuse_when_draining(self) -> None:
        if self.draining:
            raise LogUnavailable("the server is restarting: reconnect in a moment")

    def admit(self, subscriber: Subscriber, asked_at: float | None = None) -> None:
        """Count a client in; `remove()` counts it out.

        `asked_at` is when its access was asked for, in seconds of `time.monotonic`; without
        one the client is yet to be identified. From here on a revocation finds it, so nothing
        may be awaited between the answer and this. Raises `AccessChanged` if it was revoked
        meanwhile, `TooManySubscribers`, and `LogUnavailable` while the hub is draining.
        """
        self._refuse_when_draining()
        if asked_at is not None:
            self.check(Access(subscriber.identity, asked_at))
        self._check_room(len(self._subscribers))
        self._quota.enter(subscriber)
        self._subscribers.add(subscriber)
        if subscriber.expires_at is not None:
            self._expiring.add(subscriber)
        subscriber.beat_slot = self._slot
        self._slots[self._slot].add(subscriber)

    def admit_guest(self, subscriber: Subscriber) -> None:
        """Hold a client that may not read anything yet; raises `TooManySubscribers`.

        It takes nobody's place until `identify()` counts it in, which has to happen soon.
        Raises `LogUnavailable` while the hub is draining.
        """
        self._refuse_when_draining()
        self._check_room(len(self._guests))
        self._guest_quota.enter(subscriber)
        self._guests[subscriber] = self.loop.time()

    def _check_room(self, held: int) -> None:
        limit = self.options.max_subscribers
        if held >= limit:
            raise TooManySubscribers(
                f"this process holds {limit} live clients, as many as it may "
                f"(LIVE_MAX_SUBSCRIBERS): try again later",
                status=503,
            )

    def __contains__(self, subscriber: Subscriber) -> bool:
        return subscriber in self._subscribers

    def check(self, access: Access) -> None:
        """Raise `AccessChanged` if access that was given was taken away since."""
        if not self.gate.upholds(access):
            raise AccessChanged("your access changes at this moment: try again")

    def identify(self, subscriber: Subscriber, access: Access) -> bool:
        """Note who a client is that was admitted before it said; may be called again.

        A guest is counted in by it. Returns false for a client that is somebody else already:
        a connection has one user. Raises `AccessChanged` if it was revoked meanwhile, and
        `TooManySubscribers` if there is no place for it.
        """
        self.check(access)
        identity = access.identity
        if subscriber in self._guests:
            self._count_guest_in(subscriber, identity)
        elif subscriber.user is None and identity.user is not None:
            self._quota.name(subscriber, identity.user)
            subscriber.generation = identity.generation
            self._presence_tracker.leave(subscriber.channels, None)
            self._presence_tracker.enter(subscriber.channels, identity.user)
        elif not identity.is_same_user(subscriber.identity):
            return False
        ends = [t for t in (subscriber.expires_at, identity.expires_at) if t is not None]
        if ends:
            subscriber.expires_at = min(ends)
            self._expiring.add(subscriber)
        return True

    def _count_guest_in(self, guest: Subscriber, identity: Identity) -> None:
        guest.user, guest.generation = identity.user, identity.generation
        try:
            self.admit(guest)
        except LiveError:
            guest.user = guest.generation = None
            raise
        del self._guests[guest]
        self._guest_quota.leave(guest, None)

    def kick(self, subscriber: Subscriber, reason: str) -> None:
        """Disconnect a client whose access has ended."""
        if not subscriber.gone:
            self.remove(subscriber)
            self.gone[reason] += 1
            subscriber.kick()

    def remove(self, subscriber: Subscriber) -> None:
        """Forget a client; may be called again."""
        if subscriber.gone:
            return
        subscriber.gone = True
        if subscriber in self._guests:
            del self._guests[subscriber]
            self._guest_quota.leave(subscriber, None)
            return
        if subscriber not in self._subscribers:
            return
        self._subscribers.discard(subscriber)
        self._quota.leave(subscriber, subscriber.user)
        self._expiring.discard(subscriber)
        self._presence_tracker.leave(subscriber.channels, subscriber.user)
        self._slots[subscriber.beat_slot].discard(subscriber)
        self._fanout.leave(subscriber, subscriber.channels)
        if subscriber.catch_up is not None:
            subscriber.catch_up.cancel()

    def evict(self, subscriber: Subscriber) -> None:
        """Disconnect a client that does not read; it can resume from the log."""
        self.dropped_slow += 1
        self.gone["slow"] += 1
        log.info("a live client on %s was disconnected: it does not read", subscriber.channels)
        self.remove(subscriber)
        subscriber.abort()

    def give_up(self, subscriber: Subscriber, kind: str, reason: str) -> None:
        """Disconnect a client that does not do its part; `kind` is for the metrics."""
        if not subscriber.gone:
            self.remove(subscriber)
            self.gone[kind] += 1
            log.info("a live client on %s was disconnected: %s", subscriber.channels, reason)
            subscriber.give_up(reason)

    async def follow(
        self,
        subscriber: Subscriber,
        channels: Collection[str],
        after: Cursor | None,
        greeting: bytes,
        *,
        presence: bool = False,
    ) -> None:
        """Subscribe a client, and return once the log has been read for it.

        What it is sent then begins with the `greeting`. `presence`: also tell it how many are
        on these channels. Raises `LogUnavailable` if the log cannot be read in time; the client
        then follows what it followed before.
        """
        before = frozenset(subscriber.channels)
        self.subscribe(subscriber, channels, after)
        if presence:
            self.tell_presence(subscriber, channels)
        catch_up = subscriber.catch_up
        assert catch_up is not None
        catch_up.greeting = greeting
        catch_up.greeted = greeted = self.loop.create_future()
        for _ in range(PATIENCE_ROUNDS):
            await asyncio.wait((greeted,), timeout=READY_TIMEOUT_S)
            if greeted.done() or subscriber.gone:
                return
            if not self.log_readable and subscriber.idle:
                break
        catch_up.greeting = b""
        self.unsubscribe(subscriber, [c for c in subscriber.channels if c not in before])
        raise unavailable()

    def subscribe(
        self, subscriber: Subscriber, channels: Iterable[str], after: Cursor | None
    ) -> None:
        """Have a client follow more channels: after a cursor, or from the log's present head.

        A client that follows some already leaves the live flow at its place and catches up
        with all its channels together, so that what it gets stays in order.
        """
        catch_up = subscriber.catch_up
        if catch_up is None:
            catch_up = subscriber.catch_up = CatchUp()
            place = self.place_of(subscriber)
            if place is not None:
                for channel in subscriber.channels:
                    catch_up.begin(channel, place)
                self._fanout.leave(subscriber, subscriber.channels)
                subscriber.place = None
        for channel in channels:
            catch_up.begin(channel, after)
        followed = tuple(catch_up.positions)
        entered = [channel for channel in followed if channel not in subscriber.channels]
        self._presence_tracker.enter(entered, subscriber.user)
        subscriber.channels = followed
        self._read_on(subscriber)

    def tell_presence(self, subscriber: Subscriber, channels: Iterable[str]) -> None:
        """Have a client told how many are on these channels, of those that are watched."""
        watched = [sys.intern(c + SUFFIX) for c in channels if self._presence_tracker.watches(c)]
        if watched:
            self.subscribe(subscriber, watched, None)

    def unsubscribe(self, subscriber: Subscriber, channels: Collection[str]) -> None:
        """Have a client follow these channels no longer."""
        catch_up = subscriber.catch_up
        if catch_up is None:
            self._fanout.leave(subscriber, channels)
        else:
            for channel in channels:
                catch_up.end(channel)
        left = [channel for channel in subscriber.channels if channel in channels]
        self._presence_tracker.leave(left, subscriber.user)
        subscriber.channels = tuple(c for c in subscriber.channels if c not in channels)
        if not subscriber.channels:
            subscriber.place = None
            if catch_up is not None:
                catch_up.cancel()
                subscriber.catch_up = None

    def place_of(self, subscriber: Subscriber) -> Cursor | None:
        """Return up to where a client has everything; `None` while it catches up."""
        return self._fanout.place_of(subscriber)

    def drained(self, subscriber: Subscriber) -> None:
        """Note that a client has taken all that was written to it."""
        if not subscriber.gone:
            self._read_on(subscriber)

    @property
    def cursor(self) -> Cursor | None:
        """How far the live flow has been delivered; `None` until the log has been read."""
        return self._fanout.cursor

    def backlog_bytes(self) -> int:
        """Return how much waits here for slow clients."""
        return sum(getattr(subscriber, "backlog_bytes", 0) for subscriber in self._subscribers)

    def stats(self) -> dict[str, Any]:
        """Return the hub's gauges and counters."""
        return {
            "subscribers": len(self._subscribers),
            "guests": len(self._guests),
            "transports": dict(Counter(s.transport for s in self._subscribers)),
            "gone": dict(self.gone),
            "channels": self._fanout.channels,
            "catching_up": sum(s.catch_up is not None for s in self._subscribers),
            "cursor": None if self.cursor is None else str(self.cursor),
            "log_readable": self.log_readable,
            "log_unreadable_s": self.unreadable_s,
            "delivered_total": self._fanout.delivered,
            "dropped_slow_total": self.dropped_slow,
        }

    def _read_on(self, subscriber: Subscriber) -> None:
        """Ask for the next batch of a client that catches up, if it has taken the last."""
        catch_up = subscriber.catch_up
        if catch_up is None or catch_up.request is not None or not subscriber.idle:
            return
        catch_up.asked = dict(catch_up.positions)
        catch_up.request = Request(subscriber, tuple(catch_up.asked), catch_up.after())
        self._reader.request(catch_up.request)

    def _on_report(self, report: Report) -> None:
        if isinstance(report, LiveBatch):
            self._on_live_batch(report.batch)
        elif isinstance(report, Answer):
            if not report.request.cancelled:
                self._on_answer(report)
        elif isinstance(report, Started):
            self._on_started(report)
        elif isinstance(report, Stopped):
            self._started = False
            self._set_readable(False)

    def _on_started(self, report: Started) -> None:
        self._started = True
        self._set_readable(True)
        if report.unbroken and self.cursor is not None:
            return
        self.gate.begin(report.cursor, report.known_from, report.revocations)
        self._fanout.finish()
        missed = self.cursor is not None
        self._fanout.cursor = report.cursor
        if missed:
            for subscriber in self._fanout.members():
                subscriber.place = report.cursor.offset
                subscriber.send(subscriber.format.reset(report.cursor), report.cursor)
            # Nobody knows who was revoked in what was missed.
            for subscriber in [s for s in self._subscribers if s.user is not None]:
                self.kick(subscriber, "log_replaced")

    def _on_live_batch(self, batch: Batch) -> None:
        for event in batch.events:
            if event.channel == REVOCATIONS:
                revocation = revocation_of(event)
                if revocation is not None:
                    self._revoke(revocation, event.offset)
        self.gate.advance(Cursor(batch.epoch, batch.complete_to))
        self._fanout.deliver(batch)

    def _revoke(self, revocation: Revocation, offset: int) -> None:
        """Disconnect a user, except where its generation is spared."""
        self.gate.revoke(revocation, offset)
        ended = [s for s in self._subscribers if revocation.ends(s.user, s.generation)]
        for subscriber in ended:
            self.kick(subscriber, "revoked")

    def _on_answer(self, answer: Answer) -> None:
        request, batch = answer.request, answer.batch
        subscriber = request.asker
        assert isinstance(subscriber, Subscriber)
        catch_up = subscriber.catch_up
        assert catch_up is not None
        catch_up.request = None
        if catch_up.epoch is None:
            catch_up.epoch = batch.epoch
        greeting, catch_up.greeting = catch_up.greeting, b""
        if catch_up.greeted is not None and not catch_up.greeted.done():
            catch_up.greeted.set_result(None)
        head = Cursor(batch.epoch, batch.head)
        if request.after is not None and not batch.resumable(Cursor(catch_up.epoch, request.after)):
            self._join(subscriber, head)
            subscriber.send(greeting + subscriber.format.reset(head), head)
            return
        events, complete = _advance(catch_up, batch.events, batch.complete_to, batch.head)
        data = greeting
        data += b"".join(subscriber.format.event(batch.epoch, event) for event in events)
        self._fanout.delivered += len(events)
        if complete:
            self._join(subscriber, head)
            data += subscriber.format.heartbeat(head)
            subscriber.pinged()
        if data or complete:
            subscriber.send(data, Cursor(batch.epoch, batch.complete_to))
        if not complete and not subscriber.gone:
            self._read_on(subscriber)

    def _join(self, subscriber: Subscriber, at: Cursor) -> None:
        """Join a client to the live flow."""
        subscriber.catch_up = None
        self._fanout.join(subscriber, at.offset)
        for channel in subscriber.channels:
            if channel.endswith(SUFFIX):
                # Whatever was told while it caught up is not replayed.
                self._presence_tracker.touch(channel.removesuffix(SUFFIX))

    def _watch(self) -> None:
        """Start threads that could not be, look at the reader, send away who never subscribes."""
        self._watch_timer = self.loop.call_later(WATCH_INTERVAL_S, self._watch)
        self._reader.start()
        if self._presence is not None:
            self._presence.start()
        self._look_at_reader()
        options = self.options
        overdue = self.loop.time() - options.subscribe_timeout_s
        for guest, came_at in list(self._guests.items()):
            if came_at > overdue:
                break
            # Whoever is being authorised just now gets its answer.
            if not guest.busy or came_at + options.authorize_timeout_s <= overdue:
                limit = f"{options.subscribe_timeout_s:g} s (LIVE_SUBSCRIBE_TIMEOUT_S)"
                self.give_up(guest, "unsubscribed", f"it subscribed to nothing within {limit}")

    def _look_at_reader(self) -> None:
        """Note whether the reader gets answers, also if nobody has asked."""
        stuck_s = self._reader.stuck_s
        if stuck_s >= READER_STUCK_S:
            if self._ready.is_set():
                log.error("the database of the live events has not answered for %.0f s", stuck_s)
            self._set_readable(False)
        elif self._started:
            self._set_readable(True)

    def _set_readable(self, readable: bool) -> None:
        if readable:
            self._ready.set()
        elif self._ready.is_set():
            self._ready.clear()
            self._unreadable_since = self.loop.time() - self._reader.stuck_s

    def _beat_later(self) -> None:
        interval_s = self.options.heartbeat_s / HEARTBEAT_SLOTS
        self._beat_timer = self.loop.call_later(interval_s, self._beat)

    def _beat(self) -> None:
        """Send the head to the clients of the next slot."""
        self._beat_later()
        self._slot = (self._slot + 1) % HEARTBEAT_SLOTS
        now = time.time()
        for subscriber in [s for s in self._expiring if s.expires_at and s.expires_at <= now]:
            self.kick(subscriber, "expired")
        encoded: dict[tuple[Format, Cursor], bytes] = {}
        for subscriber in tuple(self._slots[self._slot]):
            place = self.place_of(subscriber)
            if place is None:
                subscriber.beat(None)
                continue
            key = (subscriber.format, place)
            if key not in encoded:
                encoded[key] = subscriber.format.heartbeat(place)
            subscriber.beat(encoded[key])


def unavailable() -> LogUnavailable:
    """Return the error for a log that cannot be read at present."""
    return LogUnavailable("the log of live events cannot be read at present: try again later")


def _advance(
    catch_up: CatchUp, events: Iterable[Event], complete_to: int, head: int
) -> tuple[list[Event], bool]:
    """Move the positions by what was read; return the events to send, and if that is all.

    A channel that was taken in, let go or moved since the request was made is left as it is.
    """
    positions = catch_up.positions
    wanted: dict[str, int] = {}
    unchanged = 0
    for channel, asked in catch_up.asked.items():
        if channel not in positions or positions[channel] != asked:
            continue
        unchanged += 1
        if asked is None:
            positions[channel] = head
        else:
            wanted[channel] = asked
            positions[channel] = max(asked, complete_to)
    to_send = [e for e in events if e.channel in wanted and e.offset > wanted[e.channel]]
    return to_send, complete_to == head and unchanged == len(positions)


def hub_of(state: LiveState, http_server: Any = None) -> Hub:
    """Return the running loop's hub for an application, made when it is first needed.

    With an `http_server` (`flasknado.HTTPServer`) it drains and closes with that.
    """
    loop = asyncio.get_running_loop()
    hub = state.hubs.get(loop)
    if hub is None:
        for other in [other for other in state.hubs if other.is_closed()]:
            del state.hubs[other]
        container = getattr(http_server, "container", None)
        state.check_processes(bool(getattr(container, "multiprocess", False)))
        hub = state.hubs[loop] = Hub(state, loop)
        hub.start()
        _end_with(hub, http_server)
    return hub


def _end_with(hub: Hub, http_server: Any) -> None:
    budget = getattr(http_server, "budget", None)
    if budget is not None:
        budget.sources.append(hub.backlog_bytes)
    callbacks: dict[str, Callable[..., object]] = {
        "add_drain_callback": hub.drain,
        "add_close_callback": hub.close,
    }
    for name, callback in callbacks.items():
        add = getattr(http_server, name, None)
        if add is not None:
            add(callback)
