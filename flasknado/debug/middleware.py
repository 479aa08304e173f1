"""The script that reloads a page, put into what a WSGI application answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flasknado.debug.injection import Injector, Page
from flasknado.wsgi.handoff import HANDOFF_KEY
from flasknado.wsgi.run import WSGIApplication

Headers = list[tuple[str, str]]


class InjectingMiddleware:
    """WSGI middleware that makes pages reload themselves.

    Clients that show pages get them uncompressed, as a script cannot be put into what is
    compressed.
    """

    def __init__(self, application: WSGIApplication, injector: Injector) -> None:
        self.application = application
        self._injector = injector

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        if "text/html" in environ.get("HTTP_ACCEPT", ""):
            environ["HTTP_ACCEPT_ENCODING"] = "identity"
        response = _Response(self._injector, environ, start_response)
        iterable = self.application(environ, response.start)
        if response.passed or HANDOFF_KEY in environ:
            response.leave()
            return iterable
        return _Injected(iterable, response)


class _Response:
    """One response; its head is held back until the first part shows whether it is a page."""

    def __init__(
        self, injector: Injector, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> None:
        self._injector = injector
        self._environ = environ
        self._start_response = start_response
        self._held: tuple[str, Headers, Any] | None = None
        self._write: Callable[[bytes], None] | None = None
        self._page: Page | None = None
        self._left = False
        self.passed = False
        """Whether its head has been passed on as it was."""

    def start(self, status: str, headers: Headers, exc_info: Any = None) -> Callable[..., None]:
        """Take the head of the response (PEP 3333)."""
        if not self._left:
            environ = self._environ
            self._page = self._injector.page(
                status=int(status[:3]) if status[:3].isdigit() else 0,
                fields=headers,
                host=environ.get("HTTP_HOST", ""),
                destination=environ.get("HTTP_SEC_FETCH_DEST"),
                path=environ.get("PATH_INFO", ""),
            )
            if self._page is not None and environ["REQUEST_METHOD"] == "HEAD":
                # How long the page would be is not known.
                headers = [field for field in headers if field[0].lower() != "content-length"]
                self._page = None
        if self._left or self._page is None:
            self._held, self.passed = None, True
            return self._start_response(status, headers, exc_info)  # type: ignore[no-any-return]
        self._held, self.passed = (status, headers, exc_info), False
        return self._write_part

    def leave(self) -> None:
        """Let what is held back, and all that follows, pass as it is."""
        self._left = True
        self._let_go()

    def part(self, chunk: bytes) -> bytes:
        """Return a part of the body as it is to be sent, once the head has been."""
        page = self._page
        if page is None or not chunk or not isinstance(chunk, bytes):
            return chunk
        if self._held is not None and page.begin(chunk):
            status, headers, exc_info = self._held
            added = len(page.tag)
            self._held = status, [_longer(field, added) for field in headers], exc_info
        self._let_go()
        return page.part(chunk)

    def end(self) -> bytes:
        """Return what follows the last part."""
        if self._held is not None:  # and so there was none
            self._let_go()
            return b""
        return self._page.end() if self._page is not None else b""

    def _let_go(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            self._write = self._start_response(*held)

    def _write_part(self, chunk: bytes) -> None:
        """Be the `write()` of an application that calls it (PEP 3333)."""
        part = self.part(chunk)
        self._let_go()
        if self._write is not None:
            self._write(part)


class _Injected:
    """The parts of a response, with the script."""

    def __init__(self, iterable: Iterable[bytes], response: _Response) -> None:
        self._iterable = iterable
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._iterable:
            yield self._response.part(chunk)
        tail = self._response.end()
        if tail:
            yield tail

    def close(self) -> None:
        close = getattr(self._iterable, "close", None)
        if close is not None:
            close()


def _longer(field: tuple[str, str], added_bytes: int) -> tuple[str, str]:
    name, value = field
    if name.lower() == "content-length" and value.isdigit():
        return name, str(int(value) + added_bytes)
    return field
