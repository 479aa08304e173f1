"""Responses that are kept: which may be, and how one answers a request (RFC 9110, 9111, 9211).

Pure: may be called on any thread.
"""

from __future__ import annotations

import hashlib
import time
from typing import Final

from werkzeug.datastructures import ResponseCacheControl
from werkzeug.http import parse_cache_control_header, parse_date, parse_etags, unquote_etag

from flasknado.http.message import ResponseHead, field_line, status_line
from flasknado.http.request_id import REQUEST_ID_FIELD
from flasknado.live.cache.questions import Question

CACHE_STATUS: Final = "Cache-Status"
HIT: Final = "flasknado; hit"
STORED: Final = "flasknado; fwd=uri-miss; stored"
COLLAPSED: Final = "flasknado; fwd=uri-miss; collapsed"
NOT_STORED: Final = "flasknado; fwd=uri-miss"
"""Values of `Cache-Status` (RFC 9211, section 2)."""

ENTRY_BYTES: Final = 2048
"""What a page takes beside its body and fields, about."""

_OF_ONE_REQUEST: Final = frozenset((REQUEST_ID_FIELD.lower(), "age"))
_OF_CONTENT: Final = frozenset(
    ("content-length", "content-type", "content-encoding", "content-language", "content-range")
)


class Page:
    """One kept response: 200, whole, for everybody who asks the same. Immutable."""

    __slots__ = (
        "_opaque_tag",
        "body",
        "channels",
        "etag",
        "expires_at",
        "fields",
        "last_modified",
        "lines",
        "made_at",
        "not_modified_fields",
        "not_modified_lines",
        "route",
        "size_bytes",
        "vary",
    )

    def __init__(
        self,
        fields: list[tuple[str, str]],
        body: bytes,
        channels: frozenset[str],
        vary: tuple[str, ...],
        route: str | None,
        max_age_s: float,
    ) -> None:
        known = {name.lower(): value for name, value in fields}
        self.etag = known.get("etag")
        if self.etag is None:
            self.etag = f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
            fields.append(("ETag", self.etag))
        if "content-length" not in known:
            fields.append(("Content-Length", str(len(body))))
        self._opaque_tag = unquote_etag(self.etag)[0] or ""
        self.last_modified = parse_date(known.get("last-modified"))
        self.fields = fields
        self.body = body
        self.channels = channels
        self.vary = vary
        self.route = route
        self.made_at = time.monotonic()
        self.expires_at = self.made_at + max_age_s
        self.lines = [status_line(200, "OK"), *(field_line(*field) for field in fields)]
        self.not_modified_fields = [
            field for field in fields if field[0].lower() not in _OF_CONTENT
        ]
        self.not_modified_lines = [
            status_line(304, "Not Modified"),
            *(field_line(*field) for field in self.not_modified_fields),
        ]
        self.size_bytes = ENTRY_BYTES + len(body) + 4 * sum(map(len, self.lines))

    def answer(self, question: Question, cache_status: str) -> tuple[ResponseHead, bytes]:
        """Return the response to a request: all of it, its head, or 304."""
        head = question.head
        own = [("Age", str(int(time.monotonic() - self.made_at))), (CACHE_STATUS, cache_status)]
        if head.request_id is not None:
            own.append((REQUEST_ID_FIELD, head.request_id))
        unchanged = self._has_not_changed(question)
        lines = (self.not_modified_lines if unchanged else self.lines).copy()
        lines += [field_line(name, value) for name, value in own]
        fields = (self.not_modified_fields if unchanged else self.fields) + own
        head.route = self.route
        head.response_fields = fields
        if unchanged:
            return ResponseHead(304, "Not Modified", fields, None, False, lines), b""
        has_body = head.method != "HEAD"
        response = ResponseHead(200, "OK", fields, len(self.body), has_body, lines)
        return response, self.body if has_body else b""

    def _has_not_changed(self, question: Question) -> bool:
        """Whether the client has this page already (RFC 9110, section 13.2.2)."""
        tags = question.fields.get("if-none-match")
        if tags is not None:
            return tags == self.etag or parse_etags(tags).contains_weak(self._opaque_tag)
        since = question.fields.get("if-modified-since")
        if since is None or self.last_modified is None:
            return False
        date = parse_date(since)
        return date is not None and self.last_modified <= date


def page_of(
    head: ResponseHead,
    body: bytes,
    channels: frozenset[str],
    *,
    keyed: bool,
    route: str | None,
    max_age_s: float,
) -> Page | None:
    """Return a response as a page that may be kept, or `None` if it may not be.

    Only a whole 200 without `Set-Cookie`, without `Vary: *`, and without `no-store` or `private`
    in its `Cache-Control`. `no-cache` is for the caches behind this one: what would be asked is
    here, and knows when the page has changed.
    """
    if head.status != 200 or not head.has_body:
        return None
    if head.content_length is not None and head.content_length != len(body):
        return None
    vary: list[str] = []
    fields: list[tuple[str, str]] = []
    for name, value in head.headers:
        lower = name.lower()
        if lower in _OF_ONE_REQUEST:
            continue
        if lower == "set-cookie":
            return None
        if lower == "cache-control":
            control = parse_cache_control_header(value, cls=ResponseCacheControl)
            if control.no_store or "private" in control:
                return None
        elif lower == "vary":
            vary += [each.strip().lower() for each in value.split(",") if each.strip()]
        fields.append((name, value))
    if "*" in vary:
        return None
    # Cookies are in the key, or the declared key stands for them and for who asks.
    told_apart = {"cookie", "authorization"} if keyed else {"cookie"}
    return Page(fields, body, channels, tuple(sorted({*vary} - told_apart)), route, max_age_s)
