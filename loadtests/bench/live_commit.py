"""What an event costs the transaction that publishes it, and how soon and how surely it arrives."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import statistics
import threading
from collections.abc import Iterator

import sqlalchemy as sa

from loadtests.bench import live_append
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
from loadtests.bench.live_helper import Helper, helping
from loadtests.processes import Running
from loadtests.servers import Server

THREADS = (1, 8, 32)
RATE_PER_S = 1000
TURNS = 6
KILL_INTERVAL_S = 2.0
KILLS_S = 10.0
"""How long events are received while sequencers are killed."""
ELECTED = "SELECT application_name FROM pg_stat_activity WHERE application_name ~ '^flasknado seq'"


def servers() -> dict[str, Server]:
    """Return our server on each database, with two workers, so that one may be killed."""
    return live_append.servers(workers=2)


def measure(running: Running, plan: Plan) -> Values:
    """Commit without events and with one each; then commit at a rate, and receive."""
    url = running.target.fill(live_append.URLS[running.server.name])
    found: Values = {FAILURES: 0}
    core = plan.cores.generator
    with helping("loadtests.bench.live_commit_writers", [url], core) as writers:
        for threads in THREADS:
            found.update(_cost(writers, threads, plan.seconds))
            found[FAILURES] += found.pop(f"failures_{threads}")
        arguments = [f"{running.url}/live"]
        with helping("loadtests.bench.live_commit_reader", arguments, core) as reader:
            _receive(writers, reader, plan.seconds, found, "receive")
            if running.server.name == "postgresql":
                with _killing(url) as kills:
                    _receive(writers, reader, max(plan.seconds, KILLS_S), found, "killed")
                found["kills"] = len(kills)
    return found


def _cost(writers: Helper, threads: int, seconds: float) -> Values:
    """Commit with and without events in short turns, because a shared machine's speed drifts."""
    turns: dict[str, list[Values]] = {"plain": [], "event": []}
    for _ in range(TURNS):
        for kind, publishing in (("plain", 0), ("event", 1)):
            turns[kind].append(writers.ask(f"{threads} {publishing} {seconds / TURNS} 0"))
    found: Values = {f"failures_{threads}": 0}
    for kind, values in turns.items():
        found[f"{kind}_{threads}"] = statistics.fmean(v["per_second"] for v in values)
        found[f"{kind}_{threads}_p99_ms"] = statistics.median(v["p99_ms"] for v in values)
        found[f"failures_{threads}"] += sum(v[FAILURES] for v in values)
    # On a machine that is busy otherwise, nothing may be committed in a turn.
    ratios = [
        event["per_second"] / plain["per_second"]
        for plain, event in zip(turns["plain"], turns["event"], strict=True)
        if plain["per_second"]
    ]
    found[f"ratio_{threads}"] = statistics.median(ratios) if ratios else math.nan
    return found


def _receive(writers: Helper, reader: Helper, seconds: float, found: Values, kind: str) -> None:
    reader.ask("begin")
    sent = writers.ask(f"8 1 {seconds} {RATE_PER_S}")
    received = reader.ask(f"end {round(sent['published'])} {round(sent['run'])}")
    found[f"{kind}_per_second"] = sent["per_second"]
    for key in ("p50_ms", "p99_ms"):
        found[f"{kind}_{key}"] = received[key]
    found[f"{kind}_wrong"] = received["missing"] + received["doubles"] + received["disorders"]
    found[FAILURES] += sent[FAILURES]


@contextlib.contextmanager
def _killing(url: str) -> Iterator[list[int]]:
    """Kill the worker that gives the events their order, every few seconds."""
    over = threading.Event()
    killed: list[int] = []
    engine = sa.create_engine(url)

    def kill() -> None:
        while not over.wait(KILL_INTERVAL_S):
            with engine.connect() as connection:
                names = connection.exec_driver_sql(ELECTED).scalars().all()
            for name in names:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(name.rpartition(" ")[2]), signal.SIGKILL)
                    killed.append(int(name.rpartition(" ")[2]))

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()
        engine.dispose()


def goals(medians: Medians) -> list[Goal]:
    """Return this project's goals, where PostgreSQL was measured."""
    found: list[Goal] = []
    cost = "commits/s with an event, of those without, 32 at a time"
    wrong = "events lost, doubled or out of order while sequencers are killed"
    for key, text, bound, at_least in (
        ("ratio_32", cost, 0.85, True),
        ("receive_p99_ms", "p99 from publish to receipt, ms", 50.0, False),
        ("killed_wrong", wrong, 0.0, False),
    ):
        measured = median(medians, "postgresql", key)
        if measured is not None:
            found.append(Goal(text, measured, bound, at_least))
    return found


BENCHMARK = Benchmark(
    name="live-commit",
    title="What an event costs a commit",
    method="A transaction that reads a row, changes it and adds another, from 1, 8 and 32 threads"
    " of one process, without an event and with one, in turns, while a server of two workers"
    f" follows the log; synced to the disk. Then {RATE_PER_S} commits/s from 8 threads and one"
    " reader of all their events over NDJSON, in a process of its own: milliseconds from before"
    " the transaction to the receipt; and the same while the worker that is the sequencer is"
    f" killed every {KILL_INTERVAL_S:g} s. Writers and reader share one core; PostgreSQL has the"
    " server's.",
    servers=tuple(live_append.URLS),
    metrics=(
        *(
            Metric(f"{kind}_{n}{key}", f"{n} {text} {unit}", digits)
            for n in THREADS
            for key, unit, digits in (("", "commits/s", 0), ("_p99_ms", "p99 ms", 1))
            for kind, text in (("plain", "plain"), ("event", "event"))
        ),
        *(Metric(f"ratio_{n}", f"{n} event / plain", 2) for n in THREADS),
        Metric("receive_per_second", "received/s"),
        Metric("receive_p50_ms", "p50 ms", 1),
        Metric("receive_p99_ms", "p99 ms", 1),
        Metric("receive_wrong", "wrong"),
        Metric("killed_per_second", "killed: received/s"),
        Metric("killed_p50_ms", "p50 ms", 1),
        Metric("killed_p99_ms", "p99 ms", 1),
        Metric("killed_wrong", "wrong"),
        Metric("kills", "kills"),
        Metric(FAILURES, "failures"),
    ),
    measure=measure,
    goals=goals,
)
