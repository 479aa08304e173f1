"""The memory budget of a server: reading pauses at the bound, then bodies are refused."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flasknado.http import memory
from flasknado.http.allocator import give_back_freed
from flasknado.http.limits import Limits
from flasknado.http.memory import LEAST_BYTES, MemoryBudget, default_limit_bytes
from flasknado.sizes import GIB, MIB
from loadtests.processes import resident_bytes
from tests.flasknado.site import Site
from tests.flasknado.wsgi.wire import Wire
from tests.support.poll import poll
from tests.support.raw import connect, read_to_end, statuses

MakeSite = Callable[..., Site]
PATHS = ["/a", "/native/a"]
LIMIT_BYTES = 1_000_000
BEGUN_BYTES = 600_000


def limits(**changed: Any) -> Limits:
    return Limits(sweep_interval_s=0.05, memory_limit_bytes=LIMIT_BYTES, **changed)


def begun(path: str) -> bytes:
    """Return most of a request: what it lacks is small."""
    head = b"POST %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    return head % (path.encode(), BEGUN_BYTES + 10) + b"x" * BEGUN_BYTES


def test_budget_is_full_at_its_limit_and_has_room_below_seven_eighths() -> None:
    told: list[bool] = []
    budget = MemoryBudget(800)
    budget.on_change.append(told.append)
    for size_bytes in (799, 1, 100, -101, -98, -2, 0):
        budget.hold(size_bytes)

    assert told == [True, False]
    assert budget.bodies_bytes == 699


def test_what_slow_clients_wait_for_counts_when_looked_at() -> None:
    budget = MemoryBudget(100)
    budget.sources.append(lambda: 150)
    assert not budget.full

    budget.look()

    assert budget.full
    assert budget.held_bytes == 150


@pytest.mark.parametrize(
    ("group", "workers", "limit"),
    [
        ("max\n", 1, 8 * GIB),
        ("max\n", 4, 2 * GIB),
        (str(2 * GIB), 2, GIB // 2),
        (str(64 * GIB), 1, 8 * GIB),
        (str(10 * MIB), 4, LEAST_BYTES),
        (None, 1, 8 * GIB),
    ],
)
def test_default_limit_is_half_of_the_memory_there_is_divided_among_workers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, group: str | None, workers: int, limit: int
) -> None:
    file = tmp_path / "memory.max"
    if group is not None:
        file.write_text(group)
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 4 * MIB}.get)

    assert default_limit_bytes(workers, (str(file),)) == limit


@pytest.mark.parametrize("path", PATHS)
def test_new_body_at_the_bound_is_answered_503_and_other_requests_are_served(
    make_site: MakeSite, layer: str, path: str
) -> None:
    site = make_site(layer, limits=limits(body_timeout_s=1))
    with contextlib.ExitStack() as held:
        for _ in range(2):
            sock = held.enter_context(connect(site.address))
            sock.sendall(begun(path))
        poll(lambda: site.server.budget.full)

        with Wire(site.address) as wire:
            refused = wire.ask(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na")
            assert refused.status == 503
            assert refused.header("Retry-After") == "5"
        with Wire(site.address) as wire:
            assert [wire.get("/a").status, wire.get("/native/a").status] == [200, 200]
    assert site.server.budget.refused == 1

    poll(lambda: site.server.budget.bodies_bytes == 0)
    with Wire(site.address) as wire:
        assert wire.ask(begun(path) + b"x" * 10).status == 200
    poll(lambda: site.server.budget.bodies_bytes == 0)


@pytest.mark.parametrize("path", PATHS)
def test_bodies_that_wait_for_room_go_on_when_there_is_some(
    make_site: MakeSite, layer: str, path: str
) -> None:
    site = make_site(layer, limits=limits())
    with Wire(site.address) as wire:
        wire.send(begun(path))
        poll(lambda: site.server.budget.bodies_bytes >= BEGUN_BYTES)
        site.serving.on_loop(lambda: site.server.budget.hold(LIMIT_BYTES))
        assert site.server.budget.full
        wire.send(b"x" * 10)
        assert site.server.counters.in_flight == 1
        site.serving.on_loop(lambda: site.server.budget.hold(-LIMIT_BYTES))

        assert wire.answer().status == 200
    poll(lambda: site.server.budget.bodies_bytes == 0)


@pytest.mark.parametrize("path", PATHS)
def test_bodies_that_wait_for_each_other_are_refused_in_the_end(
    make_site: MakeSite, layer: str, path: str
) -> None:
    site = make_site(layer, limits=limits(body_timeout_s=0.3))
    with connect(site.address) as first, connect(site.address) as second:
        for sock in (first, second):
            sock.sendall(begun(path))
        poll(lambda: site.server.budget.full)
        for sock in (first, second):
            with contextlib.suppress(ConnectionError):
                sock.sendall(b"x" * 10)
        said = [statuses(read_to_end(sock)) for sock in (first, second)]

    assert [503] in said
    poll(lambda: site.server.budget.bodies_bytes == 0)


def test_many_clients_that_take_nothing_fill_the_budget(make_site: MakeSite, llhttp: str) -> None:
    site = make_site(llhttp, limits=limits())
    with contextlib.ExitStack() as held:
        sock = held.enter_context(connect(site.address, receive_buffer_bytes=4096))
        sock.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        poll(lambda: site.server.budget.full)
        with Wire(site.address) as wire:
            refused = wire.ask(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na")
        assert refused.status == 503
    poll(lambda: not site.server.budget.owing)

    with Wire(site.address) as wire:
        assert wire.get("/a").status == 200
        poll(lambda: not site.server.budget.full)


def test_body_of_a_handler_that_streams_is_held_only_until_it_takes_it(
    make_site: MakeSite, llhttp: str
) -> None:
    site = make_site(llhttp, limits=limits())
    body = b"x" * 3 * LIMIT_BYTES
    head = b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    with Wire(site.address) as wire:
        wire.send(head + body[1:])
        poll(lambda: site.server.counters.running["native"] == 1)
        wire.send(b"x")
        assert wire.answer().status == 200
    assert site.server.budget.refused == 0
    poll(lambda: site.server.budget.bodies_bytes == 0)


def test_freed_memory_is_given_back_once_after_a_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setattr(memory, "give_back_freed", lambda: given.append(budget.held_bytes))
    budget = MemoryBudget(GIB)
    for size_bytes in (100 * MIB, -80 * MIB, -15 * MIB, -5 * MIB, 20 * MIB, -20 * MIB):
        budget.hold(size_bytes)
        budget.look()

    assert given == [5 * MIB]


def test_memory_of_a_flood_goes_back_to_the_system() -> None:
    """What stays is what pieces still in use lie between: glibc's own threshold is no help."""
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("this C library cannot give memory back")
    pieces = [bytes(60_000) for _ in range(2_000)]
    kept = pieces[::40]
    resident = resident_bytes(os.getpid())
    del pieces
    give_back_freed()

    poll(lambda: resident - resident_bytes(os.getpid()) > 60 * MIB)
    assert kept
