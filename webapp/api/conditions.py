"""Conditional requests (RFC 9110, section 13): ETags on what is read, `If-Match` on changes."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

from flask import Response, current_app, request
from werkzeug.exceptions import PreconditionFailed
from werkzeug.http import generate_etag

# Flask-Compress gives the compressed form of an answer a tag of its own.
_CODING = re.compile(r":(?:zstd|br|gzip|deflate)$")


def add_etag(response: Response) -> Response:
    """Give an answer of the API its ETag, and answer 304 if the client has it already."""
    if request.method not in ("GET", "HEAD") or response.status_code != HTTPStatus.OK:
        return response
    if response.is_streamed:
        return response
    response.add_etag()
    response.make_conditional(request)
    return response


def check_unchanged(answer: dict[str, Any]) -> None:
    """Compare `If-Match` with the ETag of what a GET would answer now.

    Raises:
        PreconditionFailed: the client has read something else (412).
    """
    if not request.if_match:
        return
    tag = generate_etag(current_app.make_response(answer).get_data())
    sent = {_CODING.sub("", known) for known in request.if_match.as_set()}
    if not request.if_match.star_tag and tag not in sent:
        raise PreconditionFailed("This has changed since you read it: read it again first.")
