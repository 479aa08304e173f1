"""Mixed traffic for a while: memory and open files must end where they were.

    python -m tests.soak 120

runs for 120 seconds (the default) and prints what it saw each ten seconds.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import socket
import sys
import time
from pathlib import Path

from tests.flasknado.site import Site, site
from tests.support.poll import poll
from tests.support.raw import connect, converse, read_to_end

HOST = b"Host: a\r\n"
CLOSE = b"Connection: close\r\n\r\n"
WARM_UP_SHARE = 0.3
"""The part of the run after which memory is measured for the first time."""


def ordinary(address: tuple[str, int]) -> None:
    with connect(address) as sock:
        sock.sendall((b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n") * 20)
        sock.sendall(b"GET /parts HTTP/1.1\r\n" + HOST + CLOSE)
        assert read_to_end(sock).endswith(b"0\r\n\r\n")


def native(address: tuple[str, int]) -> None:
    with connect(address) as sock:
        sock.sendall((b"GET /native/a?slow=1 HTTP/1.1\r\n" + HOST + b"\r\n") * 5)
        sock.sendall(b"GET /native/b HTTP/1.1\r\n" + HOST + CLOSE)
        read_to_end(sock)


def upload(address: tuple[str, int]) -> None:
    for path in (b"/a", b"/native/a", b"/upload"):
        with connect(address) as sock:
            length = b"Content-Length: 1500000\r\n"
            sock.sendall(b"POST " + path + b" HTTP/1.1\r\n" + HOST + length + CLOSE)
            sock.sendall(b"x" * 1_500_000)
            read_to_end(sock)


def refused(address: tuple[str, int]) -> None:
    for bad in (b"\x00\r\n\r\n", b"GET / HTTP/2.0\r\n\r\n", b"POST / HTTP/1.1\r\nHost: a\r\nX"):
        converse(address, bad)


def vanishing(address: tuple[str, int]) -> None:
    for path in (b"/stream", b"/open", b"/flood", b"/a"):
        sock = connect(address, receive_buffer_bytes=4096)
        sock.sendall(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
        with contextlib.suppress(OSError):
            sock.recv(10)
            sock.shutdown(socket.SHUT_RDWR)
        sock.close()


KINDS = (ordinary, ordinary, native, native, upload, refused, vanishing)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 (the entries vanish while they are read)


def resident_kb() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def _is_zero(counted: tuple[str, int]) -> bool:
    return counted[1] == 0


def run(running: Site, seconds: float, *, report: bool = False) -> tuple[int, int]:
    """Send traffic; returns by how many KB memory grew after the warm-up, and open files since."""
    chance = random.Random(7)
    ordinary(running.address)  # from now on it serves for certain, and its threads run
    poll(lambda: ("connections", running.server.counters.connections_open), _is_zero)
    files = open_files()
    began = reported = time.monotonic()
    warm_kb = 0
    while (now := time.monotonic()) < began + seconds:
        chance.choice(KINDS)(running.address)
        running.seen.requests.clear()
        running.seen.gone.clear()
        if not warm_kb and now > began + seconds * WARM_UP_SHARE:
            warm_kb = resident_kb()
        if report and now > reported + 10:
            reported = now
            line = f"{now - began:4.0f} s: {resident_kb()} KB, {open_files()} open files"
            sys.stdout.write(line + "\n")
    running.seen.gone.append("the end")
    poll(lambda: ("connections", running.server.counters.connections_open), _is_zero)
    poll(lambda: ("requests", running.server.counters.in_flight), _is_zero)
    poll(lambda: ("open files", max(open_files() - files, 0)), _is_zero)
    return resident_kb() - warm_kb, open_files() - files


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 120.0
    with site("llhttp") as running:
        grown_kb, files = run(running, seconds, report=True)
    sys.stdout.write(f"memory grew by {grown_kb} KB, open files by {files}\n")
    return 0 if grown_kb < 20_000 and files <= 0 else 1


if __name__ == "__main__":
    sys.exit(main())
