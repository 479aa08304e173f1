"""Hosting a WSGI application: requests in, the application on a pool of threads, replies out."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from mypy_extensions import mypyc_attr

from flasknado.environ import base_environ
from flasknado.errors import ConfigurationError
from flasknado.http.admit import RequestIds
from flasknado.http.body_limits import DEFAULT_MAX_BODY_BYTES, BodyLimits
from flasknado.http.message import Body, RequestHead, plain_response
from flasknado.http.reply import Front, Reply
from flasknado.on_loop import HOST_KEY
from flasknado.on_loop.host import DEFAULT_MAX_STREAMS, LoopHost
from flasknado.pool import Pool, PoolFull
from flasknado.wsgi.deadline import DeadlineReply
from flasknado.wsgi.file_wrapper import FileWrapper
from flasknado.wsgi.holding import Holding
from flasknado.wsgi.pacing import Pacer
from flasknado.wsgi.run import Run, WSGIApplication, close_body, refuse_overload
from flasknado.wsgi.streams import Streams
from flasknado.wsgi.watch import Watch

log: Final = logging.getLogger("flasknado.error")

SWEEP_INTERVAL_S: Final = 0.5

AWAKE_AT_ONCE: Final = 4
"""How many threads are woken for tasks that may be short.

One task at a time has the interpreter, so few threads do short ones soonest.
"""

PATIENCE_S: Final = 0.002
"""How long a task may run, or wait, before threads are woken beyond that number."""

ABANDONED_AFTER_S: Final = 30.0

STREAM_THREADS: Final = 256

STREAM_GRACE_S: Final = 10.0

LEAVE_STREAM_S: Final = 2.0
"""How long a drain waits for a thread whose stream has been ended."""

SENT_AWAY_PER_S: Final = 500
"""How many clients of taken sockets are sent away in a second at most, when the server drains."""

_MOUNT: Final = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]+)+\Z")


class StreamCounts(NamedTuple):
    """How many responses hold a thread each, by what they do."""

    running: int
    """Those that make their next part, or wait for what it is made of."""
    waiting: int
    """Those that wait for their client to read."""
    abandoned: int
    """Those whose client left long ago."""


@mypyc_attr(allow_interpreted_subclasses=True)
class ApplicationContainer:
    """Runs a WSGI application for the ordinary requests of a server.

    `flasknado.WSGIContainer` is the public one, and says what the arguments mean.
    """

    def __init__(
        self,
        application: WSGIApplication,
        *,
        threads: int = 16,
        queue_limit: int | None = None,
        queue_timeout_s: float = 30.0,
        request_timeout_s: float | None = None,
        slow_request_s: float | None = None,
        abandoned_after_s: float | None = ABANDONED_AFTER_S,
        max_loop_streams: int = DEFAULT_MAX_STREAMS,
        stream_threads: int = STREAM_THREADS,
        stream_grace_s: float = STREAM_GRACE_S,
        max_body_bytes: int | str = DEFAULT_MAX_BODY_BYTES,
        body_limits: Mapping[str, int | str] | None = None,
        mount: str = "",
        multiprocess: bool = False,
    ) -> None:
        if not callable(application):
            raise ConfigurationError(
                f"{application!r} is not a WSGI application: pass a callable such as a Flask app"
            )
        _check_range("threads", threads, 1)
        _check_positive("queue_timeout_s", queue_timeout_s)
        for name, seconds in (
            ("request_timeout_s", request_timeout_s),
            ("slow_request_s", slow_request_s),
            ("abandoned_after_s", abandoned_after_s),
        ):
            if seconds is not None:
                _check_positive(name, seconds)
        if queue_limit is None:
            queue_limit = 64 * threads
        _check_range("queue_limit", queue_limit, 1)
        _check_range("max_loop_streams", max_loop_streams, 1)
        _check_range("stream_threads", stream_threads, 0)
        if stream_grace_s < 0:
            raise ConfigurationError(
                f"stream_grace_s must be 0 seconds or more, not {stream_grace_s}"
            )
        if mount and _MOUNT.match(mount) is None:
            raise ConfigurationError(
                f"the mount {mount!r} must begin with a slash, not end with one and need no "
                f"percent-encoding, such as /shop"
            )
        self.application = application
        self.pool = Pool(threads, queue_limit)
        self.streams = Streams(self.pool, stream_threads)
        self._holding = Holding(self.pool, self.streams)
        self._pacer = Pacer(self.pool, self._make_up)
        self.queue_timeout_s = queue_timeout_s
        self.request_timeout_s = request_timeout_s
        self.stream_grace_s = stream_grace_s
        self._ending: asyncio.TimerHandle | None = None
        self._ended_at: dict[Run, float] = {}
        """When streams were ended that their thread went on with, in `time.monotonic`."""
        self.loop_host = LoopHost(max_loop_streams, request_timeout_s)
        """What the application leaves to the event loop."""
        self._watch = Watch(
            self.pool,
            request_timeout_s,
            slow_request_s,
            abandoned_after_s,
            self.loop_host.cancel_call,
        )
        self.body_limits = BodyLimits(max_body_bytes, body_limits)
        """Set by the server to those of both halves, before the first request."""
        self.front: Front | None = None
        """What is asked first; set before the first request."""
        self.mount = mount
        self.base_environ = base_environ(multiprocess=multiprocess, mount=mount)
        self.base_environ["wsgi.file_wrapper"] = FileWrapper
        self.base_environ[HOST_KEY] = self.loop_host
        self.request_ids = RequestIds()
        self._sweeping: asyncio.TimerHandle | None = None
        self._waking = False
        self._waking_more: asyncio.TimerHandle | None = None

    @property
    def max_body_bytes(self) -> int:
        """The largest body where no rule says otherwise."""
        return self.body_limits.default_bytes

    @property
    def multiprocess(self) -> bool:
        """What the application is told of other processes; set before the first request."""
        return bool(self.base_environ["wsgi.multiprocess"])

    @multiprocess.setter
    def multiprocess(self, value: bool) -> None:
        self.base_environ["wsgi.multiprocess"] = value

    @property
    def requests_waiting(self) -> int:
        """How many requests wait for a thread. Any thread."""
        return self.pool.queued

    @property
    def held_up(self) -> int:
        """How many requests wait, or were just refused, because of streams. Any thread.

        None are while the pool makes up for the threads of streams.
        """
        streams = self.streams
        if streams.limit and not streams.full:
            return 0
        return max(self.pool.queued, int(streams.refused_lately))

    def max_body_bytes_for(self, head: RequestHead) -> int:
        """Return the largest body accepted for this request."""
        return self.body_limits.limit_bytes(head.method, head.path)

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Prepare for serving on this loop; may be called again. On the loop's thread."""
        if self.loop_host.begin(loop) and "flask" in sys.modules:
            from flasknado.flask_apps import flask_apps_of
            from flasknado.on_loop.async_views import install

            for app in flask_apps_of(self.application):
                install(app, self.loop_host)

    def handle(
        self,
        head: RequestHead,
        body: Body | None,
        reply: Reply,
        base_environ: dict[str, Any] | None = None,
    ) -> None:
        """Queue one complete request for a thread, or refuse it (503); does not block.

        `base_environ` takes the place of the container's for this request, which then goes to
        the application whatever `front` has.
        """
        if head.request_id is None:
            head.request_id = self.request_ids.new()
        if self.mount and not (head.path + "/").startswith(self.mount + "/"):
            close_body(body)
            reply.send(
                *plain_response(head, 404, f"This application is served under {self.mount}/.")
            )
            return
        if base_environ is None:
            if self.front is not None and self.front.take(head, reply):
                close_body(body)
                return
            base_environ = self.base_environ
        self.dispatch(head, body, reply, base_environ)

    def dispatch(
        self, head: RequestHead, body: Body | None, reply: Reply, base_environ: dict[str, Any]
    ) -> None:
        """Do as `handle()` without asking `front`; `base_environ` is what the environ begins as."""
        if self._sweeping is None:
            self._sweep_later()
        try:
            self.pool.submit(self._run_of(head, body, reply, base_environ), wake=False)
        except PoolFull:
            close_body(body)
            refuse_overload(head, reply)
        else:
            if not self._waking:
                # Once the loop has read what else has come: it does not share the interpreter
                # meanwhile, and a batch of requests runs faster than one by one.
                self._waking = True
                asyncio.get_running_loop().call_soon(self._wake)
            if self._pacer.resting:
                self._pacer.begin()

    def _run_of(
        self, head: RequestHead, body: Body | None, reply: Reply, base_environ: dict[str, Any]
    ) -> Run:
        if self.request_timeout_s is not None:
            reply = DeadlineReply(reply)
        return Run(self.application, base_environ, head, body, reply, self.streams)

    def _make_up(self) -> None:
        """Give the pool other threads for those that streams hold."""
        for thread in self._holding.look():
            self._pacer.forget(thread)

    def _wake(self) -> None:
        self._waking = False
        if self.pool.wake(AWAKE_AT_ONCE, PATIENCE_S) and self._waking_more is None:
            loop = asyncio.get_running_loop()
            self._waking_more = loop.call_later(PATIENCE_S, self._wake_more)

    def _wake_more(self) -> None:
        self._waking_more = None
        self._wake()

    def shed_waiting(self) -> int:
        """Answer 503 to every request that waits for a thread; returns how many."""
        return self.pool.shed_older_than(0.0)

    def begin_drain(self, _window_s: float) -> None:
        """Have streams of server-sent events end in a while, so that their clients come back."""
        self.loop_host.drain(self.stream_grace_s)
        loop = asyncio.get_running_loop()
        self._ending = loop.call_later(self.stream_grace_s, self._end_event_streams)

    def _end_event_streams(self) -> None:
        for task in self._running():
            if task not in self._ended_at and task.sends_events and task.reply.end_early():
                self._ended_at[task] = time.monotonic()
        # Again, for those that begin during the drain.
        loop = asyncio.get_running_loop()
        self._ending = loop.call_later(SWEEP_INTERVAL_S, self._end_event_streams)

    def _only_ended_streams(self) -> bool:
        """Return whether threads run only what nobody gets, and have had time to notice."""
        if not self._ended_at or self.pool.queued:
            return False
        before = time.monotonic() - LEAVE_STREAM_S
        for _, task in self.pool.all_running():
            if not isinstance(task, Run) or self._ended_at.get(task, before) >= before:
                return False
        return True

    async def end_sockets(self, window_s: float) -> None:
        """Send the clients of taken sockets away, spread over at most half of this window."""
        leaving = [task.socket for task in self._running() if task.socket is not None]
        pause_s = min(window_s / 2 / max(len(leaving), 1), 1 / SENT_AWAY_PER_S)
        for left in leaving:
            left.go_away()
            await asyncio.sleep(pause_s)

    def _running(self) -> list[Run]:
        return [task for _, task in self.pool.all_running() if isinstance(task, Run)]

    def stop(self) -> None:
        """End the pool's threads once they have done what waits; later requests get 503."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        if self._waking_more is not None:
            self._waking_more.cancel()
        if self._ending is not None:
            self._ending.cancel()
            left = sum(task in self._ended_at for task in self._running())
            if left:
                log.warning("threads that go on with streams which the drain has ended: %d", left)
        self._pacer.stop()
        self.loop_host.stop()
        self.pool.stop()

    @property
    def idle(self) -> bool:
        """Whether nothing of the application runs, in threads or behind requests."""
        if self.loop_host.background:
            return False
        return self.pool.idle or self._only_ended_streams()

    @property
    def stuck(self) -> int:
        """How many threads run a request that was answered 504, or abandoned. Any thread.

        Not those that were abandoned after they were set aside: `StreamCounts.abandoned`.
        """
        return self._watch.stuck

    def stream_counts(self) -> StreamCounts:
        """Return how many responses hold a thread each. Any thread."""
        running = waiting = abandoned = 0
        asides = {worker.task for worker in self.pool.aside}
        given_up = self._watch.abandoned
        for task in self._running():
            if not task.streaming and task not in asides:
                continue
            if task in given_up:
                abandoned += 1
            elif task.reply.stalled:
                waiting += 1
            else:
                running += 1
        return StreamCounts(running, waiting, abandoned)

    def hanging_longer_than(self, age_s: float) -> int:
        """Return how many threads have run a request for so long and begun no response.

        May be called on any thread.
        """
        return sum(
            isinstance(task, Run) and not task.reply.begun
            for _, task in self.pool.running_longer_than(age_s)
        )

    def _sweep_later(self) -> None:
        loop = asyncio.get_running_loop()
        self.begin(loop)
        self._sweeping = loop.call_later(SWEEP_INTERVAL_S, self._sweep)

    def _sweep(self) -> None:
        """Shed what waited too long, and answer for threads that run too long."""
        pool = self.pool
        pool.shed_older_than(self.queue_timeout_s)
        self._make_up()
        watch = self._watch
        if watch.needed:
            watch.look()
        # With nothing to watch the timer rests until the next request.
        if pool.queued or (not pool.idle and watch.needed):
            self._sweep_later()
        else:
            self._sweeping = None


def _check_range(name: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigurationError(f"{name} must be {least} or more, not {value}")


def _check_positive(name: str, seconds: float) -> None:
    if seconds <= 0:
        raise ConfigurationError(f"{name} must be more than 0 seconds, not {seconds}")
