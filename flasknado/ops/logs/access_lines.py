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

from flasknado.environ import base_environ, build_environ
from flasknado.errors import ConfigurationError
from flasknado.http.message import Finished, RequestHead
from flasknado.ops.logs import tracing
from flasknado.ops.logs.scrub import SECRET_FIELDS, Scrubber

JSON = "json"
"""The format that is not a format: one JSON object a line."""

ABSENT = "-"


Fields = dict[bytes, bytes]
"""Header fields by name, in lower case; of several with one name the last."""

Atom = Callable[[Finished, Fields], str]

KNOWN_VALUES_LIMIT = 512
KNOWN_VALUE_BYTES = 512
"""The texts of so many values of a field, up to this size, are kept: browsers are few."""

KNOWN_AT_THE_END = frozenset("tBbTDML")
"""Atoms that are known only when the connection has ended."""

_ATOM = re.compile(r"%\((?:\{(?P<name>[^}]+)\}(?P<kind>[ioe])|(?P<atom>\w+))\)s|%%")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\"\\]")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\t": "\\t"}


def safe(value: str) -> str:
    """Return text that cannot end its line, its quotes or a terminal's patience."""
    if value.isprintable() and '"' not in value and "\\" not in value:
        return value
    return _UNSAFE.sub(_escaped, value)


def _escaped(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[0]) or f"\\x{ord(match[0]):02x}"


class Template:
    """A line of the access log, in gunicorn's `access_log_format`.

    Raises `ConfigurationError` for an unknown atom.
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
                f"malformed atom in {line_format!r}: write atoms as %(h)s or %({{name}}i)s"
            )
        self._pattern = "%s".join(literal.replace("%", "%%") for literal in literals)

    def line(self, exchange: Finished) -> str:
        """Return the line of an exchange."""
        fields = _fields(exchange.head)
        return self._pattern % tuple([atom(exchange, fields) for atom, _ in self._atoms])

    def begun(self, exchange: Finished) -> Callable[[Finished], str]:
        """Return a function that makes the line at the end, without the request's head.

        Live clients stay for hours: only the few texts of the line are kept for each.
        """
        fields = _fields(exchange.head)
        known = [None if late else atom(exchange, fields) for atom, late in self._atoms]

        def line(end: Finished) -> str:
            texts = zip(known, self._atoms, strict=True)
            return self._pattern % tuple(
                [atom(end, {}) if text is None else text for text, (atom, _) in texts]
            )

        return line


class JSONTemplate:
    """One JSON object a line; text fields are absent where there is nothing to say."""

    def __init__(self, scrubber: Scrubber) -> None:
        self._scrubber = scrubber
        self._process = os.getpid()
        self._referer = _request_field("referer", scrubber, quoted)
        self._user_agent = _request_field("user-agent", scrubber, quoted)

    def line(self, exchange: Finished) -> str:
        """Return the line of an exchange."""
        return self._close(self._open(exchange), exchange)

    def begun(self, exchange: Finished) -> Callable[[Finished], str]:
        """Return a function that makes the line at the end, without the request's head."""
        text = self._open(exchange)
        return lambda end: self._close(text, end)

    def _open(self, exchange: Finished) -> str:
        head = exchange.head
        route = quoted(exchange.route or ABSENT)
        text = f'"half":"{exchange.half}","route":{route},"status":{exchange.status}'
        if head is None:
            return f'{text},"client":"{_client(exchange)}"' if exchange.peer else text
        text += (
            f',"request_id":"{head.request_id or ABSENT}","client":"{_client(exchange)}"'
            f',"method":{quoted(head.method)},"target":{quoted(self._scrubber.target(head.target))}'
            f',"version":"{head.version}","scheme":"{head.scheme}"'
        )
        if head.host is not None:
            text += f',"host":{quoted(head.host)}'
        fields = _fields(head)
        if b"referer" in fields:
            text += f',"referer":{self._referer(exchange, fields)}'
        if b"user-agent" in fields:
            text += f',"user_agent":{self._user_agent(exchange, fields)}'
        if b"traceparent" in fields:
            traceparent = tracing.checked(fields[b"traceparent"].decode("latin-1"))
            if traceparent:
                text += f',"traceparent":"{traceparent}"'
        return text

    def _close(self, text: str, end: Finished) -> str:
        return (
            f'{{"time":"{_utc_time(end.ended_at)}",{text},"sent_bytes":{end.sent_bytes},'
            f'"duration_s":{end.duration_s:.6f},"process":{self._process}}}'
        )


def template(line_format: str, scrubber: Scrubber) -> Template | JSONTemplate:
    """Return the template of an `access_log_format`; raises `ConfigurationError`."""
    return JSONTemplate(scrubber) if line_format == JSON else Template(line_format, scrubber)


# Atoms.


def _plain(name: str, scrubber: Scrubber) -> Atom:
    atoms: dict[str, Atom] = {
        "h": lambda e, _: _client(e),
        "l": lambda _, __: ABSENT,
        "u": lambda _, fields: safe(_user(fields)),
        "t": lambda e, _: _local_time(e.ended_at),
        "r": lambda e, _: (
            f"{e.head.method} {safe(scrubber.target(e.head.target))} HTTP/{e.head.version}"
            if e.head
            else ABSENT
        ),
        "s": lambda e, _: str(e.status),
        "m": lambda e, _: e.head.method if e.head else ABSENT,
        "U": lambda e, _: safe(e.head.path) if e.head else ABSENT,
        "q": lambda e, _: safe(scrubber.query(e.head.query)) if e.head else ABSENT,
        "H": lambda e, _: f"HTTP/{e.head.version}" if e.head else ABSENT,
        "B": lambda e, _: str(e.sent_bytes),
        "b": lambda e, _: str(e.sent_bytes or ABSENT),
        "f": _request_field("referer", scrubber),
        "a": _request_field("user-agent", scrubber),
        "T": lambda e, _: str(int(e.duration_s)),
        "D": lambda e, _: str(int(e.duration_s * 1_000_000)),
        "M": lambda e, _: str(int(e.duration_s * 1_000)),
        "L": lambda e, _: f"{e.duration_s:.6f}",
        "p": lambda _, __: f"<{os.getpid()}>",
        "id": lambda e, _: (e.head and e.head.request_id) or ABSENT,
        "half": lambda e, _: e.half,
        "route": lambda e, _: safe(e.route or ABSENT),
    }
    atom = atoms.get(name)
    if atom is None:
        raise ConfigurationError(
            f"unknown atom %({name})s: choose from {', '.join(atoms)}, {{name}}i, {{name}}o "
            f"and {{name}}e"
        )
    return atom


def _named(kind: str, name: str, scrubber: Scrubber) -> Atom:
    if kind == "i":
        return _request_field(name, scrubber)
    if kind == "o":
        return _response_field(name, scrubber)
    return _variable(name.upper(), scrubber)


def _request_field(name: str, scrubber: Scrubber, finish: Callable[[str], str] = safe) -> Atom:
    wanted = name.encode()
    known: dict[bytes, str] = {}

    def atom(exchange: Finished, fields: Fields) -> str:  # noqa: ARG001
        value = fields.get(wanted)
        if value is None:
            return ABSENT
        text = known.get(value)
        if text is None:
            text = finish(scrubber.field(name, value.decode("latin-1")))
            if len(known) >= KNOWN_VALUES_LIMIT:
                known.clear()
            if len(value) <= KNOWN_VALUE_BYTES and name not in SECRET_FIELDS:
                known[value] = text
        return text

    return atom


def _response_field(name: str, scrubber: Scrubber) -> Atom:
    def atom(exchange: Finished, fields: Fields) -> str:  # noqa: ARG001
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
    base = base_environ()

    def atom(exchange: Finished, fields: Fields) -> str:  # noqa: ARG001
        if exchange.head is None:
            return ABSENT
        environ = build_environ(exchange.head, None, base)
        value = next((v for k, v in environ.items() if k.upper() == key), ABSENT)
        if key == "QUERY_STRING":
            return safe(scrubber.query(str(value)))
        if key in ("REQUEST_URI", "RAW_URI"):
            return safe(scrubber.target(str(value)))
        return safe(scrubber.field(field, str(value)))

    return atom


def _client(exchange: Finished) -> str:
    head = exchange.head
    client = head.client if head is not None else exchange.peer
    return client[0] if client is not None else ABSENT


def _fields(head: RequestHead | None) -> Fields:
    return {name.lower(): value for name, value in head.headers} if head is not None else {}


def _user(fields: Fields) -> str:
    """Return the user name of basic authentication; its password is never logged."""
    value = fields.get(b"authorization", b"")
    if value[:6].lower() != b"basic ":
        return ABSENT
    try:
        text = base64.b64decode(value[6:].strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ABSENT
    return text.partition(":")[0] or ABSENT


_local = (0, "")
_utc = (0, "")


def _local_time(at: float) -> str:
    global _local
    second = int(at)
    if _local[0] != second:
        _local = (second, time.strftime("[%d/%b/%Y:%H:%M:%S %z]", time.localtime(second)))
    return _local[1]


def _utc_time(at: float) -> str:
    global _utc
    second = int(at)
    if _utc[0] != second:
        _utc = (second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)))
    return f"{_utc[1]}.{int((at - second) * 1000):03d}Z"
