"""Ordinary requests and health while answers are held open, and what each of those costs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import NamedTuple

from loadtests.bench import wrk
from loadtests.bench.benchmark import (
    FAILURES,
    Benchmark,
    Goal,
    Medians,
    Metric,
    Plan,
    Values,
    median,
)
from loadtests.bench.held_clients import SOCKET, ask, begun
from loadtests.bench.holding import close, holding
from loadtests.processes import Running
from loadtests.servers import INSTALL_BENCH, OURS, SERVERS, Server

SETTLE_S = 1.5
CONNECTIONS = 8
COST_CONNECTIONS = 32
ROUND_TRIPS = 2_000
ASYNC = "async_times_sync"
ECHO = "echo_us"
_HELLO = b"\x81\x85\0\0\0\0hello"
_ECHO = b"\x81\x05hello"


class Kind(NamedTuple):
    """One kind of answer that is held, and who can hold it."""

    name: str
    path: str
    number: int
    heading: str
    servers: tuple[str, ...]
    path_of_others: str | None = None
    """Where servers without an event loop of their own hold the same."""


OTHERS = ("gunicorn-gthread", "gunicorn-gevent")
KINDS = (
    Kind("streams", "/stream", 200, "200 streams of views", (OURS, *OTHERS)),
    Kind("loop", "/loop", 1000, "1,000 streams on the event loop, 30 parts a second each", (OURS,)),
    # gunicorn's threads are too few for these.
    Kind("quiet", "/quiet", 1000, "1,000 streams, a part a second", (OURS, OTHERS[1]), "/stream"),
    Kind("sockets", SOCKET, 250, "250 Flask-Sock clients", (OURS, *OTHERS)),
)


def measure(running: Running, plan: Plan) -> Values:
    """Hold each kind in turn; latencies with and without, memory, failures."""
    values: Values = {FAILURES: 0.0, "alone_p99_ms": _p99_ms(running, "/", plan, {})}
    for kind in KINDS:
        if running.server.name in kind.servers:
            _measure_kind(kind, running, plan, values)
    values[ECHO] = _round_trip_us(running)
    if running.server.name == OURS:
        sync_us, async_us = (_cost_us(running, path, plan, values) for path in ("/", "/async"))
        values |= {"sync_us": sync_us, "async_us": async_us, ASYNC: async_us / sync_us}
    return values


def _measure_kind(kind: Kind, running: Running, plan: Plan, values: Values) -> None:
    before_bytes = running.resident_bytes()
    path = kind.path
    if kind.path_of_others is not None and running.server.name != OURS:
        path = kind.path_of_others
    arguments = (str(running.target.port), path, str(kind.number))
    clients = ("-m", "loadtests.bench.held_clients", *arguments)
    with holding(clients, kind.heading, plan) as helper:
        time.sleep(SETTLE_S)
        used_bytes = running.resident_bytes() - before_bytes
        values[f"{kind.name}_kb"] = used_bytes / kind.number / 1000
        values[f"{kind.name}_p99_ms"] = _p99_ms(running, "/", plan, values)
        if running.server.name == OURS:
            values[f"{kind.name}_health_ms"] = _p99_ms(running, "/-/healthz", plan, values)
        values[FAILURES] += kind.number - close(helper)


def _p99_ms(running: Running, path: str, plan: Plan, values: Values) -> float:
    load = wrk.Load(CONNECTIONS, plan.seconds)
    report = wrk.run(running.url + path, load, plan.cores.generator)
    values[FAILURES] = values.get(FAILURES, 0.0) + report.failures
    return report.p99_ms


def _cost_us(running: Running, path: str, plan: Plan, values: Values) -> float:
    """Return the processor time of one request on busy connections."""
    before_s = running.processor_s()
    load = wrk.Load(COST_CONNECTIONS, plan.seconds)
    report = wrk.run(running.url + path, load, plan.cores.generator)
    values[FAILURES] += report.failures
    return 1e6 * (running.processor_s() - before_s) / max(report.requests, 1)


def _round_trip_us(running: Running) -> float:
    """Return the median time of one message to a WebSocket and back."""
    times = []
    with begun(ask(running.target.port, SOCKET), SOCKET) as connection:
        for _ in range(ROUND_TRIPS):
            began = time.perf_counter()
            connection.sendall(_HELLO)
            if connection.recv(100) != _ECHO:
                raise wrk.GeneratorFailed("the echo is another one")
            times.append(time.perf_counter() - began)
    return 1e6 * statistics.median(times)


def servers() -> dict[str, Server]:
    """Return the servers with the application of held answers; gunicorn has a thread for each."""
    application = (
        "--bind",
        "127.0.0.1:{port}",
        "--log-level",
        "warning",
        "loadtests.apps.held:app",
    )
    ours = ("{bench}/python", "-m", "flasknado", "--threads", "{threads}", *application)
    theirs = ("{bench}/gunicorn", "--workers", "1", "--no-control-socket", "--keep-alive", "75")
    commands = {
        OURS: ours,
        OTHERS[0]: (*theirs, "--worker-class", "gthread", "--threads", "300", *application),
        OTHERS[1]: (
            *(*theirs, "--worker-class", "gevent", "--worker-connections", "2000"),
            *application,
        ),
    }
    return {
        name: Server(
            name, command, SERVERS[name].version, INSTALL_BENCH, SERVERS[name].good_at, pooled=False
        )
        for name, command in commands.items()
    }


def goals(medians: Medians) -> list[Goal]:
    """At most 20 ms beside what is held."""
    found = []
    for kind in KINDS:
        p99_ms = median(medians, OURS, f"{kind.name}_p99_ms")
        if p99_ms is not None:
            found.append(Goal(f"p99 ms beside {kind.heading}", p99_ms, 20, False))
    kept_kb = median(medians, OURS, "loop_kb")
    if kept_kb is not None:
        found.append(Goal("KB for each stream on the event loop", kept_kb, 12, False))
    times = median(medians, OURS, ASYNC)
    if times is not None:
        found.append(Goal("async view, times a sync one", times, 1.5, False))
    return found


def _metrics() -> Iterator[Metric]:
    for kind in KINDS:
        yield Metric(f"{kind.name}_p99_ms", f"{kind.name}: p99 ms", 2)
        yield Metric(f"{kind.name}_health_ms", f"{kind.name}: health p99 ms", 2)
        yield Metric(f"{kind.name}_kb", f"{kind.name}: KB each", 1)
    yield Metric("alone_p99_ms", "p99 ms alone", 2)
    yield Metric(ECHO, "echo us")
    yield Metric("sync_us", "sync view: us", 1)
    yield Metric("async_us", "async view: us", 1)
    yield Metric(ASYNC, "async / sync", 2)
    yield Metric(FAILURES, "failures")


BENCHMARK = Benchmark(
    name="held",
    title="Ordinary requests beside answers that are held open",
    method="`GET /` on 8 connections while "
    + ", then ".join(kind.heading for kind in KINDS)
    + " are held; resident memory of the server's processes; the median round trip of a message to"
    " a Flask-Sock view and back; the processor time of an `async def` view and of the same as"
    " `def`. gunicorn's threads are 300, ours 16 and the streams' own.",
    servers=(OURS, *OTHERS),
    metrics=tuple(_metrics()),
    measure=measure,
    goals=goals,
    more_is_better=False,
)
