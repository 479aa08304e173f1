"""Bodies: large ones, forms, halves that are held, and disks that take none."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from tests.siege.attack import Attack, Report, Target
from tests.siege.setups import MEMORY_LIMIT_MB
from tests.siege.sockets import any_answered, endlessly, nothing, swarm

LARGE_BYTES = 15 * 1024 * 1024
FORM_BYTES = 16 * 1024 * 1024
HELD_CLIENTS = 900
HELD_BYTES = 160 * 1024
DISK_BYTES = 2 * 1024 * 1024
PIECE = b"x" * 65536
FORM_PIECE = b"%" * 65536
NATIVE = (
    *(b"/-/healthz", b"/-/readyz", b"/-/metrics", b"/live/events", b"/live/ndjson", b"/live/poll"),
    *(b"/live/socket", b"/live/publish", b"/live/live.js", b"/native/hello", b"/native/echo"),
)
FORM_TYPE = b"Content-Type: application/x-www-form-urlencoded\r\n"


def post(path: bytes, size: int, fields: bytes = b"") -> bytes:
    """Return the head of a POST that announces a body."""
    return b"POST %b HTTP/1.1\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n" % (path, fields, size)


def chunked(path: bytes) -> bytes:
    """Return the head of a POST with a body of unknown length."""
    return b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" % path


CHUNK = b"10000\r\n" + PIECE + b"\r\n"
"""A chunk of 64 KiB."""


def to_native_routes(target: Target, seconds: float) -> Report:
    """Send 15 MiB to every native route, announced and in chunks, several at once."""
    openings = [post(path, LARGE_BYTES) for path in NATIVE] + [chunked(path) for path in NATIVE]
    pieces = [PIECE] * len(NATIVE) + [CHUNK] * len(NATIVE)
    turns = itertools.cycle(zip(openings, map(endlessly, pieces), strict=True))
    report, senders = swarm(
        target,
        seconds,
        lambda: next(turns),
        count=5,
        most=400,
        until=lambda senders: len(senders) > 20,
    )
    report.expect(len(senders) > 20, f"each is answered soon: {len(senders)} were begun")
    report.expect(
        not any(answer.startswith("2") for answer in report.answers),
        f"no native route takes such a body: {dict(report.answers)}",
    )
    return report


def forms(*paths: bytes) -> Callable[[Target, float], Report]:
    """Return the attack that sends forms of 16 MiB of percent signs."""

    def run(target: Target, seconds: float) -> Report:
        openings = itertools.cycle(post(path, FORM_BYTES, FORM_TYPE) for path in paths)
        report, _senders = swarm(
            target,
            seconds,
            lambda: (next(openings), endlessly(FORM_PIECE)),
            count=2,
            most=100,
            until=any_answered("413"),
        )
        report.expect(
            report.answers["413"] and not report.answers["200"],
            f"such a form is refused: {dict(report.answers)}",
        )
        return report

    return run


def half_sent(target: Target, seconds: float) -> Report:
    """Send nearly all of many bodies, and hold them."""
    opening = post(b"/upload", HELD_BYTES + 1) + b"x" * HELD_BYTES
    report, _senders = swarm(
        target, seconds, lambda: (opening, nothing), count=HELD_CLIENTS, again=False
    )
    return report


def chunks(target: Target, seconds: float) -> Report:
    """Send bodies in chunks of one byte, without an end."""
    piece = b"1\r\nx\r\n" * 10_000
    openings = itertools.cycle(map(chunked, (b"/upload", b"/native/form")))
    report, _senders = swarm(target, seconds, lambda: (next(openings), endlessly(piece)), most=200)
    return report


def to_a_full_disk(target: Target, seconds: float) -> Report:
    """Send bodies that go to disk, one after another."""
    whole = post(b"/upload", DISK_BYTES) + b"x" * DISK_BYTES
    report, _senders = swarm(
        target, seconds, lambda: (whole, nothing), count=2, most=200, until=any_answered("507")
    )
    report.expect(
        report.answers["507"] and not report.answers["200"],
        f"each is answered 507: {dict(report.answers)}",
    )
    return report


ATTACKS = (
    Attack(
        "large-bodies",
        "15 MiB to each native route",
        to_native_routes,
        ("small", "small, tornado"),
        page_ms=300,
    ),
    Attack(
        "percent-forms",
        "forms of 16 MiB of %, to a native handler",
        forms(b"/native/form"),
        ("small", "small, tornado"),
        memory_mb=7 * FORM_BYTES / 1e6,
        kept_mb=4 * FORM_BYTES / 1e6,
    ),
    Attack(
        "login-forms",
        "forms of 16 MiB of %, to /login and /register",
        forms(b"/login", b"/register"),
        ("bundled",),
        page_ms=None,
    ),
    Attack(
        "half-sent-bodies",
        f"{HELD_CLIENTS} bodies that are not finished",
        half_sent,
        ("small", "small, tornado"),
        memory_mb=2.5 * MEMORY_LIMIT_MB,
        kept_mb=MEMORY_LIMIT_MB,
    ),
    Attack("one-byte-chunks", "chunks of one byte without an end", chunks, ("small",)),
    Attack("full-disk", "bodies that a full disk cannot take", to_a_full_disk, ("full disk",)),
)
