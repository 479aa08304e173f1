"""Native handlers in development mode: their errors as tracebacks, their pages with the script."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.web import Application, HTTPError, OutputTransform, RequestHandler

from flasknado.debug.debugger import HINT
from flasknado.debug.injection import Injector, Page
from flasknado.debug.local import is_local
from flasknado.debug.tracebacks import page_of, text_of, wants_page, without_frames_of

DEBUG_KEY: Final = "flasknado.debug"
"""What the settings of an application in development mode have."""

_own_write_error: Final = RequestHandler.write_error


def install(application: Application, injector: Injector) -> None:
    """Have the handlers of an application show tracebacks, and their pages reload themselves.

    Handlers with a `write_error` of their own keep it. Templates and static files are read anew.
    """
    application.settings[DEBUG_KEY] = True
    application.settings["compiled_template_cache"] = False
    application.settings["static_hash_cache"] = False
    transform: Any = partial(InjectingTransform, injector)
    application.transforms.insert(0, transform)  # before what compresses
    # Nothing else of Tornado's is asked for every kind of handler.
    RequestHandler.write_error = _write_error  # type: ignore[method-assign]


class InjectingTransform(OutputTransform):
    """Makes the pages of native handlers reload themselves."""

    def __init__(self, injector: Injector, request: HTTPServerRequest) -> None:
        self._injector = injector
        self._request = request
        self._page: Page | None = None

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        request = self._request
        length = headers.get("Content-Length")
        if chunk or not (finishing or length):
            self._page = self._injector.page(
                status=status_code,
                fields=list(headers.get_all()),
                host=request.headers.get("Host", ""),
                destination=request.headers.get("Sec-Fetch-Dest"),
                path=request.path,
            )
        if self._page is not None and length and self._page.begin(chunk):
            headers["Content-Length"] = str(int(length) + len(self._page.tag))
        return status_code, headers, self.transform_chunk(chunk, finishing)

    def transform_chunk(self, chunk: bytes, finishing: bool) -> bytes:
        if self._page is None:
            return chunk
        part = self._page.part(chunk) if chunk else chunk
        return part + self._page.end() if finishing else part


def _write_error(self: RequestHandler, status_code: int, **kwargs: Any) -> None:
    """Be `RequestHandler.write_error`: write the traceback of an error that nobody expected."""
    error = kwargs.get("exc_info", (None, None))[1]
    request = self.request
    if (
        error is None
        or isinstance(error, HTTPError)
        or DEBUG_KEY not in self.settings
        or not is_local(
            str(request.remote_ip), request.headers.get("Host", ""), request.headers.keys()
        )
    ):
        _own_write_error(self, status_code, **kwargs)
        return
    error.__traceback__ = without_frames_of(error, ("tornado.web",))
    if wants_page(request.headers.get("Accept", "")):
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(page_of(error, HINT))
    else:
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(text_of(error))
