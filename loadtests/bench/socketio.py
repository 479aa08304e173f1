"""Socket.IO beside Flask-SocketIO: connects, memory, deliveries, and echo round trips."""

from __future__ import annotations

from collections.abc import Iterator

from loadtests.bench import rounds
from loadtests.bench.benchmark import (
    FAILURES,
    GENERATOR,
    Benchmark,
    Goal,
    Medians,
    Metric,
    Plan,
    Values,
    median,
)
from loadtests.bench.live_clients import BURST_EVENTS, BURSTS, SINGLE_EVENTS
from loadtests.bench.live_helper import helping
from loadtests.processes import Running
from loadtests.servers import INSTALL_BENCH, OURS, Server

GEVENT = "flask-socketio-gevent"
THREADS = "flask-socketio-threads"
TORNADO = "python-socketio-tornado"
CLIENTS = (1000, 3000)
POLLING_CLIENTS = 1000
POLLING_BYTES = "polling_bytes"
CONNECTS = "connects_per_second"
EVENTS = {"single": SINGLE_EVENTS, "burst": BURSTS * BURST_EVENTS}
RATES = {"single": "single_per_second", "burst": "per_second"}


def measure(running: Running, plan: Plan) -> Values:
    """Measure both numbers of clients, each on a server that has served nobody yet."""
    values = _measure_one(running, CLIENTS[0], plan)
    with rounds.served(running.server, plan) as fresh:
        more = _measure_one(fresh, CLIENTS[1], plan)
    with rounds.served(running.server, plan) as fresh:
        values[POLLING_BYTES] = _measure_polling(fresh, plan)
    return {
        **values,
        **more,
        FAILURES: values[FAILURES] + more[FAILURES],
        GENERATOR: max(values[GENERATOR], more[GENERATOR]),
    }


def _measure_polling(running: Running, plan: Plan) -> float:
    """Return the bytes of memory of each client on long-polling whose poll waits."""
    before_bytes = running.resident_bytes()
    arguments = [str(running.target.port), str(POLLING_CLIENTS)]
    with helping("loadtests.bench.socketio_polling", arguments, plan.cores.generator):
        return (running.resident_bytes() - before_bytes) / POLLING_CLIENTS


def _measure_one(running: Running, count: int, plan: Plan) -> Values:
    before_bytes, before_s = running.resident_bytes(), running.processor_s()
    arguments = [str(running.target.port), str(count)]
    with helping("loadtests.bench.socketio_clients", arguments, plan.cores.generator) as helper:
        measured = helper.ask("connected")
        measured["connect_us"] = 1e6 * (running.processor_s() - before_s) / count
        measured["bytes"] = (running.resident_bytes() - before_bytes) / count
        del measured[GENERATOR]  # of no time
        failures, busiest = measured.pop(FAILURES), 0.0
        for phase in ("echo", *EVENTS):
            used_before_s = running.processor_s()
            values = helper.ask(phase)
            used_s = running.processor_s() - used_before_s
            failures += values.pop(FAILURES)
            busiest = max(busiest, share := values.pop(GENERATOR))
            if phase in EVENTS:
                values[f"{phase}_us"] = 1e6 * used_s / (EVENTS[phase] * count)
                values[f"{phase}_{GENERATOR}"] = share
            measured |= values
    return {**{f"{key}_{count}": n for key, n in measured.items()}, FAILURES: failures} | {
        GENERATOR: busiest
    }


def servers() -> dict[str, Server]:
    """Return the servers, each with the same application but for its import."""
    gunicorn = (
        *("{bench}/gunicorn", "--workers", "1", "--no-control-socket", "--log-level", "warning"),
        *("--worker-connections", "10000", "--bind", "127.0.0.1:{port}"),
    )
    flask = "loadtests.apps.socketio_flask:app"
    ours = (
        *("{bench}/python", "-m", "flasknado", "--threads", "{threads}", "--bind"),
        *("127.0.0.1:{port}", "--log-level", "warning", "loadtests.apps.socketio_ours:app"),
    )
    table = {
        OURS: (("env", "LIVE_MAX_PER_ADDRESS=10000", *ours), "clients on the event loop"),
        GEVENT: (
            ("env", "SOCKETIO_ASYNC_MODE=gevent", *gunicorn, "--worker-class", "gevent", flask),
            "a greenlet for each client, and another that sends",
        ),
        THREADS: (
            (
                *("env", "SOCKETIO_ASYNC_MODE=threading", *gunicorn, "--worker-class", "gthread"),
                *("--threads", str(max(CLIENTS) + 100), flask),
            ),
            "a thread for each client, and another that sends",
        ),
        TORNADO: (
            ("{bench}/python", "-m", "loadtests.apps.socketio_tornado", "{port}"),
            "python-socketio's own server for asyncio, handlers as coroutines",
        ),
    }
    program = "from importlib.metadata import version; print(version({!r}))"
    packages = {OURS: "tornado", TORNADO: "python-socketio"}
    return {
        name: Server(
            name,
            command,
            ("{bench}/python", "-c", program.format(packages.get(name, "flask-socketio"))),
            INSTALL_BENCH,
            good_at,
            pooled=False,
        )
        for name, (command, good_at) in table.items()
    }


def goals(medians: Medians) -> list[Goal]:
    """10 times gevent's connects, 1.5 times its deliveries, 5 times the others'; 6 KB a client."""
    found = []
    for peer, connects, deliveries in (
        (GEVENT, 10.0, 1.5),
        (THREADS, None, 5.0),
        (TORNADO, None, 5.0),
    ):
        for count in CLIENTS:
            bounds = {CONNECTS: connects, **dict.fromkeys(RATES.values(), deliveries)}
            for key, bound in bounds.items():
                ours = median(medians, OURS, f"{key}_{count}")
                theirs = median(medians, peer, f"{key}_{count}")
                if bound is not None and ours is not None and theirs:
                    text = f"{_HEADINGS[key]} of {count:,} clients, times those of {peer}"
                    found.append(Goal(text, ours / theirs, bound, True))
    for count in CLIENTS:
        memory = median(medians, OURS, f"bytes_{count}")
        if memory is not None:
            found.append(Goal(f"KB for each of {count:,} clients", memory / 1000, 6, False))
    polling = median(medians, OURS, POLLING_BYTES)
    if polling is not None:
        text = f"KB for each of {POLLING_CLIENTS:,} clients on long-polling"
        found.append(Goal(text, polling / 1000, 6, False))
    return found


_HEADINGS = {
    CONNECTS: "connects/s",
    RATES["single"]: "deliveries/s of single events",
    RATES["burst"]: "deliveries/s of bursts",
}


def _metrics() -> Iterator[Metric]:
    for count in CLIENTS:
        yield Metric(f"{CONNECTS}_{count}", f"connects/s, {count:,}")
        yield Metric(f"connect_us_{count}", "connect us each")
        yield Metric(f"bytes_{count}", "bytes each")
        for phase, key in RATES.items():
            limit = f"{phase}_{GENERATOR}_{count}"
            yield Metric(f"{key}_{count}", f"{phase} deliveries/s", limited_by=limit)
            yield Metric(f"{phase}_us_{count}", f"{phase} us each", 1)
        yield Metric(f"p99_ms_{count}", "single p99 ms", 1)
        yield Metric(f"echo_us_{count}", "echo us")
    yield Metric(POLLING_BYTES, f"polling bytes each, {POLLING_CLIENTS:,}")
    yield Metric(FAILURES, "failures")
    yield Metric(GENERATOR, "generator %")


BENCHMARK = Benchmark(
    name="socketio",
    title="Socket.IO: 1,000 and 3,000 clients",
    method="WebSocket clients, first 1,000, then 3,000 on a new server: connects a second with 64"
    " on their way at once; resident memory for each; deliveries a second to all of them, of single"
    f" events and of {BURST_EVENTS} that one handler emits (medians), and the server's processor"
    " time for each; the median time until an event of one client has been acknowledged; resident"
    f" memory for each of {POLLING_CLIENTS:,} clients on long-polling, whose poll waits. The same"
    " application but for its import; python-socketio's handlers are coroutines. One worker, whose"
    " log is in memory; for threads, gunicorn has 3,100.",
    servers=tuple(servers()),
    metrics=tuple(_metrics()),
    measure=measure,
    goals=goals,
)
