"""`python -m loadtests.bench`: run the benchmarks, print tables, keep JSON and Markdown.

--only hello --only idle     some benchmarks
--servers flasknado,granian  some servers
--quick                      one short round: does everything run?
--publish                    put the table of `hello` into README.md
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence

from loadtests import machine
from loadtests.bench import publish, report, rounds, wrk
from loadtests.bench.benchmark import Plan
from loadtests.bench.suite import BENCHMARKS, LIVE
from loadtests.interrupts import Interrupted, interruptible
from loadtests.processes import Cores
from loadtests.servers import OURS, ROOT, SERVERS, Server
from loadtests.terminal import INTERRUPTED_STATUS, say

QUICK_IDLE_CONNECTIONS = 2_000
NAMES = (*BENCHMARKS, *LIVE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, or 1 if a server failed or (with --check) a goal was missed."""
    options = parse(arguments)
    if wrk.find() is None:
        say(f"wrk, which makes the load, is not installed: run {wrk.INSTALL_WRK}")
        return 1
    try:
        with interruptible():
            return run(options)
    except Interrupted:
        say("Interrupted: every server and generator is ended, nothing is kept.")
        return INTERRUPTED_STATUS


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.bench", description="Measure servers side by side, with wrk."
    )
    parser.add_argument("--only", action="append", choices=NAMES, metavar="NAME")
    parser.add_argument("--servers", metavar="NAME,NAME", help=f"of {', '.join(SERVERS)}")
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--rounds", type=_positive, default=5)
    parser.add_argument("--seconds", type=_positive, default=5, help="of each measurement")
    parser.add_argument("--publish", action="store_true", help="put `hello` into the README")
    parser.add_argument("--check", action="store_true", help="fail if a goal is missed")
    options = parser.parse_args(arguments)
    names = options.servers.split(",") if options.servers else list(SERVERS)
    unknown = [name for name in names if name not in SERVERS]
    if unknown:
        parser.error(f"no server is named {unknown[0]!r}: choose from {', '.join(SERVERS)}")
    options.servers = names
    return options


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def run(options: argparse.Namespace) -> int:
    """Check, measure, report; returns the exit status."""
    cores = Cores.of_this_machine()
    plan = Plan(cores, seconds=options.seconds, rounds=options.rounds)
    if options.quick:
        plan = Plan(cores, 1, 1, 0, idle_connections=QUICK_IDLE_CONNECTIONS)
    if cores.generator is not None:
        # The generators and this process, which is one of them, stay off the server's core.
        os.sched_setaffinity(0, {cores.generator})
    described = machine.describe(cores)
    names = options.only or NAMES
    benchmarks = [benchmark for name, benchmark in BENCHMARKS.items() if name in names]
    wanted = [name for name in options.servers if any(name in b.servers for b in benchmarks)]

    versions, skipped = installed(wanted)
    say("Asking every server the same questions:")
    failed = rounds.check_equivalence([SERVERS[name] for name in versions], plan, say)
    servers: dict[str, Server] = {name: SERVERS[name] for name in versions if name not in failed}
    todo = [(benchmark, servers) for benchmark in benchmarks]
    for name, (benchmark, servers_of) in LIVE.items():
        if name in names:
            todo.append((benchmark, those_installed(servers_of(), skipped)))
    results = []
    for benchmark, its_servers in todo:
        say(f"\n{benchmark.title}")
        results.append(rounds.run(benchmark, its_servers, plan, say))
        say("\n" + report.one_table(results[-1]))
        for goal in benchmark.goals(results[-1].medians()):
            say(f"  {goal}")
    data = report.as_data(results, plan, described, versions, skipped, failed)
    keep(data, report.as_markdown(results, data))
    if options.publish and publish.main([]):
        return 1
    if failed or any(result.failed for result in results):
        return 1
    goals = [goal for entry in data["benchmarks"] for goal in entry["goals"]]
    return 1 if options.check and not all(goal["met"] for goal in goals) else 0


def installed(names: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the versions of the installed servers, and the install lines of the others."""
    versions: dict[str, str] = {}
    skipped: dict[str, str] = {}
    # Ours first: the others' answers are compared with it.
    for name in sorted(names, key=lambda name: name != OURS):
        version = SERVERS[name].installed_version()
        if version is None:
            skipped[name] = SERVERS[name].install
            say(f"{name} is not installed: {skipped[name]}")
        else:
            versions[name] = version
    return versions, skipped


def those_installed(servers: Mapping[str, Server], skipped: dict[str, str]) -> dict[str, Server]:
    """Return the servers that are installed; the install lines of the others go to `skipped`."""
    there = {}
    for name, server in servers.items():
        version = server.installed_version()
        if version is None:
            skipped[name] = server.install
            say(f"{name} is not installed: {server.install}")
        else:
            there[name] = server
            say(f"{name}, with an application of its own: {version}")
    return there


def keep(data: dict[str, object], page: str) -> None:
    """Write both forms into a folder of this run's own."""
    folder = ROOT / "var" / "bench" / time.strftime("%Y-%m-%d-%H%M%S")
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    (folder / "results.md").write_text(page, encoding="utf-8")
    say(f"\nWritten to {folder.relative_to(ROOT)}/")


if __name__ == "__main__":
    sys.exit(main())
