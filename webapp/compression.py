"""Compressed answers (Flask-Compress): text, to those who may read it without an identity.

A page that holds a secret (a CSRF token, somebody's data) beside what others have written gives
the secret away by its compressed length (BREACH). So whatever was made for an identity or a
session is sent as it is; and so are streams, whose parts must leave at once. Static files are
read whole for it: they are small. The page of a person who is logged in is larger for that, and
its styles and scripts are not.
"""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, g, request, session

from webapp.extensions import compress
from webapp.identity import NOBODYS

CODINGS = ("zstd", "br", "gzip")
MIN_BYTES = 500


def register(app: Flask) -> None:
    """Compress answers of `app`; call it first, so that its hook comes last."""
    app.config.from_mapping(
        COMPRESS_REGISTER=False,
        COMPRESS_STREAMS=False,
        COMPRESS_MIN_SIZE=MIN_BYTES,
        COMPRESS_ALGORITHM=list(CODINGS),
        COMPRESS_MIMETYPES=[
            "text/html",
            "text/css",
            "text/plain",
            "text/javascript",
            "application/json",
            "image/svg+xml",
        ],
    )
    compress.init_app(app)
    app.after_request(_compress)


def _compress(response: Response) -> Response:
    if not _is_public(response):
        return response
    # Flask-Compress takes `br;q=0` for a wish.
    if not any(request.accept_encodings.quality(coding) > 0 for coding in CODINGS):
        response.vary.add("Accept-Encoding")
        return response
    if request.endpoint == "static" and response.status_code == 200 and request.method == "GET":
        file: Any = response.response
        response.direct_passthrough = False
        response.make_sequence()
        file.close()
    elif response.is_streamed:
        return response
    compressed: Response = compress.after_request(response)
    return compressed


def _is_public(response: Response) -> bool:
    """Whether the answer holds nothing but what everybody may read."""
    # The session is not even looked at for these: the answer would have `Vary: Cookie`.
    if request.endpoint in NOBODYS:
        return "Range" not in request.headers
    return (
        g.get("user") is None
        and not session
        and "Authorization" not in request.headers
        and "Set-Cookie" not in response.headers
        and "Range" not in request.headers
    )
