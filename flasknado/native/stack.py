"""A function in Flask's request context, by way of the application's own WSGI stack.

The WSGI callable that is served is called as for any request, with a `StackCall` in the
environ. So whatever stands around Flask has its say first: it changes the environ
(`ProxyFix`, single sign-on), or answers by itself, which refuses the call. At the innermost
place, where Flask would dispatch the request, the function runs instead.

    call = StackCall(app, function)
    result = call.run(wsgi_callable, environ)

No Tornado's loop here, and no socket: everything is called on the thread that runs the call.
Flask is imported where there is an application of it: other applications are served without.
"""

from __future__ import annotations

import http
import json
import re
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from tornado.web import HTTPError

from flasknado.errors import FlasknadoError

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.wrappers import Response

CALL_KEY: Final = "flasknado.native_call"
"""Where the environ of a native request holds its `StackCall`."""

HOOK_KEY: Final = "flasknado.native_hook"

BODY_BYTES: Final = 64 * 1024
"""How much of an answer is read, to find out what it says."""

DONE_STATUS: Final = 204
"""What the stack is answered with when the function has run."""

_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_KNOWN: Final = frozenset(status.value for status in http.HTTPStatus)
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_BAD_VALUE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NOT_PASSED_ON: Final = frozenset(
    (
        "connection",
        "date",
        "etag",
        "keep-alive",
        "last-modified",
        "server",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
"""Fields of an answer that are about its connection, or about a content that is not sent."""


class Refused(FlasknadoError, HTTPError):
    """The application refused a native request, or could not be called.

    `status_code` is the status of the answer, `message` its text for the client, `headers` its
    other header fields (`WWW-Authenticate`, `Retry-After`, `Location`), `cookies` the values of
    its `Set-Cookie` fields.
    """

    def __init__(
        self,
        status: int,
        message: str,
        headers: dict[str, str] | None = None,
        cookies: Iterable[str] = (),
    ) -> None:
        super().__init__(status)
        self.message = message
        self.headers = headers or {}
        self.cookies = list(cookies)


class StackCall:
    """One function to run once, in one request context of `app`."""

    __slots__ = ("_app", "_function", "_ran", "_refusal", "_response_status", "_result")

    def __init__(self, app: Flask, function: Callable[[], Any]) -> None:
        self._app = app
        self._function = function
        self._ran = False
        self._result: Any = None
        self._refusal: Refused | None = None
        self._response_status = 0

    def run(self, application: Callable[..., Iterable[bytes]], environ: dict[str, Any]) -> Any:
        """Call the WSGI application, and return what the function returned in it.

        Raises `Refused` if it was not run, or did not return. `hook(app)` must have been called.
        """
        environ[CALL_KEY] = self
        answer = _Answer()
        try:
            answer.read(application(environ, answer.start_response))
        except BaseException:  # of middleware, of a teardown function, or `sys.exit()`
            self._app.logger.exception("a native request failed in the application's WSGI stack")
            raise _failure() from None
        if not answer.status:
            self._app.logger.error(
                "the application's WSGI stack did not call start_response() for a native request"
            )
            raise _failure()
        if answer.status == self._response_status:
            if self._refusal is not None:
                raise self._refusal
            if self._ran:
                return self._result
        raise answer.refusal()

    def respond(self, app: Flask) -> Response | None:
        """Run the function where a request would be dispatched; `None`: this is none of its app."""
        if app is not self._app:
            return None
        if self._response_status:
            # Middleware that asks again gets the same answer: the function runs once.
            return app.response_class(status=self._response_status)
        response = self._respond()
        self._response_status = response.status_code
        return response

    def _respond(self) -> Response:
        app = self._app
        try:
            answer = app.preprocess_request()
            if answer is not None:
                response = app.make_response(answer)
                self._refusal = _refused_by(response)
                return response
            self._result = self._function()
        except Exception as error:
            return self._failed(error)
        self._ran = True
        return app.response_class(status=DONE_STATUS)

    def _failed(self, error: Exception) -> Response:
        """Return what the application's own error handlers make of an exception."""
        app = self._app
        if isinstance(error, Refused):
            self._refusal = error
            return app.response_class(status=error.status_code)
        try:
            response = app.make_response(app.handle_user_exception(error))
        except Exception:
            app.log_exception(sys.exc_info())
            self._refusal = _failure()
            return app.response_class(status=self._refusal.status_code)
        self._refusal = _refused_by(response, error)
        return response


def hook(app: Flask) -> None:
    """Have an application run a `StackCall` where it would dispatch a request; once is enough.

    Nothing else changes for it: an environ without a call is dispatched as before.
    """
    if HOOK_KEY in app.extensions:
        return
    from flask import request

    dispatch = app.full_dispatch_request

    def run_or_dispatch() -> Any:
        call = request.environ.get(CALL_KEY)
        response = call.respond(app) if isinstance(call, StackCall) else None
        return dispatch() if response is None else response

    app.full_dispatch_request = run_or_dispatch  # type: ignore[method-assign]
    app.extensions[HOOK_KEY] = run_or_dispatch


class _Answer:
    """What a WSGI stack answers with, as far as it matters."""

    __slots__ = ("_body", "_fields", "status")

    def __init__(self) -> None:
        self.status = 0
        self._fields: list[tuple[str, str]] = []
        self._body = b""

    def start_response(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: Any = None,  # noqa: ARG002
    ) -> Callable[[bytes], None]:
        """Take the head of the answer (PEP 3333)."""
        code = status[:3]
        self.status = int(code) if code.isdecimal() else 500
        self._fields = list(headers)
        self._body = b""
        return self._write

    def _write(self, data: bytes) -> None:
        if len(self._body) < BODY_BYTES:
            self._body += data

    def read(self, iterable: Iterable[bytes]) -> None:
        """Read the answer, as far as is kept, and close it."""
        try:
            for part in iterable:
                self._write(part)
                if len(self._body) >= BODY_BYTES:
                    break
        finally:
            close = getattr(iterable, "close", None)
            if close is not None:
                close()

    def refusal(self) -> Refused:
        """Return what the answer means for a native request, whatever its status is."""
        headers: dict[str, str] = {}
        cookies: list[str] = []
        content_type = ""
        for name, value in self._fields:
            lower = name.lower()
            if _TOKEN.match(name) is None or _BAD_VALUE.search(value) is not None:
                continue
            if lower == "content-type":
                content_type = value
            elif lower == "set-cookie":
                cookies.append(value)
            elif lower not in _NOT_PASSED_ON and not lower.startswith("content-"):
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
        redirects = self.status in _REDIRECTS and "location" in map(str.lower, headers)
        status = self.status if self.status >= 400 or redirects else 403
        said = None
        if content_type.partition(";")[0].strip().lower() == "application/json":
            said = _message_in(self._body)
        return Refused(status, said or _phrase(status), headers, cookies)


def _refused_by(response: Response, error: Exception | None = None) -> Refused:
    from werkzeug.exceptions import HTTPException

    # A redirect (to a login page, say) leads a live client nowhere.
    status = response.status_code if response.status_code >= 400 else 403
    message = None
    if response.mimetype == "application/json":
        message = _message_in(response.get_data())
    if message is None and isinstance(error, HTTPException):
        message = error.description
    kept = ("WWW-Authenticate", "Retry-After")
    headers = {name: response.headers[name] for name in kept if name in response.headers}
    return Refused(status, message or _phrase(status), headers)


def _message_in(body: bytes) -> str | None:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    message = said.get("message") if isinstance(said, dict) else None
    return message if isinstance(message, str) else None


def _phrase(status: int) -> str:
    return http.HTTPStatus(status).phrase if status in _KNOWN else "refused"


def _failure() -> Refused:
    return Refused(500, "the application failed; the error has been logged")
