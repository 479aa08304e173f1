"""Bodies that go to disk: never on the loop's time, and a disk that fails is answered."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from flasknado.http import spool
from flasknado.http.limits import Limits
from tests.flasknado.site import Site
from tests.flasknado.wsgi.wire import Wire
from tests.support.poll import poll
from tests.support.raw import connect, read_to_end, statuses

MakeSite = Callable[..., Site]
BODY = bytes(range(256)) * 8 * 1024  # 2 MiB, so on disk


def post(path: bytes, body: bytes = BODY, fields: bytes = b"") -> bytes:
    head = b"POST %b HTTP/1.1\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n"
    return head % (path, fields, len(body)) + body


class SlowDisk:
    """Lets nothing be written before it is told to."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self._make = tempfile.TemporaryFile

    def open(self, **options: Any) -> BinaryIO:
        assert self.released.wait(20)
        return self._make(**options)  # type: ignore[return-value]


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowDisk]:
    disk = SlowDisk()
    monkeypatch.setattr(spool.tempfile, "TemporaryFile", disk.open)
    yield disk
    disk.released.set()


def test_body_on_disk_arrives_whole(shared_site: Site) -> None:
    before = len(shared_site.seen.requests)
    with Wire(shared_site.address) as wire:
        for path in (b"/a", b"/b"):
            assert wire.ask(post(path)).status == 200

    assert [body for _, _, body in shared_site.seen.requests[before:]] == [BODY, BODY]


def test_bodies_on_disk_that_are_pipelined_arrive_whole_and_in_order(shared_site: Site) -> None:
    before = len(shared_site.seen.requests)
    bodies = [BODY, BODY[::-1], b"small", BODY[7:]]
    with Wire(shared_site.address) as wire:
        sender = threading.Thread(
            target=wire.send, args=(b"".join(post(b"/a", body) for body in bodies),)
        )
        sender.start()
        assert [wire.answer().status for _ in bodies] == [200] * 4
        sender.join()

    assert [body for _, _, body in shared_site.seen.requests[before:]] == bodies


def test_slow_disk_stops_the_reading_and_not_the_loop(
    make_site: MakeSite, layer: str, slow_disk: SlowDisk
) -> None:
    site = make_site(layer)
    with Wire(site.address) as uploading, Wire(site.address) as other:
        uploading.send(post(b"/upload-it"))
        began = time.monotonic()
        assert {other.get("/native/a").status for _ in range(20)} == {200}
        assert time.monotonic() - began < 10
        assert not [path for _, path, _ in site.seen.requests if path == "/upload-it"]

        slow_disk.released.set()
        assert uploading.answer().status == 200
    assert ("POST", "/upload-it", BODY) in site.seen.requests


def test_client_that_leaves_while_the_disk_is_slow_leaves_nothing_behind(
    make_site: MakeSite, layer: str, slow_disk: SlowDisk
) -> None:
    site = make_site(layer)
    with connect(site.address) as sock:
        sock.sendall(post(b"/a")[:-10])
    slow_disk.released.set()

    poll(lambda: site.server.counters.in_flight == 0)
    poll(lambda: site.server.budget.bodies_bytes == 0)
    assert not site.seen.requests


def full_disk(**_options: Any) -> BinaryIO:
    return Path("/dev/full").open("wb")


def no_folder(**_options: Any) -> BinaryIO:
    raise FileNotFoundError(2, "No usable temporary directory found")


@pytest.mark.parametrize("failing", [full_disk, no_folder])
@pytest.mark.parametrize("framing", ["announced", "chunked"])
def test_disk_that_takes_nothing_is_answered_507(
    make_site: MakeSite,
    layer: str,
    monkeypatch: pytest.MonkeyPatch,
    failing: Callable[..., BinaryIO],
    framing: str,
) -> None:
    monkeypatch.setattr(spool.tempfile, "TemporaryFile", failing)
    site = make_site(layer)
    request = post(b"/a")
    if framing == "chunked":
        request = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        request += b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    with connect(site.address) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(request)
        said = read_to_end(sock)

    assert statuses(said) == [507]
    assert not site.seen.requests
    poll(lambda: site.server.counters.in_flight == 0)
    poll(lambda: site.server.budget.bodies_bytes == 0)
    with Wire(site.address) as wire:
        assert wire.get("/b").status == 200


def test_full_disk_ends_a_large_upload_without_a_reset(
    make_site: MakeSite, llhttp: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool.tempfile, "TemporaryFile", full_disk)
    site = make_site(llhttp, limits=Limits(max_body_bytes="30M"))
    # Far more than is read from other refused clients.
    with connect(site.address) as sock:
        sock.sendall(post(b"/a", BODY * 15))
        data = b""
        while part := sock.recv(65536):  # a reset would raise
            data += part

    assert statuses(data) == [507]
