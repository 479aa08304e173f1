"""How many events a second the log takes, each committed on its own, from 1 and 8 processes."""

from __future__ import annotations

import dataclasses
import urllib.request

from loadtests.bench.benchmark import FAILURES, Benchmark, Metric, Plan, Values
from loadtests.bench.live_helper import helping
from loadtests.bench.live_servers import SQLITE, flasknado
from loadtests.processes import Running
from loadtests.servers import Server

PUBLISHERS = (1, 8)
URLS = {
    "sqlite": SQLITE,
    "postgresql": "postgresql+psycopg://bench@/postgres?host={folder}/postgres",
}


def servers(workers: int = 1) -> dict[str, Server]:
    """Return our server on each database; PostgreSQL runs beside it, on the same core."""
    postgres = ("{venv}/python", "-m", "loadtests.apps.live_postgres", "{folder}/postgres")
    return {
        "sqlite": flasknado("sqlite", workers=workers),
        "postgresql": dataclasses.replace(
            flasknado("postgresql", workers=workers, url=URLS["postgresql"], before=postgres),
            version=(*postgres[:3], "--version"),
            install="apt-get install postgresql",
        ),
    }


def measure(running: Running, plan: Plan) -> Values:
    """Publish from one process, then from eight; lost is what the log does not have after it."""
    url = running.target.fill(URLS[running.server.name])
    found: Values = {FAILURES: 0}
    # A server follows the log from its first live request on.
    urllib.request.urlopen(f"{running.url}/live/poll?channel=bench&timeout_s=0").close()
    for publishers in PUBLISHERS:
        arguments = [url, str(publishers)]
        with helping("loadtests.bench.live_publishers", arguments, plan.cores.generator) as helper:
            values = helper.ask(str(plan.seconds))
        found[f"{publishers}_per_second"] = values["per_second"]
        found[FAILURES] += values[FAILURES]
    return found


BENCHMARK = Benchmark(
    name="live-append",
    title="Events appended to the log",
    method="`live.publish()` in processes of their own, each event a transaction of its own,"
    " synced to the disk as the database does by itself (SQLite in WAL mode), while a server"
    " follows the log. The publishers share one core; PostgreSQL has the server's.",
    servers=tuple(servers()),
    metrics=(
        *(Metric(f"{n}_per_second", f"events/s, {n} at a time") for n in PUBLISHERS),
        Metric(FAILURES, "failures"),
    ),
    measure=measure,
)
