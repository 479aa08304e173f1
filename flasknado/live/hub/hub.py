"""The hub: from the log to every live client of this process. Owned by the loop.

Who is let in and who has to go is here; what they follow is in `flasknado.live.hub.subscriptions`.
Each event is encoded once per format. A client that does not read is never waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from flasknado.live.errors import AccessChanged, LiveError, LogUnavailable, TooManySubscribers
from flasknado.live.event import REVOCATIONS, Cursor
from flasknado.live.formats import GoAway
from flasknado.live.hub.heartbeats import Heartbeats
from flasknado.live.hub.presence_calls import PresenceCalls
from flasknado.live.hub.quotas import ConnectionQuota
from flasknado.live.hub.revocations import Revocations
from flasknado.live.hub.subscriber import Subscriber
from flasknado.live.hub.subscriptions import Subscriptions
from flasknado.live.log.presence import Presence
from flasknado.live.log.presence_writer import PresenceWriter
from flasknado.live.log.reader import Answer, LiveBatch, Reader, Report, Started, Stopped
from flasknado.live.log.tables import Batch
from flasknado.live.revocation import Revocation, revocation_of
from flasknado.live.runs.store import RUNS
from flasknado.live.state import LiveState
from flasknado.live.tickets import NOBODY, Access

log = logging.getLogger("flasknado.live")

WATCH_INTERVAL_S = 1.0
"""How often the hub looks after its threads, and after clients that have not subscribed."""
DISMISSED_PER_S = 500
"""How fast clients are sent away when the drain window would allow to go faster than need be."""


class Hub(Subscriptions):
    """The live clients of one application in one process. On the loop's thread only."""

    def __init__(self, state: LiveState, loop: asyncio.AbstractEventLoop) -> None:
        options = state.options
        super().__init__(
            loop, options, Reader(state.log, options, loop, self._on_report, state.signals)
        )
        self.draining = False
        self.dropped_slow = 0
        """How many clients were disconnected because they did not read."""
        self._state = state
        self.gone: Counter[str] = Counter()
        """How many clients were sent away or disconnected, by the reason."""
        self.taps: list[Callable[[Batch], object]] = []
        """Called with each batch of the live flow, before it is delivered to subscribers."""
        self.on_started: list[Callable[[], object]] = []
        """Called when the log is followed from now on; events may have been missed before."""
        self._subscribers: set[Subscriber] = set()
        self._guests: dict[Subscriber, float] = {}
        """Clients that may not read anything yet, by when they came; the oldest first."""
        self._quota = ConnectionQuota(options)
        self._guest_quota = ConnectionQuota(options)
        self.revocations = Revocations(state.tickets)
        self._heartbeats = Heartbeats(loop, options.heartbeat_s, self.place_of, self._expire)
        self._presence: PresenceWriter | None = None
        self._presence_calls = PresenceCalls(state)
        if options.presence or options.presence_users:
            tracker = self._presence_tracker
            self._presence = PresenceWriter(state.log, options, loop, tracker)
            tracker.on_changes = self._presence_calls.put
            tracker.on_presence = self._report_presence
        self._watch_timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to follow the log."""
        self._state.add_waker(self._reader.wake)
        self._state.runs.watch()
        self._watch()
        self._heartbeats.start()

    def close(self) -> None:
        """Disconnect everybody and end the reader's thread; a later need makes another hub."""
        self.draining = True
        self._state.hubs.pop(self.loop, None)
        self._heartbeats.stop()
        if self._watch_timer is not None:
            self._watch_timer.cancel()
        for subscriber in (*self._subscribers, *self._guests):
            self.remove(subscriber)
            subscriber.abort()
        self._state.remove_waker(self._reader.wake)
        self._state.runs.unwatch()
        self._state.log.flush()
        self._fanout.close()
        if self._presence is not None:
            self._presence.stop()
            self._presence_calls.stop()
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
            ticket = self.revocations.ticket_for(subscriber)
            notice = GoAway(self.options.retry_s, self.place_of(subscriber), ticket)
            self.remove(subscriber)
            self.gone["drained"] += 1
            subscriber.go_away(notice)

    @property
    def log_readable(self) -> bool:
        """Whether the log can be read, as far as is known."""
        return self._health.readable

    @property
    def unreadable_s(self) -> float:
        """For how long the log has not been readable by now; 0 if it is."""
        return self._health.unreadable_s

    @property
    def takes_clients(self) -> bool:
        """Whether `ready()` would return at once."""
        return not self.draining and self._health.readable

    async def ready(self) -> None:
        """Return when the log can be read; raises `LogUnavailable` if that takes too long."""
        self._refuse_when_draining()
        await self._health.wait()

    def _refuse_when_draining(self) -> None:
        if self.draining:
            raise LogUnavailable("the server is restarting: reconnect in a moment")

    def admit(
        self,
        subscriber: Subscriber,
        asked_at: float | None = None,
        channels: frozenset[str] | None = None,
    ) -> None:
        """Count a client in; `remove()` counts it out.

        `asked_at` is when its access to these channels was asked for, in seconds of
        `time.monotonic`; without one the client is yet to be identified. From here on a
        revocation finds it, so nothing may be awaited between the answer and this. Raises
        `AccessChanged` if it was revoked meanwhile, `TooManySubscribers`, and `LogUnavailable`
        while the hub is draining.
        """
        self._refuse_when_draining()
        if asked_at is not None:
            self.check(Access(subscriber.identity, asked_at, channels))
        self._check_room(len(self._subscribers))
        self._quota.enter(subscriber)
        self._subscribers.add(subscriber)
        self._heartbeats.enter(subscriber)

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
        if not self.revocations.upholds(access):
            raise AccessChanged("your access is changing: try again")

    def identify(self, subscriber: Subscriber, access: Access) -> bool:
        """Note who a client is that was admitted before it said; may be called again.

        A guest is counted in by it. Returns false for a client that is somebody else already:
        a connection has one user. Raises `AccessChanged` if it was revoked meanwhile, and
        `TooManySubscribers` if there is no place for it.
        """
        self.check(access)
        identity = access.identity
        if subscriber in self._guests:
            self._count_guest_in(subscriber, access)
        elif subscriber.user is None and identity.user is not None:
            self._quota.name(subscriber, identity.user)
            subscriber.become(identity)
            self._presence_tracker.move(subscriber.channels, identity.user, identity.info_json)
        elif not identity.is_same_user(subscriber.identity):
            return False
        if identity.expires_at is not None:
            self._heartbeats.expire(subscriber, identity.expires_at)
        return True

    def _count_guest_in(self, guest: Subscriber, access: Access) -> None:
        counted_as = guest.address
        if access.address is not None and access.address != guest.address:
            if not access.by_ticket:
                # Middleware of the application knows better than the server (`ProxyFix`), and a
                # guest has not been through it: many of them may have one proxy's address.
                self._guest_quota.forget_addresses()
            guest.address = access.address
        guest.become(access.identity)
        try:
            self.admit(guest)
        except LiveError:
            guest.become(NOBODY)
            guest.address = counted_as
            raise
        del self._guests[guest]
        self._guest_quota.leave_address(counted_as)

    def kick(self, subscriber: Subscriber, reason: str) -> None:
        """Disconnect a client whose access has ended."""
        if not subscriber.gone:
            self.remove(subscriber)
            self.gone[reason] += 1
            subscriber.kick()

    def _expire(self, subscriber: Subscriber) -> None:
        self.kick(subscriber, "expired")

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
        self._heartbeats.leave(subscriber)
        self._forget(subscriber)

    def evict(self, subscriber: Subscriber) -> None:
        """Disconnect a client that does not read; it can resume from the log."""
        self.dropped_slow += 1
        self.gone["slow"] += 1
        log.info("a live client on %s was disconnected: it reads too slowly", subscriber.channels)
        self.remove(subscriber)
        subscriber.abort()

    def give_up(self, subscriber: Subscriber, kind: str, reason: str) -> None:
        """Disconnect a client that does not do its part; `kind` is for the metrics."""
        if not subscriber.gone:
            self.remove(subscriber)
            self.gone[kind] += 1
            log.info("a live client on %s was disconnected: %s", subscriber.channels, reason)
            subscriber.give_up(reason)

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

    def _report_presence(self, channel: str, presence: Presence) -> None:
        """Have who asks told who is on a channel; on the presence writer's thread."""
        with contextlib.suppress(RuntimeError):  # the loop has just closed
            self.loop.call_soon_threadsafe(self._on_presence, channel, presence)

    def _on_report(self, report: Report) -> None:
        if isinstance(report, LiveBatch):
            self._on_live_batch(report.batch)
        elif isinstance(report, Answer):
            if not report.request.cancelled:
                self._on_answer(report)
        elif isinstance(report, Started):
            self._on_started(report)
        elif isinstance(report, Stopped):
            self._health.stopped()

    def _on_started(self, report: Started) -> None:
        self._health.started()
        for tell in self.on_started:
            tell()
        if report.unbroken and self.cursor is not None:
            return
        self.revocations.begin(report.cursor, report.known_from, report.revocations)
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
            elif event.channel == RUNS:
                self._state.runs.on_event(event)
        self.revocations.advance(Cursor(batch.epoch, batch.complete_to))
        for tap in self.taps:
            tap(batch)
        self._fanout.deliver(batch)

    def _revoke(self, revocation: Revocation, offset: int) -> None:
        """Disconnect a user, except where its generation, session or channels are spared."""
        self.revocations.revoke(revocation, offset)
        user = revocation.user
        ended = [
            s
            for s in self._subscribers
            if s.user == user and revocation.ends(s.identity) and _is_about(revocation, s)
        ]
        for subscriber in ended:
            self.kick(subscriber, "revoked")

    def _watch(self) -> None:
        """Start threads that could not be, look at the reader, send away who never subscribes."""
        self._watch_timer = self.loop.call_later(WATCH_INTERVAL_S, self._watch)
        self._reader.start()
        if self._presence is not None:
            self._presence.start()
        self._health.look()
        options = self.options
        overdue = self.loop.time() - options.subscribe_timeout_s
        for guest, came_at in list(self._guests.items()):
            if came_at > overdue:
                break
            # Who is being authorised gets its answer, if it asked in time; what it asks next is
            # too late, so that this ends.
            asked_at = guest.asked_at
            if asked_at is None or asked_at > came_at + options.subscribe_timeout_s:
                limit = f"{options.subscribe_timeout_s:g} s (LIVE_SUBSCRIBE_TIMEOUT_S)"
                self.give_up(guest, "unsubscribed", f"it subscribed to nothing within {limit}")


def _is_about(revocation: Revocation, subscriber: Subscriber) -> bool:
    """Return whether a revocation is about a channel that a client gets."""
    grants, channel = subscriber.grants, revocation.channel
    if channel is not None and grants is not None and grants.allows(channel):
        return True
    return revocation.concerns(subscriber.channels)


def hub_of(state: LiveState, http_server: Any = None) -> Hub:
    """Return the running loop's hub for an application, made when it is first needed.

    With an `http_server` (`flasknado.HTTPServer`) it drains and closes with that.
    """
    loop = asyncio.get_running_loop()
    hub: Hub | None = state.hubs.get(loop)
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
