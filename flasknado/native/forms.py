"""Forms sent to native handlers: parsed when a handler asks for them, and not before.

Tornado parses every form on the loop before it calls the handler, wanted or not.
"""

from __future__ import annotations

from typing import Any

from tornado.httputil import HTTPInputError, HTTPServerRequest
from tornado.web import HTTPError

from flasknado.native.tornado_private import UnparsedRequest
from flasknado.sizes import MIB

MAX_FORM_BYTES = MIB
"""The largest urlencoded form that is parsed on the loop, unless the handler's
`max_form_bytes` says more: 1 MiB takes 50 ms at worst."""

_URLENCODED = "application/x-www-form-urlencoded"


class FormRequest(UnparsedRequest):
    """A request whose `arguments`, `body_arguments` and `files` are parsed at first use.

    A form that is malformed is then refused with 400, one that is too large to be
    parsed on the loop with 413. Belongs to the loop's thread.
    """

    # A request that Tornado has made becomes one of these (`parse_lazily`).
    _unparsed: bool
    _max_form_bytes: int

    def _parsed(self, name: str) -> Any:
        if self._unparsed:
            self._unparsed = False
            content_type = self.headers.get("Content-Type", "").lower()
            if content_type.startswith(_URLENCODED) and len(self.body) > self._max_form_bytes:
                raise HTTPError(
                    413, f"the form is larger than the {self._max_form_bytes} bytes accepted here"
                )
            try:
                self.parse_body()
            except HTTPInputError as error:
                raise HTTPError(400, f"Invalid body: {error}") from error
        return self.__dict__[name]

    @property
    def arguments(self) -> Any:
        return self._parsed("arguments")

    @arguments.setter
    def arguments(self, value: Any) -> None:
        self.__dict__["arguments"] = value

    @property
    def body_arguments(self) -> Any:
        return self._parsed("body_arguments")

    @body_arguments.setter
    def body_arguments(self, value: Any) -> None:
        self.__dict__["body_arguments"] = value

    @property
    def files(self) -> Any:
        return self._parsed("files")

    @files.setter
    def files(self, value: Any) -> None:
        self.__dict__["files"] = value


def parse_lazily(request: HTTPServerRequest, handler_class: type) -> None:
    """Have the form in a request that has one parsed at first use; on the loop's thread."""
    if type(request) is HTTPServerRequest and request.body:
        request.__class__ = FormRequest
        lazy: Any = request
        lazy._unparsed = True
        lazy._max_form_bytes = getattr(handler_class, "max_form_bytes", MAX_FORM_BYTES)
