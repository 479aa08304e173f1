"""Requests hidden in others, and requests behind the end of a connection."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

from tests.siege.attack import Attack, Report, Target
from tests.siege.attacks.live import get_json
from tests.siege.setups import BEHIND
from tests.support.raw import connect, read_to_end, statuses

DRAIN_S = 5.0
SMUGGLED = {
    "a length behind chunks": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a coding behind a tab": b"Transfer-Encoding:\tchunked, identity\r\n\r\n0\r\n\r\n",
    "a coding in quotes": b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "a coding behind a folded line": b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a bare LF before the coding": b"X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a bare CR before the length": b"X: a\rContent-Length: 40\r\n\r\n",
    "a length in hexadecimal": b"Content-Length: 0x10\r\n\r\n",
    "a NUL behind the length": b"Content-Length: 0\x00\r\n\r\n",
    "a chunk size that overflows": b"Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n",
    "a bare LF in a chunk extension": b"Transfer-Encoding: chunked\r\n\r\n0;a\nb\r\n\r\n",
}
"""What makes two servers disagree on where a request ends, beside the table of refusals."""
ENDS = {
    "two Host": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "a bad Host": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "a body above the limit": (
        b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n"
    ),
    "an unknown expectation": (
        b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nExpect: 200-ok\r\n\r\n"
    ),
    "another version": b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    "Connection: close": b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "HTTP/1.0": b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
    "CONNECT": b"CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n",
    "a body to a native route": (
        b"POST /native/hello HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n"
    ),
}
"""Requests after which a connection ends."""


def behind(number: int) -> bytes:
    """Return requests that must not run, to a view and to a native handler."""
    paths = (f"{BEHIND}{number}", f"{BEHIND}native/{number}")
    return b"".join(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode() for path in paths)


def _none_behind(target: Target, seconds: float, requests: Sequence[tuple[str, bytes]]) -> Report:
    """Send each request with others behind it, again and again; none of those may run."""
    report = Report()
    ends = time.monotonic() + seconds
    first = True
    while first or time.monotonic() < ends:
        first = False
        for number, (name, request) in enumerate(requests):
            said = _converse(target, request + behind(number), report)
            found = statuses(said)
            report.answers[str(found[0]) if found else "closed"] += 1
            report.expect(len(found) <= 1, f"one answer to {name}: {found}")
    ran = get_json(target, "/ran") or {}
    names = {requests[int(path.rpartition("/")[2])][0] for path in ran}
    report.expect(not ran, f"nothing behind it is run: {sorted(names)}")
    report.broken = sorted(set(report.broken))
    return report


def _converse(target: Target, data: bytes, report: Report) -> bytes:
    with connect(target.address) as sock:
        sock.settimeout(DRAIN_S)
        with contextlib.suppress(ConnectionError):
            sock.sendall(data)
            report.sent_bytes += len(data)
        try:
            return read_to_end(sock)
        except TimeoutError:
            report.expect(False, "the connection ends with the answer")
            return b""


def smuggling(target: Target, seconds: float) -> Report:
    """Send every malformed framing, with requests behind it."""
    from tests.flasknado.http.refusals import REFUSALS  # which takes long to import

    requests = [(refusal.name, refusal.request) for refusal in REFUSALS["Framing"]]
    head = b"POST /upload HTTP/1.1\r\nHost: a\r\n"
    requests += [(name, head + rest) for name, rest in SMUGGLED.items()]
    if target.layer == "tornado":  # its parser takes a bare LF for the end of a line
        requests = [(name, data) for name, data in requests if not name.startswith("a bare LF")]
    return _none_behind(target, seconds, requests)


def behind_an_end(target: Target, seconds: float) -> Report:
    """Send requests behind those that end a connection."""
    return _none_behind(target, seconds, list(ENDS.items()))


BOTH = ("small", "small, tornado")
ATTACKS = (
    Attack("smuggling", "requests behind malformed framing", smuggling, BOTH),
    Attack("behind-the-end", "requests behind the last of a connection", behind_an_end, BOTH),
)
