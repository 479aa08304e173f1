"""What two answers to the same request differ in, part by part."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from tests.flasknado.wsgi.differential.differences import ABSENT, OWN_FIELDS
from tests.flasknado.wsgi.wire import Answer, Wire

_PASSING = (
    (re.compile(rb"(?<=; Expires=)(?!Thu, 01 Jan 1970)[^;]+"), b"SOON"),
    (re.compile(rb"(?<=session=)([^.;]+)\.[^;]+"), rb"\1.SIGNED"),
)
"""What the application answers differently from second to second."""


def answer_of(address: tuple[str, int], request: bytes) -> Answer:
    """Return the answer to a request, without what changes from run to run."""
    with Wire(address) as wire:
        answer = wire.ask(request)
        ports = {b"%d" % address[1]: b"SERVER-PORT", b"%d" % wire.port: b"CLIENT-PORT"}

    def lasting(text: bytes) -> bytes:
        for pattern, stand_in in _PASSING:
            text = pattern.sub(stand_in, text)
        return re.sub(rb"\b[0-9]{4,5}\b", lambda port: ports.get(port[0], port[0]), text)

    answer.body = lasting(answer.body)
    for n, (name, value) in enumerate(answer.fields):
        if name == b"Expires":
            answer.fields[n] = (name, b"SOON")
        elif name.lower() != b"content-length":
            answer.fields[n] = (name, lasting(value))
    return answer


def parts_of(answer: Answer) -> dict[str, str]:
    """Return an answer as named parts, each a text; together they are the whole of it.

    `fields` is the names in the order in which they stand; a JSON object is compared key by key.
    """
    parts = {"status": answer.status_line.decode("latin-1")}
    if answer.interim:
        parts["interim"] = b" ".join(answer.interim).decode("latin-1")
    names = []
    for field, value in answer.fields:
        name = field.decode("latin-1")
        if name.lower() not in OWN_FIELDS:
            names.append(name)
            key = f"header {name.lower()}"
            parts[key] = parts[key] + " | " if key in parts else ""
            parts[key] += value.decode("latin-1")
    parts["fields"] = " ".join(names)
    if answer.header("Content-Type") == "application/json" and answer.body[:1] == b"{":
        _flatten("body", json.loads(answer.body), parts)
    else:
        parts["body"] = answer.body.decode("latin-1")
    return parts


def _flatten(key: str, value: object, parts: dict[str, str]) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            _flatten(f"{key} {name}", inner, parts)
    else:
        parts[key] = value if isinstance(value, str) else json.dumps(value)


def differences_of(
    theirs: Answer, ours: Answer, rewrites: Mapping[str, Callable[[str], str]]
) -> dict[str, tuple[str, str]]:
    """Return the parts in which two answers differ, with what each has there.

    `rewrites` are how our connection layer writes any answer.
    """
    left, right = parts_of(theirs), parts_of(ours)
    for part, rewrite in rewrites.items():
        left[part] = rewrite(left[part])
    differences = {
        part: (left.get(part, ABSENT), right.get(part, ABSENT))
        for part in sorted(left.keys() | right.keys())
        if left.get(part) != right.get(part)
    }
    if any(part.startswith("body") for part in differences):
        return differences
    if theirs.body != ours.body:
        differences["body"] = (repr(theirs.body), repr(ours.body))
    # Werkzeug's server never adds a length, so one that it sends is the application's.
    length = theirs.header("Content-Length")
    if length is not None and ours.header("Content-Length") != length:
        differences["length"] = (length, ours.header("Content-Length") or ABSENT)
    return differences
