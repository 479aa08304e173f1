"""Which channels each client follows, and how it gets from its cursor into the live flow.

A subscriber first catches up: the reader reads for it, batch by batch, from its cursor.
The answer that reaches the head also joins it to the live flow. No event falls between or
comes twice, because one thread reads both and reports in order: when the answer "complete
up to H" arrives, the live flow has delivered no more than H, and what it still delivers up
to H is left out for this subscriber.

On the loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Collection, Iterable

from flasknado.live.event import Cursor, Event, is_by, is_pattern
from flasknado.live.formats import Format
from flasknado.live.hub.catch_up import CatchUp
from flasknado.live.hub.fanout import Fanout
from flasknado.live.hub.grants import Undecided
from flasknado.live.hub.log_health import READY_TIMEOUT_S, LogHealth, unavailable
from flasknado.live.hub.subscriber import Subscriber
from flasknado.live.log.presence import SUFFIX, Presence
from flasknado.live.log.presence_tracker import PresenceTracker, snapshot
from flasknado.live.log.reader import Answer, Reader, Request
from flasknado.live.options import LiveOptions

log = logging.getLogger("flasknado.live")

PATIENCE_ROUNDS = 6
"""How often READY_TIMEOUT_S a client waits for its turn while the log is readable, but busy."""

ASKED_AT_ONCE = 32
"""How many clients at a time the application is asked about for the channels of patterns; others
wait, so that who subscribes finds room, too."""


class Subscriptions:
    """What the clients of a hub follow."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, options: LiveOptions, reader: Reader
    ) -> None:
        self.loop = loop
        self.options = options
        self._reader = reader
        self._health = LogHealth(reader, loop)
        self._fanout = Fanout(loop, reader.taken, self._ask_in_flow)
        self._asking = asyncio.Semaphore(ASKED_AT_ONCE)
        self._presence_tracker = PresenceTracker(options)
        self._presence_asked: dict[str, set[Subscriber]] = {}
        """Who is to be told who is on a channel, by the channel."""

    async def follow(
        self,
        subscriber: Subscriber,
        channels: Collection[str],
        after: Cursor | None,
        greeting: bytes,
        *,
        last: int = 0,
        presence: bool = False,
    ) -> None:
        """Subscribe a client, and return once the log has been read for it.

        What it is sent then begins with the `greeting`. `presence`: also tell it how many are
        on these channels. Raises `LogUnavailable` if the log cannot be read in time; the client
        then follows what it followed before.
        """
        before = frozenset(subscriber.channels)
        self.subscribe(subscriber, channels, after, last)
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
            if not self._health.readable and subscriber.idle:
                break
        catch_up.greeting = b""
        self.unsubscribe(subscriber, [c for c in subscriber.channels if c not in before])
        raise unavailable()

    def subscribe(
        self,
        subscriber: Subscriber,
        channels: Iterable[str],
        after: Cursor | None,
        last: int = 0,
    ) -> None:
        """Have a client follow more channels: after a cursor, or from the log's present head.

        Without a cursor it gets the `last` events of each channel first.

        A client that follows some already leaves the live flow at its place and catches up
        with all its channels together, so that what it gets stays in order.
        """
        catch_up = self._leave_flow(subscriber)
        for channel in channels:
            catch_up.begin(channel, after, last)
        followed = tuple(catch_up.positions)
        entered = [channel for channel in followed if channel not in subscriber.channels]
        self._presence_tracker.enter(entered, subscriber.user, subscriber.info_json)
        subscriber.channels = followed
        self._read_on(subscriber)

    def _leave_flow(self, subscriber: Subscriber) -> CatchUp:
        """Have a client catch up, from its place if it has joined the live flow."""
        catch_up = subscriber.catch_up
        if catch_up is None:
            catch_up = subscriber.catch_up = CatchUp()
            place = self.place_of(subscriber)
            if place is not None:
                for channel in subscriber.channels:
                    catch_up.begin(channel, place)
                self._fanout.leave(subscriber, subscriber.channels)
                subscriber.place = None
        return catch_up

    def _ask_in_flow(self, subscriber: Subscriber, channels: Collection[str]) -> None:
        """Have a client catch up once it is known if it may read channels of its patterns."""
        self._ask(subscriber, self._leave_flow(subscriber), channels)

    def _ask(self, subscriber: Subscriber, catch_up: CatchUp, channels: Collection[str]) -> None:
        asking = self._decide(subscriber, catch_up, channels)
        catch_up.deciding = self.loop.create_task(asking)

    async def _decide(
        self, subscriber: Subscriber, catch_up: CatchUp, channels: Collection[str]
    ) -> None:
        """Ask the application about channels of patterns, and read on."""
        assert subscriber.grants is not None
        try:
            async with self._asking:
                granted, access = await subscriber.grants.ask(channels)
        except Exception as error:
            # It comes back and resumes.
            catch_up.deciding = None
            log.info("a live client is sent away: %s", error)
            self.give_up(subscriber, "undecided", "it is not known which channels it may read")
            return
        catch_up.deciding = None
        if subscriber.gone or subscriber.catch_up is not catch_up:
            return
        if not access.identity.is_same_user(subscriber.identity):
            self.kick(subscriber, "changed")
            return
        subscriber.grants.decide(channels, granted)
        self._read_on(subscriber)

    def give_up(self, subscriber: Subscriber, kind: str, reason: str) -> None:
        """Disconnect a client; `kind` is for the metrics."""
        raise NotImplementedError

    def kick(self, subscriber: Subscriber, reason: str) -> None:
        """Disconnect a client whose access has ended."""
        raise NotImplementedError

    def tell_presence(self, subscriber: Subscriber, channels: Iterable[str]) -> None:
        """Have a client told how many are on these channels, of those that are watched."""
        watches = self._presence_tracker.watches
        watched = [sys.intern(c + SUFFIX) for c in channels if not is_pattern(c) and watches(c)]
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

    def _read_on(self, subscriber: Subscriber) -> None:
        """Ask for the next batch of a client that catches up, if it has taken the last."""
        catch_up = subscriber.catch_up
        if catch_up is None or catch_up.request is not None or not subscriber.idle:
            return
        if catch_up.deciding is not None:
            return
        catch_up.asked = dict(catch_up.positions)
        newest = {c: n for c, n in catch_up.last.items() if catch_up.asked.get(c, 0) is None}
        catch_up.request = Request(subscriber, tuple(catch_up.asked), catch_up.after(), newest)
        self._reader.request(catch_up.request)

    def _on_answer(self, answer: Answer) -> None:
        request, batch = answer.request, answer.batch
        subscriber = request.asker
        assert isinstance(subscriber, Subscriber)
        catch_up = subscriber.catch_up
        assert catch_up is not None
        catch_up.request = None
        if catch_up.epoch is None:
            catch_up.epoch = batch.epoch
        if subscriber.grants is not None:
            try:
                wanted = subscriber.grants.among(
                    subscriber.channels, dict.fromkeys(event.channel for event in batch.events)
                )
            except Undecided as undecided:
                # What is asked now is read again after the answer: the log goes on meanwhile.
                self._ask(subscriber, catch_up, undecided.channels)
                return
            batch = batch._replace(events=[e for e in batch.events if e.channel in wanted])
        greeting, catch_up.greeting = catch_up.greeting, b""
        if catch_up.greeted is not None and not catch_up.greeted.done():
            catch_up.greeted.set_result(None)
        head = Cursor(batch.epoch, batch.head)
        if request.after is not None and not batch.resumable(Cursor(catch_up.epoch, request.after)):
            self._join(subscriber, head)
            subscriber.send(greeting + subscriber.format.reset(head), head)
            return
        events, complete = catch_up.advance(batch.events, batch.complete_to, batch.head)
        events[:0] = catch_up.history(answer.history)
        data = greeting
        if subscriber.digest is not None:
            events = [event for event in events if not is_by(event, subscriber.digest)]
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
                self._presence_asked.setdefault(channel, set()).add(subscriber)
                self._presence_tracker.ask(channel.removesuffix(SUFFIX))

    def _on_presence(self, channel: str, presence: Presence) -> None:
        """Tell who has just come who is on a channel."""
        told = channel + SUFFIX
        data = snapshot(presence, named=self._presence_tracker.names(channel))
        encoded: dict[tuple[Format, Cursor], bytes] = {}
        for subscriber in self._presence_asked.pop(told, ()):
            place = self.place_of(subscriber)
            # Who catches up again asks again.
            if subscriber.gone or place is None or told not in subscriber.channels:
                continue
            key = (subscriber.format, place)
            if key not in encoded:
                event = Event(place.offset, told, "presence", data)
                encoded[key] = subscriber.format.event(place.epoch, event)
            subscriber.send(encoded[key], place)

    def _forget(self, subscriber: Subscriber) -> None:
        """Let go all that a client follows."""
        self._presence_tracker.leave(subscriber.channels, subscriber.user)
        self._fanout.leave(subscriber, subscriber.channels)
        for channel in subscriber.channels:
            if channel in self._presence_asked:
                self._presence_asked[channel].discard(subscriber)
        if subscriber.catch_up is not None:
            subscriber.catch_up.cancel()
