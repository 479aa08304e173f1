"""Coroutines that a thread has the event loop run, while it waits for what they return.

The coroutine runs in a copy of the thread's context (`contextvars`), and what it sets there is
set for the thread, too, once it has returned: a context can be entered by one thread only.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from flasknado.errors import CoroutineCancelled
from flasknado.http.mailbox import Mailbox
from flasknado.http.request_id import current_request_id

CLOSED_POLL_S = 1.0
"""How often a waiting thread looks whether the loop has closed without an answer."""


class CoroutineCall:
    """One call of a coroutine function. `result()` belongs to the thread, the rest to the loop."""

    __slots__ = (
        "_args",
        "_context",
        "_done",
        "_error",
        "_function",
        "_kwargs",
        "_loop",
        "_reason",
        "_result",
        "task",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        function: Callable[..., Coroutine[Any, Any, Any]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._loop = loop
        self._function = function
        self._args = args
        self._kwargs = kwargs
        self._context = contextvars.copy_context()
        self._done = threading.Lock()
        self._done.acquire()
        self._result: Any = None
        self._error: BaseException | None = None
        self._reason: str | None = None
        self.task: asyncio.Task[None] | None = None

    def result(self, mailbox: Mailbox) -> Any:
        """Have the loop run it, and return or raise what it does; waits.

        Raises `CoroutineCancelled` if the server cancelled it.
        """
        mailbox.post(self._begin)
        while not self._done.acquire(timeout=CLOSED_POLL_S):
            if self._loop.is_closed():
                raise CoroutineCancelled("the server has stopped")
        self._take_context_over()
        error = self._error
        if error is None:
            return self._result
        try:
            if self._reason is not None and isinstance(error, asyncio.CancelledError):
                raise CoroutineCancelled(self._reason) from error
            raise error
        finally:
            del error
            self._error = None

    def _take_context_over(self) -> None:
        for variable, value in self._context.items():
            try:
                if variable.get() is value:
                    continue
            except LookupError:
                pass
            variable.set(value)

    # On the loop's thread.

    def _begin(self) -> None:
        if self._reason is not None:
            self._error = asyncio.CancelledError()
            self._done.release()
        else:
            self.task = self._loop.create_task(self._run(), context=self._context)

    async def _run(self) -> None:
        try:
            self._result = await self._function(*self._args, **self._kwargs)
        except BaseException as error:  # also what would end the loop, such as SystemExit
            self._error = error
        finally:
            self.task = None
            self._done.release()

    def cancel(self, reason: str) -> None:
        """Cancel it, once; what it awaits raises `asyncio.CancelledError`."""
        if self._reason is None:
            self._reason = reason
            if self.task is not None:
                self.task.cancel()

    def __str__(self) -> str:
        function = self._function
        name = f"{function.__module__}.{getattr(function, '__qualname__', function)}"
        return f"{name} [{self.request_id}]"

    @property
    def request_id(self) -> str | None:
        """The id of the request that it serves."""
        return self._context.get(current_request_id)
