"""Conditional requests, ranges and encodings of static files (RFC 9110, sections 12 to 14)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from email.utils import parsedate_to_datetime
from typing import NamedTuple

_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
# Each run is taken as a whole: white space that two of them may share is tried in every way.
_RANGE = re.compile(r"bytes[ \t]*+=[ \t]*+([0-9]*+)[ \t]*+-[ \t]*+([0-9]*+)", re.IGNORECASE)
_WEIGHT = re.compile(r"[qQ]=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)")

_MOST_DIGITS = 19
"""Of a place in a file; what is longer is no place in any."""


class Part(NamedTuple):
    """What of a file is asked for: from where, and how many bytes."""

    offset: int
    size_bytes: int


UNSATISFIABLE = Part(0, -1)
"""A range that begins behind the end of the file (416)."""


def status_of(fields: dict[bytes, str], etag: str, modified_s: int) -> int:
    """Return 200, 304 or 412 for the preconditions of a GET or HEAD (section 13.2.2).

    fields: header fields of the request by their names in lower case. etag: with its quotes.
    modified_s: when the file was changed, in seconds since 1970.
    """
    if_match = fields.get(b"if-match")
    unmodified_since = fields.get(b"if-unmodified-since")
    if if_match is not None:
        if not _matches(if_match, etag, weakly=False):
            return 412
    elif unmodified_since is not None:
        since_s = _seconds(unmodified_since)
        if since_s is not None and modified_s > since_s:
            return 412
    if_none_match = fields.get(b"if-none-match")
    if if_none_match is not None:
        return 304 if _matches(if_none_match, etag, weakly=True) else 200
    modified_since = fields.get(b"if-modified-since")
    if modified_since is not None:
        since_s = _seconds(modified_since)
        if since_s is not None and modified_s <= since_s:
            return 304
    return 200


def part_of(fields: dict[bytes, str], size_bytes: int, etag: str, modified_s: int) -> Part | None:
    """Return the range that a GET asks for, or `None` for the whole file (section 14.2).

    Several ranges, other units and what is malformed count as none, as they may.
    """
    text = fields.get(b"range")
    if text is None:
        return None
    match = _RANGE.fullmatch(text)
    if match is None or not (match[1] or match[2]):
        return None
    condition = fields.get(b"if-range")
    if condition is not None and condition != etag and _seconds(condition) != modified_s:
        return None
    if max(map(len, match.groups())) > _MOST_DIGITS:
        return UNSATISFIABLE
    if not match[1]:
        length = min(int(match[2]), size_bytes)
        return Part(size_bytes - length, length) if length else UNSATISFIABLE
    first = int(match[1])
    last = min(int(match[2]), size_bytes - 1) if match[2] else size_bytes - 1
    if match[2] and int(match[2]) < first:
        return None
    return Part(first, last - first + 1) if first < size_bytes else UNSATISFIABLE


def encoding_of(accepted: str, there: Collection[str]) -> str:
    """Return the first encoding in `there` that a client accepts; empty: the file as it is."""
    weights = dict(_weights(accepted))
    for encoding in there:
        if weights.get(encoding, weights.get("*", 0.0)) > 0:
            return encoding
    return ""


def _weights(accepted: str) -> Iterable[tuple[str, float]]:
    for item in accepted.split(","):
        coding, *parameters = (part.strip() for part in item.split(";"))
        weight = 1.0
        if parameters:
            match = _WEIGHT.fullmatch(parameters[0])
            weight = float(match[1]) if match is not None else 0.0
        yield coding.lower(), weight


def _matches(text: str, etag: str, *, weakly: bool) -> bool:
    """Return whether a list of entity tags, or `*`, has this one, which is strong."""
    if text.strip() == "*":
        return True
    tags = _TAG.findall(text)
    return etag in ([tag.removeprefix("W/") for tag in tags] if weakly else tags)


def _seconds(date: str) -> int | None:
    try:
        return int(parsedate_to_datetime(date).timestamp())
    except (ValueError, OverflowError):
        return None
