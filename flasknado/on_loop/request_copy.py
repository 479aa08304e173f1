"""The context of a request for what goes on after its view has ended."""

from __future__ import annotations

import contextvars
from collections.abc import Callable

import flask
from flask import current_app
from flask.globals import request_ctx

from flasknado.http.request_id import current_request_id


class RequestCopy:
    """A copy of the running request's context; entered once, on any thread.

    Without a request it is of the application's context alone.
    """

    def __init__(self) -> None:
        self._copy = (
            request_ctx.copy() if flask.has_request_context() else current_app.app_context()
        )
        self._request_id = current_request_id.get()
        app: flask.Flask = current_app._get_current_object()  # type: ignore[attr-defined]
        self.leaving_blocks = bool(app.teardown_request_funcs or app.teardown_appcontext_funcs)
        """Whether functions of the application run when it is left, which may block."""

    def enter(self) -> tuple[contextvars.Context, Callable[[], None]]:
        """Return a context in which the copy is pushed, and what is called in it at the end."""
        context = contextvars.Context()
        context.run(self._push)
        return context, self._copy.pop

    def _push(self) -> None:
        current_request_id.set(self._request_id)
        self._copy.push()
