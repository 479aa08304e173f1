"""Running a worker's event loop to the end of its work, whatever else ends on it.

A task or callback of the application that raises `SystemExit` or `KeyboardInterrupt`, or stops the
loop, ends asyncio's loop and with it every other request. A view on a thread that does so is
answered 500; so here the loop turns on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from flasknado.native.escaped import answer_escaped


def run_to_end(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None], log: Any) -> None:
    """Run a loop until `work` has ended, and raise what that raises. On the loop's thread.

    log: a logger, told of whatever else tried to end the loop.
    """
    task = loop.create_task(work)
    while True:
        try:
            loop.run_until_complete(task)
            return
        except (SystemExit, KeyboardInterrupt) as error:
            if task.done():
                raise
            log.error(
                "a task or callback of the application tried to end the server, which goes on",
                exc_info=error,
            )
            _answer(error, log)
        except RuntimeError:
            if task.done() or loop.is_closed():
                raise
            log.error("the application stopped the event loop of the server, which goes on")


def _answer(error: BaseException, log: Any) -> None:
    try:
        answer_escaped(error)
    except Exception:
        log.exception("a native handler could not be answered for")
