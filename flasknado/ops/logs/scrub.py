"""Keeping secrets out of logs: tokens in query strings, `Authorization` and `Cookie`. Pure.

Browsers cannot set fields on an `EventSource` or a `WebSocket`, so tokens travel in their
query strings, and a query string ends up in every log on its way. So do the reconnect tickets
of live events, behind a cursor and a `~`: `after=3f2a9c01:42~TICKET`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote

SECRET_PARAMETERS = (
    "access_token",
    "api_key",
    "apikey",
    "code",
    "id_token",
    "jwt",
    "password",
    "refresh_token",
    "secret",
    "sid",
    "signature",
    "tag",
    "ticket",
    "token",
)
"""The parameters whose values are hidden unless the operator names others; any case."""

SECRET_FIELDS = ("authorization", "cookie", "proxy-authorization", "set-cookie")
"""Header fields, in lower case, that are secret altogether."""

HIDDEN = "***"

_CURSOR = r"(?:after|(?:evs_)?last[-_]?event[-_]?id)"
"""The parameters in which clients give a cursor back (`flasknado.live.formats`)."""
_CURSOR_NAME = re.compile(_CURSOR)
_TICKET = re.compile(
    r"(?i)((?<![\w~])[a-z0-9]{1,32}(?::|%3a)[0-9]{1,19}(?:~|%7e)"
    rf"|[?&;]{_CURSOR}=[^&;\s\"'<>#)\]]{{0,256}}?(?:~|%7e))[^&;\s\"'<>#)\]]+"
)
"""What is behind the `~` of a cursor, and of whatever is given as one."""
_MARK = re.compile("~|%7[eE]")
_AUTHORIZATION = re.compile(r"(?i)(authorization['\"]?\s*[:=]\s*['\"]?(?:[a-z-]+ +)?)[\w.~+/=-]+")
_BEARER = re.compile(r"(?i)(\bbearer +)[\w.~+/=-]{16,}")


class Scrubber:
    """Hides the values of some query parameters, and credentials. May be used on any thread.

    `names` are the parameters' names, in any case. A name that is percent-encoded in a
    request target is hidden too.
    """

    def __init__(self, names: Iterable[str] = SECRET_PARAMETERS) -> None:
        self.names = frozenset(name.lower() for name in names)
        parameters = "|".join(re.escape(name) for name in sorted(self.names)) or r"(?!)"
        self._in_text = re.compile(rf"(?i)([?&;](?:{parameters})=)[^&;\s\"'<>#)\]]+")

    def target(self, target: str) -> str:
        """Return a request target, or a URL, with its secrets hidden."""
        if "=" not in target:
            return target
        path, mark, query = target.partition("?")
        return f"{path}?{self.query(query)}" if mark else target

    def query(self, query: str) -> str:
        """Return a query string, without its question mark, with its secrets hidden."""
        if "=" not in query:
            return query
        return "&".join(self._pair(pair) for pair in query.split("&"))

    def _pair(self, pair: str) -> str:
        name, equals, value = pair.partition("=")
        known = (unquote(name) if "%" in name else name).lower()
        if equals and known in self.names:
            return f"{name}={HIDDEN}"
        if _CURSOR_NAME.fullmatch(known) is not None:
            return f"{name}{equals}{_without_tail(value)}"
        return without_ticket(pair)

    def text(self, text: str) -> str:
        """Return any text, such as a traceback, with what looks like a secret hidden."""
        if "=" in text:
            text = self._in_text.sub(rf"\1{HIDDEN}", text)
        text = without_ticket(text)
        text = _AUTHORIZATION.sub(rf"\1{HIDDEN}", text)
        return _BEARER.sub(rf"\1{HIDDEN}", text)

    def field(self, name: str, value: str) -> str:
        """Return the value of a header field with its secrets hidden; `name` in lower case."""
        if name in ("authorization", "proxy-authorization"):
            return f"{value.partition(' ')[0]} {HIDDEN}"
        if name in ("cookie", "set-cookie"):
            return _hidden_cookies(value)
        if name == "referer":
            return self.target(value)
        if name == "last-event-id":
            return _without_tail(value)
        return without_ticket(self._in_text.sub(rf"\1{HIDDEN}", value) if "=" in value else value)


def without_ticket(text: str) -> str:
    """Return text with the reconnect tickets of live events hidden."""
    if "~" not in text and "%7" not in text:
        return text
    return _TICKET.sub(rf"\1{HIDDEN}", text)


def _without_tail(cursor: str) -> str:
    """Return what was given as a cursor, whatever it is, without what is behind its mark."""
    mark = _MARK.search(cursor)
    return cursor if mark is None else cursor[: mark.end()] + HIDDEN


def _hidden_cookies(value: str) -> str:
    names = (part.partition("=")[0].strip() for part in value.split(";"))
    return "; ".join(f"{name}={HIDDEN}" for name in names if name)
