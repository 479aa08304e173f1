"""Connections: slow ones, idle ones, too many, and those of other protocols."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import threading
import time

from tests.siege.attack import Attack, Report, Target
from tests.siege.attacks.bodies import post
from tests.siege.setups import FEW_DESCRIPTORS, MAX_CONNECTIONS, THREADS
from tests.siege.sockets import all_closed, any_answered, dribbling, endlessly, nothing, swarm

SLOW_CLIENTS = 200
READ_BYTES_S = 46_000
HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(190)
"""How a TLS client begins."""
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def slow_heads(target: Target, seconds: float) -> Report:
    """Send one byte of a head each 0.3 s."""
    return _slow(target, seconds, GET[:-2], b"X: a\r\n", 0.3, "408")


def slow_bodies(target: Target, seconds: float) -> Report:
    """Send ten bytes of a body a second."""
    return _slow(target, seconds, post(b"/upload", 1_000_000), b"x", 0.1, "408")


def _slow(
    target: Target, seconds: float, opening: bytes, data: bytes, every_s: float, status: str
) -> Report:
    report, senders = swarm(
        target,
        seconds,
        lambda: (opening, dribbling(data, every_s)),
        count=SLOW_CLIENTS,
        again=False,
        until=all_closed,
    )
    still = sum(sender.open for sender in senders)
    report.expect(not still, f"slow clients are cut off: {still} were not")
    report.expect(
        set(report.answers) <= {status, "closed"}, f"with {status}: {dict(report.answers)}"
    )
    return report


def byte_by_byte(target: Target, seconds: float) -> Report:
    """Send whole requests, each byte in a segment of its own."""
    report, senders = swarm(
        target, seconds, lambda: (b"", dribbling(GET, 0.0)), count=1, until=any_answered("200")
    )
    report.expect(senders[0].open and set(report.answers) == {"200"}, "each is answered 200")
    return report


def pipelining(target: Target, seconds: float) -> Report:
    """Send requests without an end and read the answers."""
    report, senders = swarm(
        target, seconds, lambda: (b"", endlessly(GET * 1_000)), count=4, until=any_answered("200")
    )
    report.expect(
        set(report.answers) <= {"200", "503"} and all(sender.open for sender in senders),
        f"they are answered in order: {dict(report.answers)}",
    )
    return report


def pipelining_deaf(target: Target, seconds: float) -> Report:
    """Send requests without an end and read no answer."""
    heads = GET * 200 + b"GET /live/live.js HTTP/1.1\r\nHost: a\r\n\r\n" * 200
    return swarm(target, seconds, lambda: (b"", endlessly(heads)), count=20, reads=False)[0]


def garbage(target: Target, seconds: float) -> Report:
    """Send what is no HTTP, on one connection after another: noise and TLS hellos."""
    chance = random.Random(7)
    kinds = itertools.cycle((lambda: HELLO, lambda: chance.randbytes(chance.randrange(1, 2000))))

    def noise() -> bytes:
        return next(kinds)() + b"\r\n\r\n"

    report, _senders = swarm(target, seconds, lambda: (noise(), nothing), count=10, most=2_000)
    report.expect(
        set(report.answers) <= {"400", "505", "closed", "431", "414"},
        f"each is refused: {dict(report.answers)}",
    )
    return report


def idle(target: Target, seconds: float) -> Report:
    """Open far more connections than the worker takes, and send nothing."""
    report, _senders = swarm(
        target,
        seconds,
        lambda: (b"", nothing),
        count=2 * MAX_CONNECTIONS,
        again=False,
        until=lambda senders: sum(not sender.open for sender in senders) >= MAX_CONNECTIONS,
    )
    report.expect(
        report.answers["503"] >= MAX_CONNECTIONS,
        f"those above the bound are answered 503: {dict(report.answers)}",
    )
    return report


def descriptors(target: Target, seconds: float) -> Report:
    """Open more connections than the worker may have descriptors, and send requests on each."""
    report, _senders = swarm(
        target,
        seconds,
        lambda: (GET[:-2], dribbling(b"X: a\r\n", 1.0)),
        count=3 * FEW_DESCRIPTORS,
        again=False,
    )
    _wait_for_page(target, report)
    return report


def slow_readers(target: Target, seconds: float) -> Report:
    """Read large responses at 46 KB/s, with twice as many clients as there are threads."""
    report = Report()
    ends = time.monotonic() + seconds
    request = b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n"

    def read() -> None:
        while time.monotonic() < ends:
            with socket.socket() as sock, contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
                sock.settimeout(5)
                sock.connect(target.address)
                sock.sendall(request)
                report.sent_bytes += len(request)
                while time.monotonic() < ends and sock.recv(READ_BYTES_S // 10):
                    time.sleep(0.1)

    readers = [threading.Thread(target=read, daemon=True) for _ in range(2 * THREADS)]
    for reader in readers:
        reader.start()
    if seconds > 13:  # the window in which clients are watched, and a little
        time.sleep(13)
        _wait_for_page(target, report)
    for reader in readers:
        reader.join()
    return report


def _wait_for_page(target: Target, report: Report, within_s: float = 10.0) -> None:
    """Note whether the page is answered within some seconds."""
    ends = time.monotonic() + within_s
    answered = False
    while not answered and time.monotonic() < ends:
        with contextlib.suppress(OSError), socket.create_connection(target.address, 5) as sock:
            sock.settimeout(5)
            sock.sendall(GET)
            answered = sock.recv(100).startswith(b"HTTP/1.1 200 ")
    report.expect(answered, f"the page is answered again within {within_s:.0f} s")


BOTH = ("small", "small, tornado")
# Tornado's own layer waits for slow senders: docs/security.md.
ATTACKS = (
    Attack("slow-heads", "a byte of a head each 0.3 s", slow_heads, ("small",)),
    Attack("slow-bodies", "ten bytes of a body a second", slow_bodies, ("small",)),
    Attack("byte-by-byte", "requests with a segment for each byte", byte_by_byte, BOTH),
    Attack("pipelining", "requests without an end", pipelining, BOTH, page_ms=500),
    Attack(
        "pipelining-deaf", "the same, and no answer is read", pipelining_deaf, BOTH, page_ms=500
    ),
    Attack("garbage", "noise and TLS hellos", garbage, BOTH),
    Attack("idle-connections", "twice as many as the worker takes", idle, ("small",)),
    Attack(
        "descriptors",
        "three times as many as there are descriptors",
        descriptors,
        ("few descriptors",),
        page_ms=None,
        health_fails=True,
    ),
    Attack(
        "slow-readers",
        "large responses at 46 KB/s, on every thread",
        slow_readers,
        ("small",),
        judged_s=16.0,
        page_ms=None,
    ),
)
