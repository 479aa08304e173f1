"""A static file through Flask's own route, and from the loop (`--static app`)."""

from __future__ import annotations

from loadtests.bench.benchmark import (
    PER_CORE_SECOND,
    THROUGHPUT_METRICS,
    Benchmark,
    Goal,
    Medians,
    Plan,
    Values,
    median,
    throughput,
)
from loadtests.processes import Running
from loadtests.servers import Server

LEAST_TIMES = 5.0


def servers() -> dict[str, Server]:
    """Return our server twice: as it is, and with `--static app`."""
    return {
        "flask-route": _server("flask-route"),
        "loop": _server("loop", "--static", "app"),
    }


def _server(name: str, *options: str) -> Server:
    return Server(
        name,
        (
            *("{venv}/flasknado", "--bind", "127.0.0.1:{port}", "--threads", "{threads}"),
            *("--log-level", "warning", *options, "loadtests.apps.static_site:app"),
        ),
        ("{venv}/flasknado", "--version"),
        "make install",
        "static files",
    )


def measure(running: Running, plan: Plan) -> Values:
    return throughput(running, "/static/site.css", plan)


def goals(medians: Medians) -> list[Goal]:
    """The loop is to be five times as fast as the route."""
    # Of the time of one core, which does not depend on who else has it.
    loop = median(medians, "loop", PER_CORE_SECOND)
    route = median(medians, "flask-route", PER_CORE_SECOND)
    if not loop or not route:
        return []
    text = "static files per core second, times Flask's own route"
    return [Goal(text, loop / route, LEAST_TIMES, True)]


BENCHMARK = Benchmark(
    name="static",
    title="A static file",
    method="`GET /static/site.css` on 32 kept-alive connections, one worker: through Flask's own"
    " route, and from the loop with `--static app`.",
    servers=tuple(servers()),
    metrics=THROUGHPUT_METRICS,
    measure=measure,
    goals=goals,
)
