"""Which requests a kept page may answer, and what tells their pages apart (RFC 9111). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from flasknado.http.message import RequestHead

PrimaryKey = tuple[str, ...]
Selection = tuple[PrimaryKey, tuple[tuple[str, str | None], ...]]
"""A page and the fields that its responses vary by, with what a request has in them."""

_WHOLE_ONLY: Final = frozenset(
    ("if-match", "if-unmodified-since", "if-range", "range", "expect", "transfer-encoding")
)
"""Requests with these are left to the application."""

_ABOUT_URL: Final = (
    "forwarded",
    "front-end-https",
    "x-forwarded-host",
    "x-forwarded-path",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-protocol",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-host",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-url",
    "x-rewrite-url",
    "x-scheme",
    "x-script-name",
    "x-url-scheme",
)
"""Fields that frameworks and middleware take for the URL or the method, often without `Vary`:
left out of the key, one client could put what it likes into everybody's page."""


MAX_HEAD_BYTES: Final = 8192
"""What the target and the fields of a request may take together; larger ones are left to the
application. They are what a page is kept under, and what a declared key is made from on the loop.
"""


class Question:
    """A request that a kept page may answer."""

    __slots__ = ("fields", "head", "keyed", "primary")

    def __init__(
        self, head: RequestHead, fields: Mapping[str, str], primary: PrimaryKey, keyed: bool
    ) -> None:
        self.head = head
        self.fields = fields
        """Its fields: names in lower case, values of the same name joined."""
        self.primary = primary
        self.keyed = keyed

    def selection(self, vary: tuple[str, ...]) -> Selection:
        """Return what a response has to be kept under to answer this (RFC 9111, section 4.1)."""
        return self.primary, tuple([(name, self.fields.get(name)) for name in vary])


def fields_of(head: RequestHead) -> dict[str, str]:
    """Return the fields of a request by their names in lower case, those of one name joined."""
    fields: dict[str, str] = {}
    for raw_name, raw_value in head.headers:
        name = raw_name.decode("latin-1").lower()
        value = raw_value.decode("latin-1")
        known = fields.get(name)
        if known is not None:
            value = known + ("; " if name == "cookie" else ", ") + value
        fields[name] = value
    return fields


def may_answer(head: RequestHead) -> bool:
    """Whether the response to a request may be a kept one at all, whoever asks."""
    return (
        (head.method == "GET" or head.method == "HEAD")
        and not head.content_length
        and not head.chunked
        and not head.upgrade
    )


def is_small(head: RequestHead) -> bool:
    """Whether a request is of a size that the cache deals with."""
    fields_bytes = sum([len(name) + len(value) for name, value in head.headers])
    return len(head.target) + fields_bytes <= MAX_HEAD_BYTES


def question_of(
    head: RequestHead, fields: Mapping[str, str], session_cookie: str, key: str | None
) -> Question | None:
    """Return what a request asks the cache, or `None` if that has to leave it alone.

    `key` is the declared key of its page. Without one, whoever has a session, or an
    `Authorization`, gets a page of its own; and other cookies tell pages apart.
    """
    if not _WHOLE_ONLY.isdisjoint(fields):
        return None
    cookie = ""
    if key is None:
        if "authorization" in fields:
            return None
        cookie = fields.get("cookie", "")
        if cookie and _has_cookie(cookie, session_cookie):
            return None
    # A HEAD is answered from the page of a GET (RFC 9110, section 9.3.2).
    primary = (
        head.scheme,
        head.host or "",
        head.prefix,
        # As it was sent: by REQUEST_URI an application may tell "/" and "/?" apart.
        head.target,
        cookie,
        "" if key is None else f"key {key}",
        *[f"{name} {fields[name]}" for name in _ABOUT_URL if name in fields],
    )
    return Question(head, fields, primary, key is not None)


def _has_cookie(cookie: str, name: str) -> bool:
    return any(pair.partition("=")[0].strip() == name for pair in cookie.split(";"))
