"""The Engine.IO sessions of one application in one process, and the sweep that looks after them.

Once a second (oftener if pings are) the sweep pings who is due, and gives up who did not
answer. Sessions lie in sets by the second in which to look at them, so that a sweep costs
what is due, however many there are.

On the loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter, deque

from flasknado.native.in_flask import Caller
from flasknado.socketio.engineio import packet
from flasknado.socketio.engineio.ids import new_id
from flasknado.socketio.engineio.options import EngineOptions
from flasknado.socketio.engineio.packet import ProtocolError
from flasknado.socketio.engineio.reason import Reason
from flasknado.socketio.engineio.session import HELD_WHEN_FULL_BYTES, Session, Upper
from flasknado.socketio.engineio.websocket import WebSocketTransport

log = logging.getLogger("flasknado.socketio")

LOOKED_AT_FOR_ROOM = 64
"""How many sessions are looked at for one that makes room for another."""
DISMISSED_PER_S = 500
"""How fast clients are sent away when the drain window would allow to go faster than need be."""


class Engine:
    """The sessions. `upper` is told of what they send."""

    def __init__(
        self, options: EngineOptions, loop: asyncio.AbstractEventLoop, upper: Upper
    ) -> None:
        self.options = options
        self.loop = loop
        self.upper = upper
        self.sessions: dict[str, Session] = {}
        self.sid_prefix = ""
        """What the ids of sessions begin with."""
        self.draining = False
        self.full = False
        self.gone: Counter[str] = Counter()
        """How many sessions have ended, by the reason."""
        self._of_address: Counter[str] = Counter()
        self._slots: dict[int, set[Session]] = {}
        self._sweep_s = options.sweep_s
        self._next_tick = 0
        self._candidates: deque[tuple[float, WebSocketTransport]] = deque()
        self._to_flush: list[Session] = []
        self._polling: dict[Session, None] = {}
        """Those that began on long-polling, in the order in which to look at them for a place."""
        self._timer: asyncio.TimerHandle | None = None

    # Sessions.

    def refusal(self, address: str | None) -> str | None:
        """Return why no further client is taken, if so."""
        if self.draining:
            return "the server is restarting: reconnect in a moment"
        options = self.options
        if len(self.sessions) >= options.max_sessions and not self._make_room():
            return f"this process holds {options.max_sessions} clients, as many as it may"
        if address is not None and self._of_address[address] >= options.max_per_address:
            return f"{address} has {options.max_per_address} clients, as many as it may"
        return None

    def _make_room(self) -> bool:
        """Take the place of a client of long-polling that nobody attends; returns false if none.

        A session costs one request, and stays without one until it is pinged.
        """
        for _ in range(min(LOOKED_AT_FOR_ROOM, len(self._polling))):
            session = next(iter(self._polling))
            del self._polling[session]
            if session.is_attended:
                self._polling[session] = None
                continue
            self.gone["displaced"] += 1
            session.close(Reason.TRANSPORT_CLOSE)
            return True
        return False

    def open(self, caller: Caller, address: str | None, sid: str | None = None) -> Session:
        """Return a new session; `refusal()` must have said nothing."""
        session = Session(self, sid or self.new_sid(), caller, address)
        self.sessions[session.sid] = session
        if address is not None:
            self._of_address[address] += 1
        if self._timer is None:
            self._next_tick = self._tick_of(self.loop.time())
            self._sweep_later()
        self._schedule(session)
        self.upper.opened(session)
        return session

    def new_sid(self) -> str:
        """Return an id that nobody guesses."""
        return self.sid_prefix + new_id()

    def is_polling(self, session: Session) -> None:
        """Note that a session begins on long-polling."""
        self._polling[session] = None

    def forget(self, session: Session) -> None:
        """Take out a session that has ended."""
        self._polling.pop(session, None)
        self.sessions.pop(session.sid, None)
        self._unschedule(session)
        if session.address is not None:
            self._of_address[session.address] -= 1
            if not self._of_address[session.address]:
                del self._of_address[session.address]

    def evict(self, session: Session) -> None:
        """Give up a client for which more waits than may."""
        if not session.closed:
            self.gone["slow"] += 1
            log.info("a Socket.IO client was disconnected: too much waits for it")
            session.abort(Reason.TRANSPORT_ERROR)

    def broken(self, error: ProtocolError) -> None:
        """Note that a client broke the protocol, whose session ends."""
        self.gone["protocol"] += 1
        log.info("a Socket.IO client was disconnected: %s", error)

    def flush_soon(self, session: Session) -> None:
        """Have a poll answered at the end of this turn, with all that was sent in it."""
        if not self._to_flush:
            self.loop.call_soon(self._flush)
        self._to_flush.append(session)

    def _flush(self) -> None:
        sessions, self._to_flush = self._to_flush, []
        for session in sessions:
            session.flush()

    def propose(self, session: Session, transport: WebSocketTransport) -> bool:
        """Take a WebSocket as a session's candidate; it has a while to become its transport."""
        if not session.propose(transport):
            return False
        self._candidates.append((self.loop.time() + self.options.upgrade_timeout_s, transport))
        return True

    # The sweep.

    def _tick_of(self, time_s: float) -> int:
        return int(time_s / self._sweep_s) + 1

    def _schedule(self, session: Session) -> None:
        session.tick = max(self._tick_of(session.due_at), self._next_tick)
        self._slots.setdefault(session.tick, set()).add(session)

    def _unschedule(self, session: Session) -> None:
        slot = self._slots.get(session.tick)
        if slot is not None:
            slot.discard(session)

    def answered(self, session: Session) -> None:
        """Note that a client has answered its ping: the next is due an interval from now."""
        session.pinged = False
        session.due_at = self.loop.time() + self.options.ping_interval_s
        if self._tick_of(session.due_at) < session.tick:
            # Before the end of its timeout, when it would be looked at.
            self._unschedule(session)
            self._schedule(session)

    def _sweep_later(self) -> None:
        self._timer = self.loop.call_later(self._sweep_s, self._sweep)

    def _sweep(self) -> None:
        now = self.loop.time()
        last = int(now / self._sweep_s)
        while self._next_tick <= last:
            due = self._slots.pop(self._next_tick, None)
            self._next_tick += 1
            for session in due or ():
                self._look_at(session, now)
        while self._candidates and self._candidates[0][0] <= now:
            self._candidates.popleft()[1].expire()
        if self.sessions or self._candidates:
            self._sweep_later()
        else:
            self._timer = None

    def _look_at(self, session: Session, now: float) -> None:
        if session.due_at <= now:
            # Who is not read, because enough waits, may have answered.
            if session.pinged and not session.paused:
                self.gone["silent"] += 1
                session.abort(Reason.PING_TIMEOUT)
                return
            if self.upper.is_over(session, now - session.opened_at):
                session.close(Reason.SERVER_DISCONNECT)
                return
            session.pinged = True
            # From when it was due, as the client counts, unless this process is very late.
            timeout_s = self.options.ping_timeout_s
            session.due_at = max(session.due_at, now - timeout_s / 2) + timeout_s
            session.send(packet.PING_PACKET)
            if session.closed:
                return
        self._schedule(session)

    def overdue(self, session: Session) -> bool:
        """Return whether a client has not answered in time; then its session has been ended.

        For a request of its between two sweeps.
        """
        now = self.loop.time()
        due_at = session.due_at
        if not session.pinged:
            due_at += self.options.ping_timeout_s
        if now < due_at or session.paused:
            return False
        self.gone["silent"] += 1
        session.abort(Reason.PING_TIMEOUT)
        return True

    # The end.

    async def drain(self, window_s: float) -> None:
        """Have every client reconnect elsewhere, spread over at most this window."""
        self.draining = True
        leaving = list(self.sessions.values())
        random.shuffle(leaving)
        ends_at = self.loop.time() + min(window_s * 0.8, len(leaving) / DISMISSED_PER_S)
        while leaving:
            left_s = max(ends_at - self.loop.time(), 0.0)
            step = max(1, round(len(leaving) * 0.02 / left_s)) if left_s > 0.02 else len(leaving)
            for session in leaving[-step:]:
                session.close(Reason.TRANSPORT_CLOSE)
            del leaving[-step:]
            if leaving:
                await asyncio.sleep(min(0.02, left_s))

    def close(self) -> None:
        """Disconnect everybody at once."""
        self.draining = True
        if self._timer is not None:
            self._timer.cancel()
        for session in list(self.sessions.values()):
            session.abort(Reason.SERVER_DISCONNECT)

    def backlog_bytes(self) -> int:
        """Return how much waits for slow clients."""
        return sum(session.backlog_bytes for session in self.sessions.values())

    def held_bytes(self) -> int:
        """Return how much is held for clients, in both directions."""
        return sum(each.backlog_bytes + each.held_bytes for each in self.sessions.values())

    def memory_changed(self, full: bool) -> None:
        """Note whether the server is short of memory; then give up who has much of it."""
        self.full = full
        for session in list(self.sessions.values()) if full else ():
            if session.held_bytes > HELD_WHEN_FULL_BYTES:
                session.close(Reason.TRANSPORT_ERROR)
