"""The judge of the live part: nothing is lost, doubled or disordered, whatever breaks.

python -m tests.live_server.chaos --seconds 60 --subscribers 1000 --database postgresql

Followers over every transport read while a publisher writes, workers are killed with -9 or
changed by HUP, connections are cut, and on PostgreSQL the database restarts and the worker that
orders the events is killed. One client in ten
never reads. At the end each follower must have had every committed event of its channels,
once, in order; what was committed is read from the database.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import re
import resource
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from flask import Flask

from flasknado.live import Live
from flasknado.live.log.database import DatabaseLog
from flasknado.live.log.tables import KEPT_TABLES, live_log, live_outbox
from flasknado.live.state import state_of
from loadtests.processes import resident_bytes
from tests.live_server.followers import DEAF_CHANNEL, Fleet
from tests.support.poll import poll
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.process import PROJECT_ROOT, ServerProcess, server_process

WORKERS = 2
CHANNEL_SETS = (["even"], ["odd"], ["even", "odd"])
BACKLOG_LIMIT_BYTES = 64 * 1024
PAD = "x" * 2000
BULK = "x" * 50_000
BULK_SHARE = 0.3
DEADLINE_S = 120.0
ELECTED = "SELECT application_name FROM pg_stat_activity WHERE application_name ~ '^flasknado seq'"

APP = """
import os
from flask import Flask
from flasknado.live import Live

app = Flask("chaos")
app.config["LIVE_BACKLOG_LIMIT_BYTES"] = {backlog}
live = Live(app, database_url=os.environ["DATABASE_URL"])

@live.authorize
def may_read(channel):
    return channel in ("even", "odd", "bulk")
"""


@dataclass(frozen=True)
class Plan:
    """How much of everything; `seconds` is how long things break."""

    seconds: float
    subscribers: int
    events_per_s: float
    phase_events: int = 60
    """How many events the phases before have, in which latency is compared."""
    cut_every_s: float = 3.0


@dataclass
class Verdict:
    """What was done, and what came of it; the four first counts must be 0."""

    gaps: int = 0
    duplicates: int = 0
    disorders: int = 0
    strangers: int = 0
    """Events that are not in the database, or of other channels."""
    resets: int = 0
    failures: list[str] = field(default_factory=list)
    events: int = 0
    deliveries: int = 0
    connects: int = 0
    refusals: int = 0
    cuts: int = 0
    deaf_disconnected: int = 0
    done: dict[str, int] = field(default_factory=dict)
    """How often each thing was broken."""
    latency_ms: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By phase, the median and the 99th percentile from publish to receipt."""
    worker_bytes: int = 0
    """The most memory that a worker was seen to have."""

    @property
    def errors(self) -> int:
        return self.gaps + self.duplicates + self.disorders + self.strangers + self.resets

    def __str__(self) -> str:
        latencies = ", ".join(
            f"{phase} p50 {p50:.1f} p99 {p99:.1f}" for phase, (p50, p99) in self.latency_ms.items()
        )
        done = ", ".join(f"{count} x {kind}" for kind, count in self.done.items())
        return (
            f"gaps {self.gaps}, duplicates {self.duplicates}, out of order {self.disorders}, "
            f"strangers {self.strangers}, resets {self.resets}, failures {self.failures}\n"
            f"{self.events} events, {self.deliveries} deliveries, {self.connects} connects "
            f"({self.refusals} refused), {self.cuts} cuts, {done}, "
            f"{self.deaf_disconnected} that never read disconnected\n"
            f"latency in ms: {latencies}\n"
            f"largest worker: {self.worker_bytes / 1e6:.0f} MB"
        )


class Publisher(threading.Thread):
    """Another process, as far as the server knows: it writes into the log by itself."""

    def __init__(self, database_url: str, events_per_s: float) -> None:
        super().__init__(name="publisher", daemon=True)
        self.app = Flask("publisher")
        self.live = Live(self.app, database_url=database_url)
        self.published = 0
        self._interval_s = 1 / events_per_s
        self._over = threading.Event()

    def cursor(self) -> str:
        with self.app.app_context():
            return self.live.cursor()

    def run(self) -> None:
        while not self._over.wait(random.uniform(0, 2 * self._interval_s)):
            pad = PAD[: random.randrange(len(PAD))]
            self._publish(random.choice(("even", "odd")), pad)
            if random.random() < BULK_SHARE:
                self._publish(DEAF_CHANNEL, BULK)

    def _publish(self, channel: str, pad: str) -> None:
        # What fails may have been committed all the same; the database will say.
        with contextlib.suppress(sa.exc.SQLAlchemyError), self.app.app_context():
            self.live.publish(channel, "tick", {"at": time.monotonic(), "pad": pad})
            self.published += channel != DEAF_CHANNEL

    def end(self) -> None:
        self._over.set()
        self.join(DEADLINE_S)
        assert not self.is_alive(), "the publisher hangs"
        its_log = state_of(self.app).log
        assert isinstance(its_log, DatabaseLog)
        its_log.engine().dispose()


class Chaos:
    """Breaks things, one after the other, each time until it is whole again."""

    def __init__(
        self, server: ServerProcess, postgres: PostgresServer | None, url: str, fleet: Fleet
    ) -> None:
        self.server = server
        self.url = url
        self.fleet = fleet
        self.postgres = postgres
        self.done: dict[str, int] = {}
        self.current = self._started()
        self.worker_bytes = 0

    def _started(self) -> list[int]:
        return [
            int(p) for p in re.findall(r"Serving as worker with pid: (\d+)", self.server.output)
        ]

    def measure(self) -> None:
        """Note the memory of the workers."""
        for pid in self.current:
            self.worker_bytes = max(self.worker_bytes, resident_bytes(pid))

    def kill(self) -> None:
        before = self._started()
        victim = random.choice(self.current)
        os.kill(victim, signal.SIGKILL)
        poll(lambda: len(self._started()) > len(before), deadline_s=DEADLINE_S)
        self.current = [pid for pid in self.current if pid != victim] + self._started()[-1:]

    def reload(self) -> None:
        generations = self.server.output.count("Reloaded: generation")
        self.server.signal(signal.SIGHUP)
        reloads = "Reloaded: generation"
        poll(lambda: self.server.output.count(reloads) > generations, deadline_s=DEADLINE_S)
        self.current = self._started()[-WORKERS:]

    def kill_sequencer(self) -> None:
        """Kill the worker that gives the events their offsets."""
        before = self._started()
        engine = sa.create_engine(self.url)
        try:
            with engine.connect() as connection:
                names = connection.scalars(sa.text(ELECTED)).all()
        finally:
            engine.dispose()
        pids = [int(name.rpartition(" ")[2]) for name in names]
        victims = [pid for pid in pids if pid in self.current]
        if not victims:
            return  # between two elections
        os.kill(victims[0], signal.SIGKILL)
        poll(lambda: len(self._started()) > len(before), deadline_s=DEADLINE_S)
        self.current = [pid for pid in self.current if pid != victims[0]] + self._started()[-1:]

    def restart_database(self) -> None:
        assert self.postgres is not None
        # In order: without fsync, a crash may take back what was committed.
        self.postgres.stop("fast")
        self.postgres.start()

    def run(self, seconds: float) -> None:
        """Break everything once, then anything at random until the time is over."""
        kinds = [self.kill, self.reload]
        if self.postgres:
            kinds += [self.kill_sequencer, self.restart_database]
        pause = threading.Event()
        ends = time.monotonic() + seconds
        todo = list(kinds)
        while todo or time.monotonic() < ends:
            act = todo.pop(0) if todo else random.choice(kinds)
            pause.wait(random.uniform(0.3, 1.2))
            act()
            self.done[act.__name__] = self.done.get(act.__name__, 0) + 1
            self.measure()
            self.fleet.replace_deaf()


@contextlib.contextmanager
def database(kind: str, folder: Path) -> Iterator[tuple[str, PostgresServer | None]]:
    """Yield the URL of an empty database of that kind, and its server."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/live.db", None
    else:
        with postgres_server() as postgres:
            yield postgres.url(), postgres


def run(kind: str, plan: Plan, folder: Path) -> Verdict:
    """Do all of it on one kind of database, in a folder of its own."""
    (folder / "chaosapp.py").write_text(APP.format(backlog=BACKLOG_LIMIT_BYTES))
    options = ("-b", "127.0.0.1:0", "-w", str(WORKERS), "--handlers", "flasknado.live:routes")
    command = ("-m", "flasknado.process.cli", *options, "chaosapp:app")
    with database(kind, folder) as (url, postgres):
        env = {"DATABASE_URL": url, "PYTHONPATH": str(PROJECT_ROOT)}
        publisher = Publisher(url, plan.events_per_s)
        first = publisher.cursor()
        with server_process(command, cwd=folder, env=env) as server:
            poll(lambda: server.output.count("Serving as worker") == WORKERS)
            fleet = Fleet(server.port, first, CHANNEL_SETS)
            fleet.add(plan.subscribers)
            chaos = Chaos(server, postgres, url, fleet)
            try:
                _storm(plan, fleet, publisher, chaos)
                expected = committed(url)
                _wait_until_all_have(fleet, expected)
            finally:
                fleet.end()
                publisher.end()
            verdict = judge(fleet, expected)
            verdict.deaf_disconnected = server.output.count("it reads too slowly")
            verdict.done = chaos.done
            verdict.worker_bytes = chaos.worker_bytes
    return verdict


def _storm(plan: Plan, fleet: Fleet, publisher: Publisher, chaos: Chaos) -> None:
    def publish_some() -> None:
        enough = publisher.published + plan.phase_events
        poll(lambda: publisher.published >= enough, deadline_s=DEADLINE_S)

    fleet.start()
    # A long-poll has its first answer when something is published.
    streams = plan.subscribers - plan.subscribers // 4
    poll(lambda: fleet.connected >= streams, deadline_s=DEADLINE_S)
    publisher.start()
    publish_some()
    fleet.add_deaf(max(1, plan.subscribers // 10))
    publish_some()
    fleet.phase = "some deaf"
    publish_some()
    chaos.measure()
    fleet.phase = "chaos"
    fleet.cut_every_s = plan.cut_every_s
    chaos.run(plan.seconds)
    fleet.cut_every_s = None
    publisher.end()


def committed(url: str) -> dict[str, list[int]]:
    """Return the offsets of the events in the database, by channel, in order."""
    engine = sa.create_engine(url)
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            waiting = sa.select(sa.func.count()).select_from(live_outbox)
            poll(lambda: connection.scalar(waiting) == 0, deadline_s=DEADLINE_S)
            assert connection.scalar(sa.select(live_log.c.floor)) == 0, "events were pruned"
            tables = KEPT_TABLES[engine.dialect.name]
            kept = sa.union_all(*(sa.select(t.c.channel, t.c.offset) for t in tables))
            rows = connection.execute(kept.order_by("offset")).all()
    finally:
        engine.dispose()
    events: dict[str, list[int]] = {"even": [], "odd": []}
    for channel, offset in rows:
        if channel in events:
            events[channel].append(offset)
    return events


def _wait_until_all_have(fleet: Fleet, expected: dict[str, list[int]]) -> None:
    """Wait until every follower has the last event of its channels, or the deadline is over."""
    lasts = {channel: offsets[-1] for channel, offsets in expected.items()}

    def missing() -> int:
        return sum(
            not follower.received
            or follower.received[-1] < max(lasts[channel] for channel in follower.channels)
            for follower in fleet.followers
        )

    with contextlib.suppress(AssertionError):  # judged with the rest
        poll(missing, until=lambda count: count == 0, deadline_s=DEADLINE_S)


def judge(fleet: Fleet, expected: dict[str, list[int]]) -> Verdict:
    """Compare what each follower had with what was committed."""
    verdict = Verdict(
        events=sum(map(len, expected.values())),
        connects=fleet.connects,
        refusals=fleet.refusals,
        cuts=fleet.cuts,
        failures=fleet.failures,
    )
    for follower in fleet.followers:
        received = list(follower.received)
        wanted = {offset for channel in follower.channels for offset in expected[channel]}
        distinct = set(received)
        verdict.gaps += len(wanted - distinct)
        verdict.strangers += len(distinct - wanted)
        verdict.duplicates += len(received) - len(distinct)
        verdict.disorders += sum(later < earlier for earlier, later in itertools.pairwise(received))
        verdict.resets += follower.resets
        verdict.deliveries += len(received)
    for phase, seconds in fleet.latencies.items():
        if len(seconds) > 1:
            percentiles = statistics.quantiles(seconds, n=100)
            verdict.latency_ms[phase] = (percentiles[49] * 1000, percentiles[98] * 1000)
    return verdict


def main(arguments: Sequence[str] | None = None) -> int:
    """Run by hand; returns 1 if anything was lost, doubled or disordered."""
    parser = argparse.ArgumentParser(prog="python -m tests.live_server.chaos")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--subscribers", type=int, default=1000)
    parser.add_argument("--events-per-s", type=float, default=20)
    parser.add_argument("--cut-every-s", type=float, default=10)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append")
    options = parser.parse_args(arguments)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    plan = Plan(
        options.seconds,
        options.subscribers,
        options.events_per_s,
        cut_every_s=options.cut_every_s,
    )
    errors = 0
    for kind in options.database or ["sqlite", "postgresql"]:
        with tempfile.TemporaryDirectory(prefix="flasknado-chaos-") as folder:
            verdict = run(kind, plan, Path(folder))
        print(f"{kind}, {plan.subscribers} subscribers:\n{verdict}")  # noqa: T201
        errors += verdict.errors + len(verdict.failures)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
