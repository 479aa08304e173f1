"""Where a server's work is done: on an event loop and a lane of threads, or at once, for tests."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from flasknado.http.mailbox import mailbox_of
from flasknado.native.lane import Lane, LaneSettings, lane_of
from flasknado.pool import PoolFull, Task

LANE_NAME = "socketio"


class Runtime(Protocol):
    """What a server needs to have work done."""

    is_direct: bool
    """Whether everything is done at once, for a test client."""

    def post(self, call: Callable[..., object], *args: Any) -> None:
        """Have a call made on the loop's thread soon; on any thread."""

    def soon(self, call: Callable[[], None]) -> object:
        """Have a call made on the loop's next turn; on the loop's thread."""

    def run(self, what: str, function: Callable[[], None]) -> bool:
        """Have a function run on a thread; false if too many wait. On the loop's thread."""

    def is_own_thread(self) -> bool:
        """Return whether this is the loop's thread, which must not wait."""


class ThreadCall(Task):
    """One function to run on a lane; `what` it is for is named if it hangs."""

    __slots__ = ("_function", "what")

    def __init__(self, what: str, function: Callable[[], None]) -> None:
        super().__init__()
        self.what = what
        self._function = function

    def run(self) -> None:
        self._function()

    def shed(self) -> None:
        """Never called: nothing on a lane is shed."""


class LoopRuntime:
    """An event loop, and a lane of threads."""

    is_direct = False

    def __init__(
        self, loop: asyncio.AbstractEventLoop, http_server: Any, threads: int, queue_limit: int
    ) -> None:
        self._loop = loop
        self._mailbox = mailbox_of(loop)
        self._lane: Lane = lane_of(LaneSettings(LANE_NAME, threads, queue_limit), http_server)
        self.post = self._mailbox.post
        self.soon = loop.call_soon

    def run(self, what: str, function: Callable[[], None]) -> bool:
        try:
            self._lane.start(ThreadCall(what, function))
        except PoolFull:
            return False
        return True

    def is_own_thread(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False


class DirectRuntime:
    """Everything on the calling thread, when what is under way has ended; for the test client."""

    is_direct = True

    def __init__(self) -> None:
        self._calls: deque[Callable[[], object]] = deque()
        self._busy = False

    def post(self, call: Callable[..., object], *args: Any) -> None:
        call(*args)

    def soon(self, call: Callable[[], None]) -> object:
        self._calls.append(call)
        self._drain()
        return None

    def run(self, what: str, function: Callable[[], None]) -> bool:  # noqa: ARG002
        self._calls.append(function)
        self._drain()
        return True

    def is_own_thread(self) -> bool:
        return False

    def _drain(self) -> None:
        if self._busy:
            return
        self._busy = True
        try:
            while self._calls:
                self._calls.popleft()()
        finally:
            self._busy = False
