"""The `Forwarded` field (RFC 7239) and the addresses in forwarding fields. Pure."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from flasknado.errors import RequestError

# Values with a colon ought to be quoted (RFC 7239, section 4), and often are not.
_PAIR: Final = re.compile(
    r"[ \t]*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)="
    r'(?:"((?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*)"|([^\s;,"\\]*))[ \t]*'
)
_ESCAPED: Final = re.compile(r"\\(.)")


def parse_forwarded(text: str) -> list[dict[str, str]]:
    """Return the elements of a `Forwarded` field, each its parameters by lower-case name.

    Raises `RequestError` (400): half of a malformed field could be anybody's.
    """
    elements: list[dict[str, str]] = []
    element: dict[str, str] = {}
    place = 0
    while place < len(text):
        if text[place] in " \t;":
            place += 1
            continue
        if text[place] == ",":
            if element:
                elements.append(element)
            element = {}
            place += 1
            continue
        match = _PAIR.match(text, place)
        if match is None or text[match.end() : match.end() + 1] not in ("", ";", ","):
            raise RequestError(400, "the Forwarded header is malformed (RFC 7239, section 4)")
        name = match[1].lower()
        if name in element:
            raise RequestError(400, f"the Forwarded header has two {name!a} in one element")
        element[name] = _ESCAPED.sub(r"\1", match[2]) if match[2] is not None else match[3]
        place = match.end()
    if element:
        elements.append(element)
    return elements


def bare_address(text: str) -> str | None:
    """Return an IP address without brackets, port and zone, or `None` if it is none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)
