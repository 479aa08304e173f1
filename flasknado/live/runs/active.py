"""One run in the process that runs it: a generator, whose output becomes buffered events."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import threading
import time
from collections.abc import AsyncIterable, Callable, Iterable
from typing import Any, Final

from flasknado.http.request_id import current_request_id
from flasknado.live.errors import BufferFull, LiveError
from flasknado.live.log.base import Log
from flasknado.live.log.tables import Draft
from flasknado.live.options import LiveOptions
from flasknado.live.runs.errors import RunTooLong
from flasknado.live.runs.store import (
    CANCELLED,
    FAILED,
    FINISHED,
    INTERRUPTED,
    RESULT,
    event_data,
)

log = logging.getLogger("flasknado.live")

BUFFER_FULL_POLL_S: Final = 0.05
BUFFER_FULL_TIMEOUT_S: Final = 30.0
"""How long a run on the loop waits for room in the buffer of events before it fails."""
WORK_PER_TURN: Final = 8
"""How many outputs one run may publish before others have their turn of the loop."""

Source = AsyncIterable[Any] | Iterable[Any]
Turn = Callable[[], asyncio.Future[None] | None]
"""Returns what to await before more is published, or `None` if that may be at once."""
Encode = Callable[[object, int], str]
"""Returns data as JSON, of at most so many bytes; raises `InvalidEvent`."""


class ActiveRun:
    """A run that has been noted, and its generator.

    `output` is the name of the events of what it yields. `on_end(run, drafts)` is called once,
    with the last events to publish. Its methods may be called on any thread.
    """

    def __init__(
        self,
        run_id: str,
        channel: str,
        output: str,
        source: Source,
        live_log: Log,
        options: LiveOptions,
        encode: Encode,
        on_end: Callable[[ActiveRun, list[Draft]], None],
        *,
        keep_result: bool,
    ) -> None:
        self.id = run_id
        self.channel = channel
        self._output = output
        self._source = source
        self._log = live_log
        self._options = options
        self._encode = encode
        self._on_end = on_end
        self._parts: list[Any] | None = [] if keep_result else None
        self._lock = threading.Lock()
        """Held while an event is published, so that none comes after the end."""
        self.ended = False
        self.outcome = INTERRUPTED
        """The name of the event of its end, once it has ended."""
        self.began_at = time.monotonic()
        self._outputs = 0
        self._size_bytes = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None

    @property
    def is_async(self) -> bool:
        """Whether its generator is asynchronous."""
        return isinstance(self._source, AsyncIterable)

    def start_on_loop(
        self,
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context,
        done: Callable[[], object],
        turn: Turn,
    ) -> None:
        """Iterate on a running loop; `done()` is called there at the end, outside the context."""

        def start() -> None:
            task = loop.create_task(self.iterate_async(turn), context=context, name=str(self))
            task.add_done_callback(lambda _: done())

        loop.call_soon_threadsafe(start)

    async def iterate_async(self, turn: Turn | None = None) -> None:
        """Iterate an asynchronous generator, on this loop.

        `turn()` says when it is this run's turn, if others are on the loop.
        """
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        assert isinstance(self._source, AsyncIterable)
        work = 0
        try:
            if not self.ended:
                async for item in self._source:
                    if not await self._publish_soon(item):
                        break
                    if turn is not None:
                        its_turn = turn()
                        if its_turn is not None:
                            await its_turn
                    work += 1
                    if work % WORK_PER_TURN == 0:
                        await asyncio.sleep(0)
        except asyncio.CancelledError as error:
            if self.ended or (self._task is not None and self._task.cancelling()):
                self.interrupt()
            else:
                self.fail(error)
        except BaseException as error:  # also what would end the loop, such as SystemExit
            self.fail(error)
        else:
            self.finish()
        finally:
            self._task = None
            aclose = getattr(self._source, "aclose", None)
            if aclose is not None:
                await self._close(aclose)

    async def _close(self, aclose: Callable[[], Any]) -> None:
        try:
            await aclose()
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            log.error("%s failed while it was closed", self, exc_info=error)

    def iterate(self) -> None:
        """Iterate a synchronous generator, on this thread."""
        assert isinstance(self._source, Iterable)
        try:
            if not self.ended:
                for item in self._source:
                    if not self._publish(item):
                        break
        except BaseException as error:
            self.fail(error)
        else:
            self.finish()
        finally:
            close = getattr(self._source, "close", None)
            if close is not None:
                try:
                    close()
                except BaseException as error:
                    log.error("%s failed while it was closed", self, exc_info=error)

    async def _publish_soon(self, item: object) -> bool:
        """Publish one output, once the buffer has room; false if the run has ended."""
        ends_at = time.monotonic() + BUFFER_FULL_TIMEOUT_S
        while True:
            try:
                return self._publish(item)
            except BufferFull:
                if time.monotonic() >= ends_at:
                    raise
                await asyncio.sleep(BUFFER_FULL_POLL_S)

    def _publish(self, item: object) -> bool:
        data = self._encode({"run": self.id, "data": item}, self._options.max_data_bytes)
        limit_bytes = self._options.max_run_bytes
        if self._size_bytes + len(data) > limit_bytes:
            raise RunTooLong(
                f"a run may publish {limit_bytes} bytes (LIVE_MAX_RUN_BYTES), and it has more"
            )
        with self._lock:
            if self.ended:
                return False
            self._log.publish_buffered(Draft(self.channel, self._output, data, buffered=True))
        self._size_bytes += len(data)
        self._outputs += 1
        if self._parts is not None:
            self._parts.append(item)
        return True

    # How it ends: the first of these counts.

    def finish(self) -> None:
        """Publish that its generator has ended, and what it made, if that is to be kept."""
        drafts: list[Draft] = []
        said: dict[str, Any] = {"outputs": self._outputs}
        if self._parts is not None:
            try:
                whole = {"run": self.id, "data": _joined(self._parts)}
                data = self._encode(whole, self._options.max_data_bytes)
            except LiveError as error:
                said["result"] = f"not kept: {error}"
            else:
                drafts.append(Draft(self.channel, RESULT, data))
        self._end(FINISHED, drafts, **said)

    def fail(self, error: BaseException) -> None:
        """Publish that it has failed. What its limits say is told to the client, nothing else."""
        if self.ended:
            return
        if isinstance(error, LiveError):
            log.warning("%s has failed: %s", self, error)
            self._end(FAILED, message=str(error))
            return
        log.error("%s has failed", self, exc_info=error)
        request_id = current_request_id.get()
        reference = f" Reference: {request_id}" if request_id else ""
        self._end(FAILED, message=f"The run failed.{reference}")

    def cancel(self) -> None:
        """Publish that it was cancelled, and stop its generator."""
        self._end(CANCELLED)
        self._stop()

    def interrupt(self) -> None:
        """Publish that the server stops, and stop its generator."""
        self._end(INTERRUPTED, message="the server that ran it has stopped")
        self._stop()

    def time_out(self) -> None:
        """Publish that it took too long, and stop its generator."""
        limit = f"{self._options.run_timeout_s:g} s (LIVE_RUN_TIMEOUT_S)"
        self.fail(RunTooLong(f"a run may take {limit}, and it has taken longer"))
        self._stop()

    def forsake(self) -> None:
        """Stop its generator, because another process has told its end."""
        with self._lock:
            told, self.ended = self.ended, True
        if not told:
            log.warning("%s was stopped: others took it for interrupted", self)
            self._on_end(self, [])
        self._stop()

    def _end(self, name: str, drafts: list[Draft] | None = None, **said: Any) -> None:
        with self._lock:
            if self.ended:
                return
            self.ended = True
            self.outcome = name
        end = Draft(self.channel, name, event_data(self.id, **said))
        self._on_end(self, [*(drafts or []), end])

    def _stop(self) -> None:
        """Cancel the generator where it awaits; a synchronous one is closed at its next output."""
        loop, task = self._loop, self._task
        if loop is not None and task is not None:
            with contextlib.suppress(RuntimeError):  # the loop has closed
                loop.call_soon_threadsafe(task.cancel)

    def __str__(self) -> str:
        return f"the run {self.id} on {self.channel!r}"


def _joined(parts: list[Any]) -> Any:
    """Return the outputs as one: text that was yielded in pieces is one text."""
    if parts and all(isinstance(part, str) for part in parts):
        return "".join(parts)
    return parts
