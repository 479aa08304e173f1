"""`LoopHost`: the way of an application's threads to the event loop of the server that runs it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final

from flasknado.http.mailbox import Mailbox, mailbox_of
from flasknado.on_loop.blocking import BlockingWatch
from flasknado.on_loop.calls import CoroutineCall
from flasknado.on_loop.streams import LoopStreams

DEFAULT_MAX_STREAMS: Final = 10_000
END_POLL_S: Final = 0.05


class LoopHost:
    """What one container has of its event loop, for coroutines and streams of the application.

    `call()` belongs to any thread but the loop's, everything else to the loop's.
    """

    def __init__(
        self, max_streams: int = DEFAULT_MAX_STREAMS, first_timeout_s: float | None = None
    ) -> None:
        self.max_streams = max_streams
        self._first_timeout_s = first_timeout_s
        self._pid = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._mailbox: Mailbox | None = None
        self._calls: dict[int, CoroutineCall] = {}
        """What each thread waits for."""
        self.background: set[object] = set()
        """What goes on behind the requests, and should end before the server does. Any thread."""
        self._streams: LoopStreams | None = None
        self._watch: BlockingWatch | None = None
        self._watched = False
        """Whether a coroutine has asked for the watch."""

    def begin(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Note the loop; may be called again. Returns whether it is another one."""
        is_new = self._loop is not loop
        if is_new:
            self._pid = os.getpid()
            self._mailbox = mailbox_of(loop)
            self._streams = LoopStreams(loop, self.max_streams, self._first_timeout_s)
            if self._watch is not None:
                self._watch.stop()
            self._watched = False
            self._watch = BlockingWatch(loop, self._is_active, self._describe)
            self._loop = loop
        return is_new

    @property
    def stopped(self) -> bool:
        """Whether the loop ran here, and does not any more. Any thread."""
        return self.loop is None and self._pid == os.getpid()

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop, while it runs here: `None` in a process that was forked. Any thread."""
        loop = self._loop
        if loop is None or not loop.is_running() or self._pid != os.getpid():
            return None
        return loop

    @property
    def streams(self) -> LoopStreams:
        """The streams of this server."""
        assert self._streams is not None, "begin() comes first"
        return self._streams

    @property
    def stream_count(self) -> int:
        """How many streams there are. Any thread."""
        return 0 if self._streams is None else len(self._streams)

    def call(
        self, function: Callable[..., Coroutine[Any, Any, Any]], /, *args: Any, **kwargs: Any
    ) -> Any:
        """Return what a coroutine function returns that the loop runs; waits.

        On any thread but the loop's, while `loop` is not `None`. Raises what it raises, and
        `CoroutineCancelled` if the server cancelled it.
        """
        loop, mailbox = self._loop, self._mailbox
        assert loop is not None, "begin() comes first"
        assert mailbox is not None
        if not self._watched:
            self._watched = True
            mailbox.post(self.watch_blocking)
        call = CoroutineCall(loop, function, args, kwargs)
        thread = threading.get_ident()
        self._calls[thread] = call
        try:
            return call.result(mailbox)
        finally:
            del self._calls[thread]

    def cancel_call(self, thread: int, reason: str) -> None:
        """Cancel the coroutine that a thread waits for, if it waits for one."""
        call = self._calls.get(thread)
        if call is not None:
            call.cancel(reason)

    def watch_blocking(self) -> None:
        """See to it that somebody notices when the loop is blocked."""
        if self._watch is not None:
            self._watch.ensure()

    def drain(self, event_grace_s: float) -> None:
        """Have streams of events complete after this grace, others after their own."""
        if self._streams is not None:
            self._streams.drain(event_grace_s)

    def stop(self) -> None:
        """Cancel every coroutine and end every stream, because the server stops."""
        for call in list(self._calls.values()):
            call.cancel("the server is stopping")
        if self._streams is not None:
            self._streams.stop()

    async def ended(self) -> None:
        """Return once the streams have ended, and the coroutines of requests that were cancelled.

        What such a request runs in its teardown is a further one, a moment later.
        """
        if self._streams is not None:
            await self._streams.ended()
        quiet_polls = 0 if self._calls else 2
        while quiet_polls < 2:
            await asyncio.sleep(END_POLL_S)
            quiet_polls = 0 if self._calls else quiet_polls + 1
        if self._watch is not None:
            self._watch.stop()

    def _is_active(self) -> bool:
        return bool(self._calls or self._streams or self.background)

    def _describe(self, task: asyncio.Task[Any]) -> tuple[str, str | None]:
        """Return what a task is, for the log; on the watching thread."""
        for call in list(self._calls.values()):
            if call.task is task:
                return f"the coroutine {call}", call.request_id
        stream = self._streams.task_of(task) if self._streams is not None else None
        if stream is not None:
            return f"the producer of {stream}", stream.request_id
        return f"the task {task.get_name()}", None
