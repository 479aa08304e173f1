"""Responses whose body an async iterator makes, on the event loop and under back-pressure.

A stream holds no thread. It ends with its iterator, or is ended: by its client leaving, by a
limit, or by the server stopping. Then the iterator is cancelled where it waits, and closed.
Belongs to the loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections import deque
from collections.abc import AsyncIterable, Callable
from typing import Any, Final, NamedTuple

from flasknado.http.message import RequestHead, ResponseHead, plain_response
from flasknado.http.reply import LoopReply
from flasknado.stacks import awaiting_stack, log_stack

log = logging.getLogger("flasknado.error")

MAX_CHUNK_BYTES: Final = 1024 * 1024
"""The largest chunk that an iterator may yield."""
SWEEP_INTERVAL_S: Final = 1.0
RETRY_AFTER_S: Final = 1
HEARTBEAT_S: Final = 15.0
"""After how long without a chunk a stream of events gets a comment."""
CLEANUP_S: Final = 10.0
"""How long a cancelled iterator may take to end before the log says where it is."""
CHUNKS_PER_TURN: Final = 32
"""How many chunks all streams and runs together may send before others have their turn."""
WORK_PER_TURN: Final = 8
"""How many chunks one stream may write before others have their turn of the loop."""
BYTES_PER_WORK: Final = 16 * 1024
"""How many bytes count as one more of them."""

COMMENT: Final = b":\n\n"
"""What a client of server-sent events ignores."""
EVENT_END: Final = b"\n\n"


class Ending(NamedTuple):
    """Why a stream is ended from outside; `status` is the answer if it has not begun."""

    status: int
    reason: str

    @property
    def level(self) -> int:
        """At which level it is logged: a limit is worth a look, the end of the server is not."""
        return logging.INFO if self.status == 503 else logging.WARNING


class LoopStream:
    """One response: an iterator, and what it may do.

    `source` yields bytes, or text that is sent as UTF-8. It runs in `context`, and `leave_context`
    is called in that at the end: on a thread if it `leaving_blocks`.
    """

    __slots__ = (
        "_head",
        "_last",
        "_leave_context",
        "_leaving_blocks",
        "_reply",
        "_request",
        "_source",
        "_streams",
        "began_at",
        "begun",
        "commented_at",
        "comments",
        "context",
        "drain_grace_s",
        "ended_at",
        "ending",
        "idle_timeout_s",
        "moved_at",
        "task",
        "timeout_s",
        "told",
        "waits_for_client",
    )

    def __init__(
        self,
        source: AsyncIterable[bytes | str],
        context: contextvars.Context,
        leave_context: Callable[[], object],
        *,
        leaving_blocks: bool,
        idle_timeout_s: float | None = None,
        timeout_s: float | None = None,
        drain_grace_s: float | None = None,
        comments: bool = False,
    ) -> None:
        self._source = source
        self.context = context
        self._leave_context = leave_context
        self._leaving_blocks = leaving_blocks
        self.idle_timeout_s = idle_timeout_s
        self.timeout_s = timeout_s
        self.drain_grace_s = drain_grace_s
        """How long it may go on once the server drains; `None` is as its kind may."""
        self.comments = comments
        """Whether it is server-sent events: comments may stand between two chunks."""
        self._last = b""
        """The end of the last chunk."""
        self.begun = False
        """Whether the head has been sent: with the first chunk."""
        self.ending: Ending | None = None
        self.ended_at = 0.0
        self.began_at = self.moved_at = self.commented_at = 0.0
        self.waits_for_client = False
        self.told = False
        self.task: asyncio.Task[None] | None = None

    def begin(
        self, streams: LoopStreams, request: RequestHead, head: ResponseHead, reply: LoopReply
    ) -> None:
        """Start to iterate, for the reply of a request; or refuse it, if there are too many."""
        self._streams, self._request, self._head, self._reply = streams, request, head, reply
        if reply.gone or not streams.admit(self):
            if not reply.gone:
                message = "The server holds as many streams as it may: try again shortly."
                retry = (("Retry-After", str(RETRY_AFTER_S)),)
                reply.send(*plain_response(request, 503, message, retry))
            self._leave()
            return
        reply.watch(self._client_left)
        self.began_at = self.moved_at = streams.now
        self.task = streams.loop.create_task(self._run(), context=self.context)
        self.task.add_done_callback(self._done)

    async def _run(self) -> None:
        reply = self._reply
        work = 0
        try:
            async for item in self._source:
                if self.ending is not None:
                    break  # it was cancelled, and went on
                chunk = bytes_of(item)
                turn = self._streams.turn()
                if turn is not None:
                    await turn
                if not chunk:
                    continue
                if not self.begun:
                    self.begun = True
                    reply.begin_body(self._head)
                    del self._head  # thousands are held
                self.moved_at = self._streams.now
                self._last = chunk[-2:]
                room = reply.push(chunk)
                if room is not None:
                    self.waits_for_client = True
                    try:
                        await room
                    except OSError:  # Tornado's `StreamClosedError`
                        self._client_left()
                        break
                    self.waits_for_client = False
                    self.moved_at = self._streams.now
                work += 1 + len(chunk) // BYTES_PER_WORK
                if work >= WORK_PER_TURN:
                    work = 0
                    await asyncio.sleep(0)
        except asyncio.CancelledError as error:
            if self.task is None or self.task.cancelling():
                self.end(Ending(503, "the server is stopping"))
            else:
                self._fail(error)  # it is the producer that raised it
        except BaseException as error:  # also what would end the loop, such as SystemExit
            self._fail(error)
        else:
            self._finish()
        finally:
            await self._close_source()

    def _finish(self) -> None:
        if self.ending is not None:
            return
        self.ending = Ending(0, "it is complete")
        if self.begun:
            self._reply.end_body()
        else:
            self._head.announce_length(0)
            self._reply.send(self._head, b"")

    def _fail(self, error: BaseException) -> None:
        log.error("the producer failed in %s", self, exc_info=error)
        if self.ending is not None:
            return
        self.ending = Ending(500, "it failed")
        if self.begun:
            self._reply.cut_off()
        else:
            message = f"Internal Server Error. Reference: {self._request.request_id}"
            self._reply.send(*plain_response(self._request, 500, message))

    async def _close_source(self) -> None:
        aclose = getattr(self._source, "aclose", None)
        if aclose is not None:
            try:
                await aclose()
            except asyncio.CancelledError:
                pass
            except BaseException as error:
                log.error("the producer of %s failed while it was closed", self, exc_info=error)

    def _client_left(self) -> None:
        self.end(Ending(0, "its client left"))

    def end(self, ending: Ending) -> None:
        """End the stream for a reason from outside; its iterator is cancelled and closed."""
        if self.ending is not None:
            return
        self.ending = ending
        self.ended_at = self._streams.now
        reply = self._reply
        if reply.gone or not ending.status:
            log.info("%s ended: %s", self, ending.reason)
        elif self.begun:
            log.log(ending.level, "%s was cut off: %s", self, ending.reason)
            reply.cut_off()
        else:
            log.log(ending.level, "%s was answered %s: %s", self, ending.status, ending.reason)
            message = _MESSAGES.get(ending.status, "The server ended this response.")
            reply.send(*plain_response(self._request, ending.status, message))
        task = self.task
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    def _complete_early(self) -> None:
        """End the body here, so that the client comes back to another server."""
        self.ending = Ending(0, "the server drains")
        self.ended_at = self._streams.now
        log.info("%s ended: %s", self, self.ending.reason)
        reply = self._reply
        if not reply.gone:
            if not self.begun:
                self.begun = True
                reply.begin_body(self._head)
                del self._head
            reply.end_early()
        if self.task is not None:
            self.task.cancel()

    def look(self, now: float, first_timeout_s: float | None) -> None:
        """Do what is due at this time: a comment, or an end."""
        if self.ending is not None:
            self._look_at_end(now)
            return
        if self._streams.is_over(self, now):
            self._complete_early()
            return
        idle_s = now - self.moved_at
        if not self.begun and first_timeout_s is not None and idle_s > first_timeout_s:
            self.end(Ending(504, f"no byte came within {first_timeout_s:g} s"))
        elif self.timeout_s is not None and now - self.began_at > self.timeout_s:
            self.end(Ending(504, f"it took longer than {self.timeout_s:g} s (timeout_s)"))
        elif self.waits_for_client:
            pass  # whose own deadline cuts off who takes too little
        elif self.idle_timeout_s is not None and idle_s > self.idle_timeout_s:
            self.end(Ending(504, f"nothing came for {self.idle_timeout_s:g} s (idle_timeout_s)"))
        elif (
            self.comments
            and self._last == EVENT_END
            and now - max(self.commented_at, self.moved_at) >= HEARTBEAT_S
        ):
            self.commented_at = now
            self._reply.push(COMMENT)

    def _look_at_end(self, now: float) -> None:
        if self.told or self.task is None or now - self.ended_at < CLEANUP_S:
            return
        self.told = True
        log_stack(
            log,
            awaiting_stack(self._source),
            "the producer of %s goes on, although it was cancelled; it is here:",
            self,
            request_id=self.request_id,
        )

    def _done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.error("%s could not be ended", self, exc_info=task.exception())
        elif task.cancelled():
            self.end(Ending(503, "the server is stopping"))
        self.task = None
        self._streams.discard(self)
        self._leave()

    def _leave(self) -> None:
        if self._leaving_blocks:
            self._streams.in_thread(self.context.run, self._leave_context)
            return
        try:
            self.context.run(self._leave_context)
        except Exception as error:
            log_failed_teardown(error)

    def __str__(self) -> str:
        request = self._request
        return f"{request.method} {ascii(request.path)[1:-1]} [{request.request_id}]"

    @property
    def request_id(self) -> str | None:
        """The id of the request that it answers."""
        return self._request.request_id


_MESSAGES: Final = {
    503: "The server is shutting down: try again shortly.",
    504: "The server took too long to answer.",
}


def bytes_of(item: bytes | str) -> bytes:
    """Return what a producer yielded as bytes; raises `TypeError` and `ValueError`."""
    chunk: Any = item.encode() if isinstance(item, str) else item
    if not isinstance(chunk, bytes):
        raise TypeError(
            f"a producer must yield bytes or text, not {type(item).__name__}: encode it, for "
            f"example with flasknado.json_line() or flasknado.server_sent_event()"
        )
    if len(chunk) > MAX_CHUNK_BYTES:
        raise ValueError(
            f"a producer may yield at most {MAX_CHUNK_BYTES} bytes at a time, not {len(chunk)}: "
            f"yield smaller chunks"
        )
    return chunk


class LoopStreams:
    """The streams of one server. Made on the loop's thread, as all of it."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limit: int, first_timeout_s: float | None
    ) -> None:
        self.loop = loop
        self.limit = limit
        self.first_timeout_s = first_timeout_s
        """How long a stream may take to its first byte before its client gets 504."""
        self.refused = 0
        """How many were refused because there were too many."""
        self.now = loop.time()
        """The loop's time at the last sweep: exact enough for what is counted in seconds."""
        self.stopping = False
        self._drained_at: float | None = None
        self._event_grace_s = 0.0
        self._left_in_turn = CHUNKS_PER_TURN
        self._turns: deque[asyncio.Future[None]] = deque()
        """Who waits for a later turn of the loop."""
        self._turning = False
        self._streams: set[LoopStream] = set()
        self._leaving: set[asyncio.Future[Any]] = set()
        self._sweeping: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._streams)

    def admit(self, stream: LoopStream) -> bool:
        """Count a stream in, if there is room for it."""
        if len(self._streams) >= self.limit or self.stopping:
            self.refused += 1
            return False
        self._streams.add(stream)
        if self._sweeping is None:
            self.now = self.loop.time()
            self._sweep_later()
        return True

    def discard(self, stream: LoopStream) -> None:
        """Count a stream out."""
        self._streams.discard(stream)

    def turn(self) -> asyncio.Future[None] | None:
        """Return `None` if a chunk may be sent in this turn of the loop, else what to await before.

        Thousands of chunks that are ready at once leave requests their turns between them.
        """
        if not self._turning:
            self._turning = True
            self.loop.call_soon(self._next_turn)
        if self._left_in_turn > 0 and not self._turns:
            self._left_in_turn -= 1
            return None
        future = self.loop.create_future()
        self._turns.append(future)
        return future

    def _next_turn(self) -> None:
        self._left_in_turn = CHUNKS_PER_TURN
        turns = self._turns
        while turns and self._left_in_turn:
            future = turns.popleft()
            if not future.done():
                future.set_result(None)
                self._left_in_turn -= 1
        self._turning = bool(turns)
        if turns:
            self.loop.call_soon(self._next_turn)

    def in_thread(self, function: Callable[..., object], *args: Any) -> None:
        """Have a function called on a thread of the loop's executor; what it raises is logged."""
        future = self.loop.run_in_executor(None, function, *args)
        self._leaving.add(future)
        future.add_done_callback(self._left)

    def _left(self, future: asyncio.Future[Any]) -> None:
        self._leaving.discard(future)
        if not future.cancelled() and future.exception() is not None:
            log_failed_teardown(future.exception())

    def task_of(self, task: asyncio.Task[Any]) -> LoopStream | None:
        """Return the stream that a task iterates. May be called on any thread."""
        with contextlib.suppress(RuntimeError):  # it changed meanwhile
            return next((stream for stream in self._streams if stream.task is task), None)
        return None

    def drain(self, event_grace_s: float) -> None:
        """From now on end streams that have had their time: those of events, this grace."""
        self._drained_at = self.now = self.loop.time()
        self._event_grace_s = event_grace_s
        for stream in list(self._streams):
            stream.look(self.now, self.first_timeout_s)

    def is_over(self, stream: LoopStream, now: float) -> bool:
        """Return whether a stream has had its time since the drain began."""
        if self._drained_at is None:
            return False
        grace_s = stream.drain_grace_s
        if grace_s is None:
            if not stream.comments:
                return False
            grace_s = self._event_grace_s
        return now - self._drained_at >= grace_s

    def stop(self) -> None:
        """End all streams, because the server stops; later ones are refused."""
        self.stopping = True
        for stream in list(self._streams):
            stream.end(Ending(503, "the server is stopping"))

    async def ended(self) -> None:
        """Return once the iterators of all streams have ended, and their contexts were left."""
        while self._streams or self._leaving:
            tasks = [stream.task for stream in self._streams if stream.task is not None]
            if tasks or self._leaving:
                await asyncio.wait([*tasks, *self._leaving])
            await asyncio.sleep(0)  # for what is done after them

    def _sweep_later(self) -> None:
        self._sweeping = self.loop.call_later(SWEEP_INTERVAL_S, self._sweep)

    def _sweep(self) -> None:
        self.now = self.loop.time()
        for stream in list(self._streams):
            stream.look(self.now, self.first_timeout_s)
        if self._streams:
            self._sweep_later()
        else:
            self._sweeping = None


def log_failed_teardown(error: BaseException | None) -> None:
    """Log what leaving a context raised."""
    log.error("a teardown function of the application failed after a stream", exc_info=error)
