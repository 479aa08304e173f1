"""Events, cursors, and the rules for their names. Pure: no Tornado, no database.

An event has an offset, and offsets rise by one in commit order over the whole log. A
cursor is a place in one log, written `epoch:offset`: the client that holds it has
everything up to and including that offset. The epoch names the log, so that a cursor of
another database is recognised.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from flasknado.live.errors import InvalidCursor, InvalidEvent

MAX_NAME_CHARS = 128
"""The longest channel or event name."""

REVOCATIONS = "!revoke"
"""The log's own channel of revocations; no subscriber can name it."""

MAX_OFFSET = 2**63 - 1
"""The largest offset: that of a BIGINT."""

BY = "\x1f"
"""In the stored name of an event that is not for the connection that caused it, between its name
and the digest of that connection. No name can have it, and no channel's index has to know."""

HTML = "\x1e"
"""After the name of an event with HTML, in the same way (`flasknado.live.html`)."""

BY_KEY = "flasknado.live.by"
"""In the environ of a message's request: the digest of the connection that it came from."""

DIGEST_CHARS = 16
_CONNECTION = re.compile(r"[A-Za-z0-9_-]{16,64}\Z")

RESERVED_NAMES = frozenset(("open", "error", "reset", "heartbeat", "reconnect", "presence"))
"""Event names that the protocol, or a browser's EventSource, uses itself."""

_CHANNEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+=-]*\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LINE_END = re.compile(r"[\x85\u2028\u2029]")
_CURSOR = re.compile(r"([A-Za-z0-9]{1,32}):(0|[1-9][0-9]{0,18})\Z")


class Event(NamedTuple):
    """One committed event. `data` is JSON text, encoded once when it was published.

    `name` is as stored: see `BY`.
    """

    offset: int
    channel: str
    name: str
    data: str


class Cursor(NamedTuple):
    """A place in a log: everything up to and including `offset` has been seen."""

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"


def parse_cursor(text: str) -> Cursor:
    """Return the cursor that `text` writes; raises `InvalidCursor`."""
    match = _CURSOR.match(text)
    if match is None or int(match[2]) > MAX_OFFSET:
        raise InvalidCursor(
            f"{text[:80]!a} is not a cursor: a cursor is the `id` of an event, "
            "epoch:offset, for example 3f2a9c01:42"
        )
    return Cursor(match[1], int(match[2]))


def check_channel(channel: str) -> str:
    """Return `channel` if it is a channel's name; raises `InvalidEvent`."""
    if not isinstance(channel, str):
        raise InvalidEvent(f"a channel must be a string, not {type(channel).__name__}")
    if len(channel) > MAX_NAME_CHARS or _CHANNEL.match(channel) is None:
        raise InvalidEvent(
            f"{channel[:80]!a} is not a channel: use 1 to {MAX_NAME_CHARS} ASCII letters, "
            "digits and ._:/@+=- and begin with a letter or digit"
        )
    return channel


def is_pattern(channel: str) -> bool:
    """Return whether a subscription to this follows many channels, as `post:*` does."""
    return channel.endswith("*")


def check_pattern(pattern: str) -> str:
    """Return `pattern` if it is a channel's beginning and a star; raises `InvalidEvent`."""
    if not isinstance(pattern, str) or not is_pattern(pattern):
        raise InvalidEvent(f"{str(pattern)[:80]!a} is not a pattern, such as post:*")
    check_channel(pattern[:-1])
    return pattern


def matches(channel: str, pattern: str) -> bool:
    """Return whether a channel is one of a pattern's; what is said about a channel is not."""
    return channel.startswith(pattern[:-1]) and "!" not in channel


def connection_digest(connection: str) -> str:
    """Return what stands for a connection's id in events; raises `InvalidEvent`.

    The first 16 characters of its SHA-256 in base64 (of the URL's alphabet): who reads an event
    cannot find the id, without which nobody can keep an event from that connection.
    """
    if _CONNECTION.match(connection) is None:
        raise InvalidEvent(
            f"{connection[:80]!a} is not a connection's id: use 16 to 64 random characters "
            "out of A-Z, a-z, 0-9, _ and -"
        )
    digest = hashlib.sha256(connection.encode()).digest()
    return base64.urlsafe_b64encode(digest)[:DIGEST_CHARS].decode()


def marked(name: str, *, html: bool = False, by: str | None = None) -> str:
    """Return an event's name as it is stored: that it has HTML, and which connection it is not for.

    Raises `InvalidEvent` if it becomes too long.
    """
    marks = (HTML if html else "") + ("" if by is None else BY + by)
    longest = MAX_NAME_CHARS - len(marks)
    if len(name) > longest:
        raise InvalidEvent(
            f"{name[:80]!a} is too long: rendered, or with to_others, an event's name may have "
            f"at most {longest} characters"
        )
    return name + marks


def shown_name(event: Event) -> str:
    """Return an event's name, as it was published."""
    return event.name.partition(BY)[0].removesuffix(HTML)


def is_by(event: Event, digest: str | None) -> bool:
    """Return whether a connection caused an event that is for others only."""
    return digest is not None and event.name.partition(BY)[2] == digest


def check_name(name: str) -> str:
    """Return `name` if an event may be called so; raises `InvalidEvent`."""
    if not isinstance(name, str):
        raise InvalidEvent(f"an event's name must be a string, not {type(name).__name__}")
    if not 0 < len(name) <= MAX_NAME_CHARS or has_control_characters(name):
        raise InvalidEvent(
            f"{name[:80]!a} is not an event name: use 1 to {MAX_NAME_CHARS} characters "
            "without line ends or other control characters"
        )
    if name in RESERVED_NAMES:
        raise InvalidEvent(
            f"the event name {name!r} is reserved for the protocol "
            f"(like {', '.join(sorted(RESERVED_NAMES - {name}))})"
        )
    return name


def check_last(last: object, max_last: int) -> int:
    """Return how many of a channel's newest events are asked for; raises `InvalidEvent`."""
    if isinstance(last, str) and last.isascii() and last.isdecimal():
        last = int(last[:10])
    if not isinstance(last, int) or isinstance(last, bool) or not 0 <= last <= max_last:
        raise InvalidEvent(
            f"last must be a whole number from 0 to {max_last} (LIVE_MAX_LAST), "
            f"not {str(last)[:80]!a}"
        )
    return last


def has_control_characters(text: str) -> bool:
    """Return whether a text has characters or surrogates, not {value[:80]!a}."""
    return _CONTROL.search(text) is not None


def encode_data(data: Any, max_data_bytes: int, default: Callable[[Any], Any] | None = None) -> str:
    """Return an event's data as JSON text, encodable as UTF-8 and on one line.

    One line by every reading, Unicode's too: Python's `str.splitlines` knows more line
    ends than JSON escapes.
    `default` turns what JSON does not know into something it does, as in `json.dumps`.
    Raises `InvalidEvent` if the data cannot be written as JSON or is larger than
    `max_data_bytes`.
    """
    options: dict[str, Any] = {"default": default, "allow_nan": False, "separators": (",", ":")}
    try:
        text = json.dumps(data, ensure_ascii=False, **options)
        text = _LINE_END.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
        try:
            size_bytes = len(text.encode())
        except UnicodeEncodeError:  # a lone surrogate, which JSON can write but UTF-8 cannot
            text = json.dumps(data, **options)
            size_bytes = len(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidEvent(f"an event's data must be JSON serializable: {error}") from error
    if size_bytes > max_data_bytes:
        raise InvalidEvent(
            f"an event's data may have at most {max_data_bytes} bytes (LIVE_MAX_DATA_BYTES), not "
            f"{size_bytes}: publish an id and let the client fetch the rest"
        )
    return text
