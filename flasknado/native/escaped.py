"""Handlers that a `SystemExit` or `KeyboardInterrupt` has gone through: Tornado answers neither."""

from __future__ import annotations

import traceback

from tornado.web import RequestHandler

from flasknado.native import tornado_private


def answer_escaped(error: BaseException) -> None:
    """Have the handler that has raised `error`, if it was one, answer 500. On the loop's thread."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        handler = frame.f_locals.get("self")
        if isinstance(handler, RequestHandler) and not tornado_private.has_finished(handler):
            handler.send_error(500)
            return
