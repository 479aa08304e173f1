"""How large a request's body may be: small for every view, larger where a view says so.

    @blueprint.post("/posts")
    @max_body_bytes(POST_BYTES)
    def create(): ...

A percent-encoded form costs two hundred times its size in memory while it is parsed, and
Werkzeug parses it whole; so such a form is never larger than MAX_FORM_MEMORY_SIZE, however
much the view takes. A larger body, of whatever kind, is answered 413. See RFC 9110, 15.5.14.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Any, TypeVar, cast

import flask
from flask import Flask, current_app, g, request
from werkzeug.formparser import FormDataParser
from werkzeug.utils import cached_property
from werkzeug.wsgi import LimitedStream

from webapp.models import POST_CHARACTERS, TITLE_CHARACTERS

FORM_BYTES = 64 * 1024
"""What a view takes that says nothing else."""
MOST_BYTES_A_CHARACTER = 12
"""The longest way to send a character: two `\\uXXXX` of JSON, or four `%XX` of a form."""
POST_BYTES = FORM_BYTES + (POST_CHARACTERS + TITLE_CHARACTERS) * MOST_BYTES_A_CHARACTER
"""A post with the longest text, however it is encoded."""
ANY_BYTES = 2**62
"""For a view that takes files: as much as the server does."""
MAX_FORM_PARTS = 100
_ATTRIBUTE = "max_body_bytes"
_PIECE_BYTES = 64 * 1024

ViewT = TypeVar("ViewT", bound=Callable[..., Any])


class BoundedStream(LimitedStream):
    """At most `max_bytes` of a stream; reading more raises `RequestEntityTooLarge` (413).

    Werkzeug's own stream ends at its limit without a word when it is read in one call, so that
    a body of unknown length would be cut.
    """

    def __init__(self, stream: IO[bytes], max_bytes: int) -> None:
        super().__init__(stream, max_bytes + 1, is_max=True)

    def readall(self) -> bytes:
        """Return everything."""
        return b"".join(iter(lambda: self.read(_PIECE_BYTES), b""))


class FormParser(FormDataParser):
    """Werkzeug's parser, with its limit for forms held for percent-encoded ones too."""

    def parse(
        self,
        stream: IO[bytes],
        mimetype: str,
        content_length: int | None,
        options: dict[str, str] | None = None,
    ) -> Any:
        """Return what Werkzeug's returns; raises `RequestEntityTooLarge` (413)."""
        if mimetype == "application/x-www-form-urlencoded" and self.max_form_memory_size:
            stream = cast(IO[bytes], BoundedStream(stream, self.max_form_memory_size))
        return super().parse(stream, mimetype, content_length, options)


class Request(flask.Request):
    """Flask's request, with these limits."""

    form_data_parser_class = FormParser

    @cached_property
    def stream(self) -> IO[bytes]:
        """The body; reading more of it than `max_content_length` raises 413."""
        stream = super().stream
        if self.content_length is None and isinstance(stream, LimitedStream):
            return cast(IO[bytes], BoundedStream(self.input_stream, stream.limit))
        return stream


def max_body_bytes(limit: int, *, for_anybody: bool = False) -> Callable[[ViewT], ViewT]:
    """Let a view take a body of `limit` bytes, from people with an account or from anybody.

    Anonymous requests keep the small limit unless `for_anybody`, so that what a view refuses
    anyway costs little. The server's own limit (MAX_BODY_MB) holds as well.
    """

    def mark(view: ViewT) -> ViewT:
        setattr(view, _ATTRIBUTE, (limit, for_anybody))
        return view

    return mark


def register(app: Flask) -> None:
    """Set the limits on each request; call it after the identity's hook, before CSRF's."""
    app.request_class = Request
    app.before_request(_limit_body)


def _limit_body() -> None:
    view = current_app.view_functions.get(request.endpoint or "")
    limit, for_anybody = getattr(view, _ATTRIBUTE, (FORM_BYTES, True))
    if g.user is None and not for_anybody:
        limit = FORM_BYTES
    most = current_app.config["MAX_CONTENT_LENGTH"]
    request.max_content_length = limit if most is None else min(limit, most)
