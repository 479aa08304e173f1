"""What answers for the views of `Live.cached` in the container's place, on the event loop.

A page is served from memory until an event on one of its channels is committed. A commit in this
process ends it on the committing thread, before that has answered its client; a commit of another
process when this one reads the log, as live clients learn of it. While the log cannot be read no
page is kept.

One view call answers all who ask for the same meanwhile (collapsed forwarding): the others wait
here, for a bounded time, without a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from flask import Flask

from flasknado.environ import build_environ
from flasknado.errors import ConfigurationError
from flasknado.http.message import RequestHead, ResponseHead, field_line
from flasknado.http.reply import Reply
from flasknado.live.cache import pages
from flasknado.live.cache.flights import FlightReply, PageFlight, Waiter
from flasknado.live.cache.questions import (
    Question,
    Selection,
    fields_of,
    is_small,
    may_answer,
    question_of,
)
from flasknado.live.cache.rules import FLIGHT_KEY, CachedPaths, CachedView
from flasknado.live.cache.store import Store
from flasknado.live.event import Event
from flasknado.live.hub.hub import hub_of
from flasknado.live.state import LiveState

if TYPE_CHECKING:
    from flasknado.live.hub.hub import Hub
    from flasknado.live.log.tables import Batch

log = logging.getLogger("flasknado.live")

PASS_S: Final = 1.0
"""For how long nobody waits for a response that could not be kept the last time."""

KNOWN_PASSES: Final = 512

KNOWN_OFFSETS: Final = 10_000
"""How many of its own events a process recognises; further ones end pages twice."""


class Front:
    """The kept pages of one server. `take()` on the loop's thread; the rest says where.

    http_server: a `flasknado.HTTPServer` with a container.
    """

    def __init__(self, state: LiveState, http_server: Any, paths: CachedPaths) -> None:
        self._state = state
        self._server = http_server
        self._container = http_server.container
        self._paths = paths
        self._options = state.options
        self._loop: asyncio.AbstractEventLoop | None = None
        self._hub: Hub | None = None
        self._refused = False
        """True if the log cannot be followed here, whatever is done."""
        self._lock = threading.Lock()
        self._store = Store(self._options.cache_bytes)
        self._flights: dict[Selection, PageFlight] = {}
        """Those that who asks may wait for."""
        self._open: set[PageFlight] = set()
        """All that have not ended."""
        self._known: set[int] = set()
        """Offsets of this process's own events that the reader has yet to bring: done already."""
        self._read_to = 0
        self._passes: OrderedDict[Selection, float] = OrderedDict()
        self._counts: Counter[str] = Counter()

    def begin(self) -> None:
        """Begin to follow the log; `take()` does that, too. On the loop's thread."""
        self._follows()

    def take(self, head: RequestHead, reply: Reply) -> bool:
        """Answer a request, now or later, or return that the application has to."""
        if not may_answer(head):
            return False
        view = self._paths.find(head.path)
        if view is None:
            return False
        question = self._question(view, head) if is_small(head) else None
        if question is None or not self._follows():
            self._counts["bypass"] += 1
            return False
        flight: PageFlight | None = None
        with self._lock:
            selection = question.selection(self._store.vary_of(question.primary))
            page = self._store.get(selection)
            if page is None:
                flight = self._join(view, question, selection, reply)
                if flight is None:
                    return False
                leads = flight.question is question
        if page is not None:
            self._counts["hit"] += 1
            reply.send(*page.answer(question, pages.HIT))
        elif flight is not None and leads:
            self._lead(flight, reply)
        return True

    def _join(
        self, view: CachedView, question: Question, selection: Selection, reply: Reply
    ) -> PageFlight | None:
        """Wait for a flight or begin one; `None` if the request has to go by itself."""
        passes = self._passes.get(selection)
        if question.head.method == "HEAD" or (passes is not None and passes > time.monotonic()):
            self._counts["bypass"] += 1
            return None
        flight = self._flights.get(selection)
        if flight is not None and flight.joinable and flight.waiters is not None:
            if len(flight.waiters) >= self._container.pool.queue_limit:
                self._counts["bypass"] += 1
                return None
            flight.waiters.append(Waiter(question, reply))
            return flight
        flight = PageFlight(self._lock, view, question, selection)
        self._flights[selection] = flight
        self._open.add(flight)
        return flight

    def _lead(self, flight: PageFlight, reply: Reply) -> None:
        self._counts["miss"] += 1
        loop = asyncio.get_running_loop()
        loop.call_later(self._options.cache_wait_s, self._give_up, flight)
        self._container.dispatch(
            flight.question.head,
            None,
            FlightReply(reply, flight, self._sent, self._ended, self._abandoned),
            {**self._container.base_environ, FLIGHT_KEY: flight},
        )

    def _question(self, view: CachedView, head: RequestHead) -> Question | None:
        app: Flask = self._state.app
        key: str | None = None
        if view.key is not None:
            try:
                environ = build_environ(head, None, self._container.base_environ)
                key = view.key(app.request_class(environ))
            except Exception:
                log.exception("the key of a cached page could not be asked for")
                return None
            if not isinstance(key, str):
                return None
        elif head.tls is not None:
            return None
        cookie = app.config["SESSION_COOKIE_NAME"]
        return question_of(head, fields_of(head), cookie, key)

    # What the view's thread gives back, or the loop in its place.

    def _sent(self, flight: PageFlight, reply: Reply, head: ResponseHead, body: bytes) -> None:
        page: pages.Page | None = None
        question = flight.question
        if flight.channels is not None:
            page = pages.page_of(
                head,
                body,
                flight.channels,
                keyed=question.keyed,
                route=question.head.route,
                max_age_s=flight.view.max_age_s,
            )
        if page is None:
            self._ended(flight)
            _add_field(head, pages.CACHE_STATUS, pages.NOT_STORED)
            reply.send(head, body)
            return
        selection = question.selection(page.vary)
        same: list[Waiter] = []
        others: list[Waiter] = []
        with self._lock:
            # One that was abandoned has not heard of every event since.
            known = flight in self._open
            for waiter in self._close(flight):
                fits = waiter.question.selection(page.vary) == selection
                (same if fits else others).append(waiter)
            stored = known and not flight.stale
            if stored:
                self._store.put(selection, page)
            self._counts["collapsed"] += len(same)
        reply.send(*page.answer(question, pages.STORED if stored else pages.NOT_STORED))
        for waiter in same:
            # It has come before anything changed, as far as its client can know.
            waiter.reply.send(*page.answer(waiter.question, pages.COLLAPSED))
        self._send_on(others, ask_again=True)

    def _ended(self, flight: PageFlight) -> None:
        """Let those go by themselves who wait for what cannot be kept; on any thread."""
        with self._lock:
            if flight not in self._open:
                return
            waiters = self._close(flight)
            self._passes[flight.selection] = time.monotonic() + PASS_S
            self._passes.move_to_end(flight.selection)
            if len(self._passes) > KNOWN_PASSES:
                self._passes.popitem(last=False)
        self._send_on(waiters, ask_again=False)

    def _abandoned(self, flight: PageFlight) -> bool:
        """End a flight whose client has left, unless others wait; on any thread."""
        with self._lock:
            if flight.waiters:
                return False
            self._close(flight)
            return True

    def _close(self, flight: PageFlight) -> list[Waiter]:
        self._open.discard(flight)
        if self._flights.get(flight.selection) is flight:
            del self._flights[flight.selection]
        waiters, flight.waiters = flight.waiters, None
        return waiters or []

    def _give_up(self, flight: PageFlight) -> None:
        """Wait no more; the response is kept nevertheless, if it comes and is still so."""
        with self._lock:
            waiters, flight.waiters = flight.waiters, None
            self._counts["late"] += len(waiters or ())
        if waiters:
            self._go_on(waiters, False)

    def _send_on(self, waiters: list[Waiter], *, ask_again: bool) -> None:
        if waiters and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just closed
                self._loop.call_soon_threadsafe(self._go_on, waiters, ask_again)

    def _go_on(self, waiters: list[Waiter], ask_again: bool) -> None:
        for waiter in waiters:
            head, reply = waiter.question.head, waiter.reply
            if not reply.gone and not (ask_again and self.take(head, reply)):
                self._container.dispatch(head, None, reply, self._container.base_environ)

    # What ends pages.

    def _follows(self) -> bool:
        """Whether every event is heard of."""
        hub = self._hub or self._follow()
        return hub is not None and hub.log_readable and not hub.draining

    def _follow(self) -> Hub | None:
        if self._refused:
            return None
        try:
            hub = hub_of(self._state, self._server)
        except ConfigurationError as error:
            self._refused = True
            log.error("pages are not cached: %s", error)
            return None
        self._loop = hub.loop
        self._hub = hub
        hub.taps.append(self._on_batch)
        hub.on_started.append(self._begin_anew)
        self._state.on_commit.append(self.on_events)
        self._server.add_close_callback(self.close)
        return hub

    def _begin_anew(self) -> None:
        """Keep nothing from before: events may have been missed, or be late."""
        with self._lock:
            self._known.clear()
            self._read_to = 0
            self._store.clear()
            for flight in self._open:
                flight.stale = True

    def _on_batch(self, batch: Batch) -> None:
        with self._lock:
            events = [event for event in batch.events if event.offset not in self._known]
            self._read_to = batch.complete_to
            self._known = {offset for offset in self._known if offset > batch.complete_to}
            self._end({event.channel for event in events})

    def on_events(self, events: Sequence[Event]) -> None:
        """Forget the pages that events of this process have changed; on the committing thread."""
        with self._lock:
            if len(self._known) < KNOWN_OFFSETS:
                self._known.update(e.offset for e in events if e.offset > self._read_to)
            self._end({event.channel for event in events})

    def _end(self, channels: set[str]) -> None:
        self._counts["ended"] += self._store.drop(channels)
        for flight in self._open:
            flight.note(channels)

    def close(self) -> None:
        """Hear of no more events; the server has ended."""
        self._state.on_commit.remove(self.on_events)

    def stats(self) -> dict[str, float]:
        """Return counts for the metrics. May be called on any thread."""
        return {
            **{name: self._counts[name] for name in ("hit", "miss", "collapsed", "bypass")},
            "late": self._counts["late"],
            "ended": self._counts["ended"],
            "pages": len(self._store),
            "held_bytes": self._store.held_bytes,
            "limit_bytes": self._store.limit_bytes,
        }


def _add_field(head: ResponseHead, name: str, value: str) -> None:
    head.headers.append((name, value))
    head.lines.append(field_line(name, value))
