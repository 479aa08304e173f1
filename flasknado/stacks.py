"""Stacks in the log: below their record, not in its message, which is one line."""

from __future__ import annotations

import logging
import traceback


def log_stack(
    logger: logging.Logger,
    stack: str,
    message: str,
    *args: object,
    level: int = logging.ERROR,
    request_id: str | None = None,
) -> None:
    """Log a message with a stack of any thread below it. May be called on any thread.

    logging itself takes only the stack of the caller. request_id: the request that it is about,
    if the calling code serves another, or none.
    """
    if not logger.isEnabledFor(level):
        return
    extra = {} if request_id is None else {"request_id": request_id}
    # With no file or line: those of this function would be misleading.
    record = logger.makeRecord(
        logger.name, level, "", 0, message, args, None, extra=extra, sinfo=stack.rstrip()
    )
    logger.handle(record)


def awaiting_stack(awaitable: object) -> str:
    """Return the stack of a suspended coroutine or generator, down to what it waits in."""
    lines: list[str] = []
    while awaitable is not None:
        for kind, inner in (("cr", "cr_await"), ("ag", "ag_await"), ("gi", "gi_yieldfrom")):
            frame = getattr(awaitable, f"{kind}_frame", None)
            if frame is not None:
                lines += traceback.format_stack(frame, limit=1)
                awaitable = getattr(awaitable, inner, None)
                break
        else:
            break
    return "".join(lines)
