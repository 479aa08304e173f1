"""Thousands of live clients of one channel: deliveries a second, latency, memory of each."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable

from loadtests.bench import rounds, wrk
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
from loadtests.bench.live_clients import BURST_EVENTS, TOKEN
from loadtests.interrupts import held
from loadtests.processes import Running, end_group, pinned
from loadtests.servers import INSTALL_BENCH, OURS, ROOT, Server

TRANSPORTS = ("sse", "websocket")
DEADLINE_S = 180.0
NCHAN_MODULE = "/usr/lib/nginx/modules/ngx_nchan_module.so"
NCHAN_CONFIGURATION = """
load_module {module};
daemon off;
master_process off;
pid {{folder}}/nginx.pid;
error_log stderr error;
worker_rlimit_nofile 20000;
events {{{{ worker_connections 20000; }}}}
http {{{{
    access_log off;
    client_body_temp_path {{folder}}/body;
    proxy_temp_path {{folder}}/proxy;
    fastcgi_temp_path {{folder}}/fastcgi;
    uwsgi_temp_path {{folder}}/uwsgi;
    scgi_temp_path {{folder}}/scgi;
    keepalive_requests 1000000;
    server {{{{
        listen 127.0.0.1:{{port}};
        location = / {{{{ return 200 "Hello, World!"; }}}}
        location = /subscribe {{{{
            nchan_subscriber websocket eventsource;
            nchan_subscriber_first_message newest;
            nchan_channel_id bench;
        }}}}
        location = /publish {{{{
            nchan_publisher;
            nchan_channel_id bench;
        }}}}
    }}}}
}}}}
"""


def servers(nchan_module: str = NCHAN_MODULE) -> dict[str, Server]:
    """Return the servers of this benchmark: no view is compared, so the table has none of them."""
    return {
        OURS: Server(
            OURS,
            (
                *("env", "LIVE_DATABASE_URL=sqlite:///{folder}/live.db"),
                f"LIVE_PUBLISH_TOKEN={TOKEN}",
                *("{venv}/flasknado", "--handlers", "flasknado.live:routes"),
                *("--bind", "127.0.0.1:{port}", "--workers", "1", "--threads", "{threads}"),
                *("--log-level", "warning", "loadtests.apps.live:app"),
            ),
            ("{venv}/flasknado", "--version"),
            "make install",
            "every event is committed to a database, and resumable",
        ),
        "tornado": Server(
            "tornado",
            ("{bench}/python", "-m", "loadtests.apps.live_tornado", "{port}"),
            ("{bench}/python", "-c", "import tornado; print(tornado.version)"),
            INSTALL_BENCH,
            "the loop over a set that one writes oneself",
        ),
        "nchan": Server(
            "nchan",
            ("nginx", "-p", "{folder}", "-c", "{folder}/nginx.conf"),
            ("sh", "-c", f"test -e {nchan_module} && nginx -v 2>&1"),
            "apt-get install nginx libnginx-mod-nchan",
            "a pub/sub server in C, events in its memory",
            files={"nginx.conf": NCHAN_CONFIGURATION.format(module=nchan_module)},
        ),
    }


def installed(skipped: dict[str, str], say: Callable[[str], None]) -> dict[str, Server]:
    """Return the servers that are installed; the install lines of the others go to `skipped`."""
    there = {}
    for name, server in servers().items():
        version = server.installed_version()
        if version is None:
            skipped[name] = server.install
            say(f"{name} is not installed: {server.install}")
        else:
            there[name] = server
            say(f"{name} for live events: {version}")
    return there


def subscribers(plan: Plan) -> int:
    """Return how many clients there are of each transport: 5,000, fewer with --quick."""
    return plan.idle_connections // 2


def measure(running: Running, plan: Plan) -> Values:
    """Measure both transports, each on a server that has served nobody yet."""
    values = _measure_one(running, TRANSPORTS[0], plan)
    with rounds.served(running.server, plan) as fresh:
        values |= _measure_one(fresh, TRANSPORTS[1], plan)
    failures = sum(values.pop(f"{transport}_{FAILURES}") for transport in TRANSPORTS)
    generator = max(values.pop(f"{transport}_generator_percent") for transport in TRANSPORTS)
    return {**values, FAILURES: failures, "generator_percent": generator}


def _measure_one(running: Running, transport: str, plan: Plan) -> Values:
    count = subscribers(plan)
    arguments = [running.server.name, transport, str(running.target.port), str(count)]
    command = [sys.executable, "-m", "loadtests.bench.live_clients", *arguments]
    resident_before = running.resident_bytes()
    with contextlib.ExitStack() as stack:
        with held():
            helper = subprocess.Popen(
                pinned(plan.cores.generator, command),
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                process_group=0,
            )
            stack.callback(end_group, helper)
        assert helper.stdin is not None
        assert helper.stdout is not None
        stack.callback(helper.stdout.close)
        stack.callback(helper.stdin.close)
        deadline = threading.Timer(DEADLINE_S, helper.kill)
        stack.callback(deadline.cancel)
        deadline.start()
        if helper.stdout.readline().strip() != "ready":
            raise wrk.GeneratorFailed(f"{count} clients ({transport}) did not all get an event")
        resident = running.resident_bytes() - resident_before
        output, _ = helper.communicate("go\n")
        if helper.returncode:
            raise wrk.GeneratorFailed(f"the clients ({transport}) ended with {helper.returncode}")
    measured = {f"{transport}_{key}": float(value) for key, value in json.loads(output).items()}
    return {**measured, f"{transport}_bytes": resident / count}


def goals(medians: Medians) -> list[Goal]:
    """As many deliveries as nchan, 2.5 times stock Tornado's; 4 KB and 6 KB each."""
    found = []
    for transport, memory_kb in zip(TRANSPORTS, (4, 6), strict=True):
        ours = median(medians, OURS, f"{transport}_per_second")
        for peer, bound in (("nchan", 1.0), ("tornado", 2.5)):
            theirs = median(medians, peer, f"{transport}_per_second")
            if ours is not None and theirs:
                text = f"{transport} deliveries against {peer}"
                found.append(Goal(text, ours / theirs, bound, True))
        memory = median(medians, OURS, f"{transport}_bytes")
        if memory is not None:
            text = f"resident KB for each {transport} client"
            found.append(Goal(text, memory / 1000, memory_kb, False))
    return found


def _metrics() -> tuple[Metric, ...]:
    rates, rest = [], []
    for transport, short in zip(TRANSPORTS, ("SSE", "WS"), strict=True):
        rates.append(Metric(f"{transport}_per_second", f"{short} deliveries/s"))
        rest += [
            Metric(f"{transport}_at_once_per_second", f"{short} in one transaction"),
            Metric(f"{transport}_p50_ms", f"{short} p50 ms", 1),
            Metric(f"{transport}_p99_ms", f"{short} p99 ms", 1),
            Metric(f"{transport}_bytes", f"{short} bytes each"),
        ]
    return (*rates, *rest, Metric(FAILURES, "failures"), Metric("generator_percent", "generator %"))


BENCHMARK = Benchmark(
    name="live",
    title="5,000 live clients of one channel",
    method=f"Deliveries a second from the first to the last arrival of {BURST_EVENTS} events,"
    " published one by one on one connection (median of three), and of the same events published"
    " in one transaction, where the server has such; p50 and p99 from publish to receipt of single"
    " events; resident memory of the server's processes for each client."
    " One worker; 1,000 clients with --quick. Ours commits every event to SQLite first, the"
    " others keep it in memory.",
    servers=tuple(servers()),
    metrics=_metrics(),
    measure=measure,
    goals=goals,
)
