"""Werkzeug's interactive debugger around a WSGI application.

`DebuggedApplication` would put a generator around every response, behind which files and streams
are not recognised any more. Here it is asked only when there is an error to show, by an
application that does nothing but raise it.

Without Werkzeug, which an application of another framework need not have, the page shows the
traceback alone. Who is not a program of this machine gets neither (`flasknado.debug.local`).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Final

from flasknado.debug.local import is_local_environ
from flasknado.debug.tracebacks import (
    page_of,
    sentence_page,
    text_of,
    wants_page,
    without_frames_of,
)
from flasknado.errors import ClientDisconnected, FlasknadoError
from flasknado.wsgi.file_wrapper import FILE_TYPES
from flasknado.wsgi.handoff import HANDOFF_KEY
from flasknado.wsgi.run import WSGIApplication
from flasknado.wsgi.streams import StreamsFull

CONSOLE_PATH: Final = "/console"
KEPT_FRAMES: Final = 2000
"""So many frames of errors can be looked into; those of older errors are let go."""

HINT: Final = "The page reloads when the code has changed. This is development mode (--debug)."

_PRESERVE_KEY: Final = "werkzeug.debug.preserve_context"
_FAILURE_KEY: Final = "flasknado.debug.failure"


class Unloaded:
    """An application in place of one that could not be loaded: raises why, for every request.

    error: with the traceback that is to be shown.
    """

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.trace = error.__traceback__

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:  # noqa: ARG002
        environ["wsgi.errors"] = io.StringIO()  # the log has it from the start
        raise self.error.with_traceback(self.trace)


class Refusal(FlasknadoError):
    """What ended the start with a sentence; shown without a traceback."""

    title: Final = "The application cannot start"


class _Failure:
    """An error on its way into Werkzeug's debugger, and the contexts that it happened in."""

    def __init__(self, error: Exception, contexts: list[AbstractContextManager[None]]) -> None:
        self.error = error
        self.contexts = contexts


class Debugger:
    """WSGI middleware: answers errors with Werkzeug's debugger, or with their traceback.

    on_error: called with each error, on the thread that ran the application.
    """

    def __init__(
        self, application: WSGIApplication, on_error: Callable[[BaseException], None]
    ) -> None:
        self.application = application
        self._on_error = on_error
        self._werkzeug = _werkzeug_debugger()

    @property
    def pin(self) -> str | None:
        """What the debugger asks for before it runs code; `None` if it runs none."""
        return self._werkzeug.pin if self._werkzeug is not None else None

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        __traceback_hide__ = True  # noqa: F841 (read by Werkzeug)
        if self._werkzeug is not None and _is_for_werkzeug(environ) and is_local_environ(environ):
            return self._werkzeug(environ, start_response)  # type: ignore[no-any-return]
        contexts: list[AbstractContextManager[None]] = []
        if self._werkzeug is not None:
            environ[_PRESERVE_KEY] = contexts.append
        try:
            iterable = self.application(environ, start_response)
        except (ClientDisconnected, StreamsFull):
            raise
        except Exception as error:
            return self._answer(error, contexts, environ, start_response)
        if (
            HANDOFF_KEY in environ
            or isinstance(iterable, (list, tuple))
            or type(iterable) in FILE_TYPES
        ):
            return iterable
        return _Watched(self, iterable, contexts, environ, start_response)

    def answer_late(
        self,
        error: Exception,
        contexts: list[AbstractContextManager[None]],
        environ: dict[str, Any],
        start_response: Callable[..., Any],
    ) -> Iterable[bytes]:
        """Answer an error of a response that has begun, and of which nothing has been sent."""

        def again(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(
                status, headers, exc_info or (type(error), error, error.__traceback__)
            )

        return self._answer(error, contexts, environ, again)

    def _answer(
        self,
        error: Exception,
        contexts: list[AbstractContextManager[None]],
        environ: dict[str, Any],
        start_response: Callable[..., Any],
    ) -> Iterable[bytes]:
        self._on_error(error)
        if not is_local_environ(environ):
            raise error
        error.__traceback__ = without_frames_of(error, ("flasknado.debug",))
        text = f"{error}\n" if isinstance(error, Refusal) else text_of(error)
        if not wants_page(environ.get("HTTP_ACCEPT", "")):
            shown, content_type = text, "text/plain"
        elif isinstance(error, Refusal):
            shown, content_type = sentence_page(error.title, text, HINT), "text/html"
        elif self._werkzeug is None:
            shown, content_type = page_of(error, HINT), "text/html"
        else:
            environ[_FAILURE_KEY] = _Failure(error, contexts)
            return list(self._werkzeug.debug_application(environ, start_response))
        environ["wsgi.errors"].write(text)
        return _answered(start_response, shown, content_type)


class _Watched:
    """The parts of a response; an error before the first of them is answered like any other."""

    def __init__(
        self,
        debugger: Debugger,
        iterable: Iterable[bytes],
        contexts: list[AbstractContextManager[None]],
        environ: dict[str, Any],
        start_response: Callable[..., Any],
    ) -> None:
        self._debugger = debugger
        self._iterable = iterable
        self._contexts = contexts
        self._environ = environ
        self._start_response = start_response

    def __iter__(self) -> Iterator[bytes]:
        __traceback_hide__ = True  # noqa: F841 (read by Werkzeug)
        sent = False
        try:
            for chunk in self._iterable:
                sent = sent or bool(chunk)
                yield chunk
        except (ClientDisconnected, StreamsFull):
            raise
        except Exception as error:
            if sent:
                raise
            yield from self._debugger.answer_late(
                error, self._contexts, self._environ, self._start_response
            )

    def close(self) -> None:
        close = getattr(self._iterable, "close", None)
        if close is not None:
            close()


def _is_for_werkzeug(environ: dict[str, Any]) -> bool:
    return (
        "__debugger__=yes" in environ.get("QUERY_STRING", "")
        or environ.get("PATH_INFO") == CONSOLE_PATH
    )


def _answered(start_response: Callable[..., Any], text: str, content_type: str) -> list[bytes]:
    body = text.encode("utf-8", "backslashreplace")
    fields = [
        ("Content-Type", f"{content_type}; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("X-Content-Type-Options", "nosniff"),
        ("Cache-Control", "no-store"),
    ]
    start_response("500 Internal Server Error", fields)
    return [body]


def _raise(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ARG001
    """Be the application whose error Werkzeug's debugger shows."""
    __traceback_hide__ = True  # noqa: F841 (read by Werkzeug)
    failure: _Failure = environ.pop(_FAILURE_KEY)
    for context in failure.contexts:
        environ[_PRESERVE_KEY](context)
    raise failure.error


def _werkzeug_debugger() -> Any:
    """Return Werkzeug's debugger around `_raise`, or `None` where there is no Werkzeug."""
    try:
        from werkzeug.debug import DebuggedApplication
    except ImportError:
        return None

    class WerkzeugDebugger(DebuggedApplication):
        """Trusts the hosts that `flasknado.debug.local` does, and forgets old frames."""

        def check_host_trust(self, environ: dict[str, Any]) -> bool:
            return is_local_environ(environ)

        def debug_application(self, environ: Any, start_response: Any) -> Iterator[bytes]:
            yield from super().debug_application(environ, start_response)
            for old in list(self.frames)[:-KEPT_FRAMES]:  # other threads may be here, too
                self.frames.pop(old, None)
                self.frame_contexts.pop(old, None)

    debugger = WerkzeugDebugger(_raise, evalex=True, console_path=CONSOLE_PATH)
    if debugger.pin is None:  # the application has turned it off
        debugger.evalex = False
    return debugger
