"""The lines of the access log: gunicorn's atoms, or JSON. Pure: no loop, no files.

An atom is turned into a function once, so that a line costs only what its format names.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import time
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as quoted
from typing import NamedTuple

from flasknado.errors import ConfigurationError
from flasknado.http.message import RequestHead, empty_body
from flasknado.ops.scrub import Scrubber
from flasknado.wsgi.environ import base_environ, build_environ

JSON = "json"
"""The format that is not a format: one JSON object a line."""

ABSENT = "-"


class Exchange(NamedTuple):
    """One finished exchange, as the server's hook tells it."""

    head: RequestHead | None
    """`None` if it could not be read."""
    status: int
    sent_bytes: int
    """With the head of the response."""
    duration_s: float
    half: str
    route: str


Atom = Callable[[Exchange], str]

KNOWN_AT_THE_END = frozenset("tBbTDML")
"""Atoms that are known only when the connection has ended."""

_ATOM = re.compile(r"%\((?:\{(?P<name>[^}]+)\}(?P<kind>[ioe])|(?P<atom>\w+))\)s|%%")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\"\\]")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\t": "\\t"}


def safe(value: str) -> str:
    """Return text that cannot end its line, its quotes or a terminal's patience."""
    return _UNSAFE.sub(_escaped, value) if _UNSAFE.search(value) is not None else value


def _escaped(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[0]) or f"\\x{ord(match[0]):02x}"


class Template:
    """A line of the access log, in gunicorn's `access_log_format`.

    Raises `ConfigurationError` for an atom that there is not.
    """

    def __init__(self, line_format: str, scrubber: Scrubber) -> None:
        self._atoms: list[tuple[Atom, bool]] = []
        literals: list[str] = [""]
        place = 0
        for match in _ATOM.finditer(line_format):
            literals[-1] += line_format[place : match.start()]
            place = match.end()
            if match[0] == "%%":
                literals[-1] += "%"
                continue
            atom = _named(match["kind"], match["name"].lower(), scrubber) if match["kind"] else None
            self._atoms.append(
                (atom or _plain(match["atom"], scrubber), match["atom"] in KNOWN_AT_THE_END)
            )
            literals.append("")
        literals[-1] += line_format[place:]
        left = "".join(literals)
        if "%(" in left:
            raise ConfigurationError(
                f"access_log_format {line_format!r} has an atom that cannot be read: "
                f"write them as %(h)s or %({{name}}i)s"
            )
        self._pattern = "%s".join(literal.replace("%", "%%") for literal in literals)
        self._now = [atom for atom, _ in self._atoms]

    def line(self, exchange: Exchange) -> str:
        """Return the line of an exchange."""
        return self._pattern % tuple([atom(exchange) for atom in self._now])

    def begun(self, exchange: Exchange) -> Callable[[Exchange], str]:
        """Return a function that makes the line at the end, without the request's head.

        Live clients stay for hours: only the few texts of the line are kept for each.
        """
        known = [None if late else atom(exchange) for atom, late in self._atoms]
        return lambda end: (
            self._pattern
            % tuple(
                [
                    atom(end) if text is None else text
                    for text, (atom, _) in zip(known, self._atoms, strict=True)
                ]
            )
        )


class JSONTemplate:
    """One JSON object a line; text fields are absent where there is nothing to say."""

    def __init__(self, scrubber: Scrubber) -> None:
        self._scrubber = scrubber
        self._process = os.getpid()

    def line(self, exchange: Exchange) -> str:
        """Return the line of an exchange."""
        return self._close(self._open(exchange), exchange)

    def begun(self, exchange: Exchange) -> Callable[[Exchange], str]:
        """Return a function that makes the line at the end, without the request's head."""
        text = self._open(exchange)
        return lambda end: self._close(text, end)

    def _open(self, exchange: Exchange) -> str:
        head = exchange.head
        text = (
            f'"half":"{exchange.half}","route":{quoted(exchange.route)},"status":{exchange.status}'
        )
        if head is None:
            return text
        text += (
            f',"request_id":"{head.request_id or ABSENT}","client":"{_client(exchange)}"'
            f',"method":{quoted(head.method)},"target":{quoted(self._scrubber.target(head.target))}'
            f',"version":"{head.version}","scheme":"{head.scheme}"'
        )
        if head.host is not None:
            text += f',"host":{quoted(head.host)}'
        for name, value in head.headers:
            key = _JSON_FIELDS.get(name)
            if key is None and len(name) in (7, 10):
                key = _JSON_FIELDS.get(name.lower())
            if key is not None:
                said = self._scrubber.field(key, value.decode("latin-1"))
                text += f',"{key}":{quoted(said)}'
        return text

    def _close(self, text: str, end: Exchange) -> str:
        return (
            f'{{"time":"{_utc_now()}",{text},"sent_bytes":{end.sent_bytes},'
            f'"duration_s":{end.duration_s:.6f},"process":{self._process}}}'
        )


_JSON_FIELDS = {
    b"Referer": "referer",
    b"referer": "referer",
    b"User-Agent": "user_agent",
    b"user-agent": "user_agent",
}


def template(line_format: str, scrubber: Scrubber) -> Template | JSONTemplate:
    """Return the template of an `access_log_format`; raises `ConfigurationError`."""
    return JSONTemplate(scrubber) if line_format == JSON else Template(line_format, scrubber)


# Atoms.


def _plain(name: str, scrubber: Scrubber) -> Atom:
    atoms: dict[str, Atom] = {
        "h": _client,
        "l": lambda _: ABSENT,
        "u": lambda e: safe(_user(e)),
        "t": lambda _: _local_now(),
        "r": lambda e: (
            f"{e.head.method} {safe(scrubber.target(e.head.target))} HTTP/{e.head.version}"
            if e.head
            else ABSENT
        ),
        "s": lambda e: str(e.status),
        "m": lambda e: e.head.method if e.head else ABSENT,
        "U": lambda e: safe(e.head.path) if e.head else ABSENT,
        "q": lambda e: safe(scrubber.query(e.head.query)) if e.head else ABSENT,
        "H": lambda e: f"HTTP/{e.head.version}" if e.head else ABSENT,
        "B": lambda e: str(e.sent_bytes),
        "b": lambda e: str(e.sent_bytes or ABSENT),
        "f": _request_field("referer", scrubber),
        "a": _request_field("user-agent", scrubber),
        "T": lambda e: str(int(e.duration_s)),
        "D": lambda e: str(int(e.duration_s * 1_000_000)),
        "M": lambda e: str(int(e.duration_s * 1_000)),
        "L": lambda e: f"{e.duration_s:.6f}",
        "p": lambda _: f"<{os.getpid()}>",
        "id": lambda e: (e.head and e.head.request_id) or ABSENT,
        "half": lambda e: e.half,
        "route": lambda e: safe(e.route),
    }
    atom = atoms.get(name)
    if atom is None:
        raise ConfigurationError(
            f"access_log_format has the atom %({name})s, which there is not: choose of "
            f"{', '.join(atoms)}, {{name}}i, {{name}}o and {{name}}e"
        )
    return atom


def _named(kind: str, name: str, scrubber: Scrubber) -> Atom:
    if kind == "i":
        return _request_field(name, scrubber)
    if kind == "o":
        return _response_field(name, scrubber)
    return _variable(name.upper(), scrubber)


def _request_field(name: str, scrubber: Scrubber) -> Atom:
    wanted = name.encode()
    spellings = {wanted, wanted.title()}
    size = len(wanted)

    def atom(exchange: Exchange) -> str:
        if exchange.head is None:
            return ABSENT
        for field, value in exchange.head.headers:
            if field in spellings or (len(field) == size and field.lower() == wanted):
                return safe(scrubber.field(name, value.decode("latin-1")))
        return ABSENT

    return atom


def _response_field(name: str, scrubber: Scrubber) -> Atom:
    def atom(exchange: Exchange) -> str:
        for field, value in (exchange.head and exchange.head.response_fields) or ():
            if field.lower() == name:
                return safe(scrubber.field(name, value))
        return ABSENT

    return atom


def _variable(key: str, scrubber: Scrubber) -> Atom:
    """Return the atom of an environ variable that this server sets; the application's are not
    known here.
    """
    field = key.removeprefix("HTTP_").replace("_", "-").lower()

    def atom(exchange: Exchange) -> str:
        if exchange.head is None:
            return ABSENT
        environ = build_environ(exchange.head, empty_body(), base_environ())
        value = next((v for k, v in environ.items() if k.upper() == key), ABSENT)
        if key == "QUERY_STRING":
            return safe(scrubber.query(str(value)))
        if key in ("REQUEST_URI", "RAW_URI"):
            return safe(scrubber.target(str(value)))
        return safe(scrubber.field(field, str(value)))

    return atom


def _client(exchange: Exchange) -> str:
    head = exchange.head
    return head.client[0] if head is not None and head.client is not None else ABSENT


def _user(exchange: Exchange) -> str:
    """Return the user name of basic authentication; its password is never logged."""
    for name, value in exchange.head.headers if exchange.head else ():
        if name.lower() == b"authorization" and value[:6].lower() == b"basic ":
            try:
                text = base64.b64decode(value[6:].strip(), validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                return ABSENT
            return text.partition(":")[0] or ABSENT
    return ABSENT


_local = (0, "")
_utc = (0, "")


def _local_now() -> str:
    global _local
    second = int(time.time())
    if _local[0] != second:
        _local = (second, time.strftime("[%d/%b/%Y:%H:%M:%S %z]", time.localtime(second)))
    return _local[1]


def _utc_now() -> str:
    global _utc
    now = time.time()
    second = int(now)
    if _utc[0] != second:
        _utc = (second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)))
    return f"{_utc[1]}.{int((now - second) * 1000):03d}Z"
