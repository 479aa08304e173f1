"""Live clients that are silent, deaf, slow to begin, or from a page of another site."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from typing import Any

from tests.siege.attack import Attack, Report, Target
from tests.siege.setups import HANG_S, PUBLISH_TOKEN
from tests.siege.sockets import (
    Sender,
    close_code,
    handshake,
    nothing,
    subscribe,
    swarm,
)

CLIENTS = 50
HANGING_CLIENTS = 8
"""Twice as many as there are threads that authorise."""
GRACE_S = 10.0
BIG_EVENT = json.dumps({"channel": "open", "event": "e", "data": "x" * 30_000})


def get_json(target: Target, path: str, fields: dict[str, str] | None = None) -> Any:
    """Return what a page says, as JSON; `None` if it says none."""
    connection = http.client.HTTPConnection(*target.address, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path, headers=fields or {})
        with contextlib.suppress(ValueError):
            return json.loads(connection.getresponse().read())
    return None


def each_told(senders: list[Sender]) -> bool:
    """Return whether each has got a closing frame."""
    return all(close_code(sender.heard) is not None for sender in senders)


def expect_code(report: Report, senders: list[Sender], code: int) -> None:
    codes = {close_code(sender.heard) for sender in senders}
    report.expect(codes == {code}, f"every such client is closed with {code}: {codes}")


def without_pongs(target: Target, seconds: float) -> Report:
    """Follow a watched channel and answer no ping."""
    opening = handshake() + subscribe("watched")
    report, senders = swarm(
        target, seconds, lambda: (opening, nothing), count=CLIENTS, again=False, until=each_told
    )
    expect_code(report, senders, 1008)
    ends = time.monotonic() + GRACE_S
    while (present := get_json(target, "/present")) and time.monotonic() < ends:
        time.sleep(0.1)
    report.expect(present == 0, f"who is gone is present no longer: {present}")
    return report


def without_subscribing(target: Target, seconds: float) -> Report:
    """Open sockets and follow nothing."""
    report, senders = swarm(
        target,
        seconds,
        lambda: (handshake(), nothing),
        count=CLIENTS,
        again=False,
        until=each_told,
    )
    expect_code(report, senders, 1008)
    return report


def deaf(target: Target, seconds: float) -> Report:
    """Follow a busy channel and read nothing of it."""
    opening = b"GET /live/events?channel=open HTTP/1.1\r\nHost: a\r\n\r\n"
    over = threading.Event()

    def publish() -> None:
        fields = {"Authorization": f"Bearer {PUBLISH_TOKEN}"}
        connection = http.client.HTTPConnection(*target.address, timeout=10)
        with contextlib.closing(connection):
            while not over.wait(0.02):
                connection.request("POST", "/live/publish", BIG_EVENT, fields)
                response = connection.getresponse()
                response.read()
                published.append(response.status)

    published: list[int] = []
    publisher = threading.Thread(target=publish, daemon=True)
    publisher.start()
    report, _senders = swarm(
        target, seconds, lambda: (opening, nothing), count=2 * CLIENTS, again=False, reads=False
    )
    over.set()
    publisher.join()
    report.expect(published and set(published) == {200}, f"events are taken: {set(published)}")
    return report


def hanging(target: Target, seconds: float) -> Report:
    """Ask for a channel whose authorisation hangs, while somebody else asks for another."""

    def ask(channel: bytes) -> bytes:
        return b"GET /live/events?channel=%b HTTP/1.1\r\nHost: a\r\n\r\n" % channel

    waits: list[float] = []

    def ask_for_another() -> None:
        time.sleep(seconds / 4)
        began = time.monotonic()
        with socket.create_connection(target.address, 15) as sock:
            sock.sendall(ask(b"open"))
            if sock.recv(65536).startswith(b"HTTP/1.1 200 "):
                waits.append(time.monotonic() - began)

    asking = threading.Thread(target=ask_for_another, daemon=True)
    asking.start()
    report, _senders = swarm(
        target, seconds, lambda: (ask(b"hangs"), nothing), count=HANGING_CLIENTS, again=False
    )
    asking.join()
    report.expect(
        waits and waits[0] < HANG_S - 2, f"others are let in meanwhile, but waited {waits} s"
    )
    return report


def cross_site(target: Target, seconds: float) -> Report:
    """Open a WebSocket as a page of another site does: with the cookies of who is logged in here.

    The policy of the small application lists no origin.
    """
    report = Report()
    began = time.monotonic()
    while not report.answers or time.monotonic() < began + min(seconds, 1):
        with socket.create_connection(target.address, 10) as sock:
            request = handshake(fields=b"Origin: https://evil.example\r\nCookie: session=x\r\n")
            sock.sendall(request)
            report.sent_bytes += len(request)
            status = sock.recv(4096).split(b" ")[1].decode()
        report.answers[status] += 1
    report.expect(set(report.answers) == {"403"}, f"it is refused: {dict(report.answers)}")
    return report


ATTACKS = (
    Attack(
        "live-without-pongs",
        "WebSockets that answer no ping",
        without_pongs,
        ("small",),
    ),
    Attack(
        "live-without-subscribing",
        "WebSockets that follow nothing",
        without_subscribing,
        ("small",),
    ),
    Attack("live-deaf", "clients that do not read a busy channel", deaf, ("small",)),
    Attack("live-hanging", "clients whose authorisation hangs", hanging, ("small",)),
    Attack("live-cross-site", "WebSockets of other sites' pages", cross_site, ("small",)),
)
