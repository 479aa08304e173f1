"""`python -m loadtests.loadtest`: Flask's single-threaded development server against ours.

The same application, the same requests, in turn on the same core; the load is locust's. Table,
JSON, CSV and an HTML report with charts.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from loadtests import generator, machine, measuring, publish, report, results
from loadtests.equivalence import NotEquivalent
from loadtests.generator import GeneratorFailed
from loadtests.interrupts import Interrupted, interruptible
from loadtests.local import NotLocal, local_url
from loadtests.measuring import CannotMeasure, Measured, Plan
from loadtests.processes import Cores
from loadtests.publish import CannotPublish
from loadtests.results import Results
from loadtests.scenarios import SCENARIOS, Scenario
from loadtests.servers import OURS, ROOT, SERVERS, Server, with_workers
from loadtests.terminal import INTERRUPTED_STATUS, say

BASELINE = "flask-dev"
SECONDS, FULL_SECONDS = 3.0, 5.0
ROUNDS, FULL_ROUNDS = 2, 3
BUSY_LOAD_AVERAGE = 0.8
START_S = 1.5
"""What starting the generator adds to a measurement, about."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, 1 if something failed, 130 if it was interrupted."""
    options = parse(arguments)
    if not generator.LOCUST.exists():
        say(f"locust, which makes the load, is not installed: run {generator.INSTALL_LOCUST}")
        return 1
    try:
        with interruptible():
            return run(options)
    except Interrupted:
        say("Interrupted: every server and generator is ended, nothing is kept.")
        return INTERRUPTED_STATUS
    except (CannotMeasure, CannotPublish, GeneratorFailed, NotEquivalent) as error:
        say(str(error))
        return 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.loadtest", description=__doc__)
    parser.add_argument("--full", action="store_true", help="every scenario, more users, longer")
    parser.add_argument("--only", action="append", choices=SCENARIOS, metavar="SCENARIO")
    parser.add_argument("--users", type=_numbers, metavar="N,N", help="instead of the scenario's")
    parser.add_argument("--seconds", type=float, help="of each measurement")
    parser.add_argument("--rounds", type=int)
    parser.add_argument(
        "--peers", default="", metavar="'NAME NAME'", help=f"of {', '.join(SERVERS)}"
    )
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="ours with N workers, too"
    )
    parser.add_argument("--target", type=_local_url, metavar="URL", help="what runs there instead")
    parser.add_argument(
        "--publish", action="store_true", help="put table and chart into docs and README"
    )
    options = parser.parse_args(arguments)
    options.seconds = options.seconds or (FULL_SECONDS if options.full else SECONDS)
    options.rounds = options.rounds or (FULL_ROUNDS if options.full else ROUNDS)
    options.servers = [BASELINE, OURS]
    for name in options.peers.replace(",", " ").split():
        if name not in SERVERS:
            parser.error(f"no server is named {name!r}: choose from {', '.join(SERVERS)}")
        if name not in options.servers:
            options.servers.append(name)
    pinnable = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if pinnable else os.cpu_count() or 1
    if not 1 <= options.workers <= cores:
        parser.error(
            f"--workers {options.workers} cannot be measured: this machine has {cores} cores"
        )
    if options.seconds <= 0 or options.rounds < 1:
        parser.error("--seconds must be above 0 and --rounds at least 1")
    return options


def _numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(int(part) for part in text.split(","))
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"{text} has a number below 1")
    return numbers


def _local_url(text: str) -> str:
    try:
        return local_url(text)
    except NotLocal as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def run(options: argparse.Namespace) -> int:
    """Measure and report; returns the exit status."""
    cores = Cores.of_this_machine()
    if cores.generator is not None:
        os.sched_setaffinity(0, {cores.generator, *cores.spare})
    described = machine.describe(cores) | {"locust": generator.installed_version()}
    skipped: dict[str, str] = {}
    servers: list[Server] = []
    versions = {options.target: "what runs there"} if options.target else {}
    if not options.target:
        versions, skipped = installed(options.servers)
        servers = [SERVERS[name] for name in versions]
        if options.workers > 1:
            more = with_workers(options.workers)
            servers.append(more)
            versions[more.name] = versions[OURS]
    scenarios = _scenarios(options)
    levels = {each.name: _levels(each, options) for each in scenarios}
    plan = Plan(servers, scenarios, levels, options.seconds, options.rounds, cores)
    say(_announcement(plan, len(versions)))
    if options.workers > 1 and cores.generator in cores.of_server(options.workers):
        described["shared_with_generator"] = servers[-1].name
    if described["load_average_at_start"] > BUSY_LOAD_AVERAGE:
        say("The machine is busy with something else, so expect a large spread.")
    folder = ROOT / "var" / "loadtest" / time.strftime("%Y-%m-%d-%H%M%S")
    (folder / "raw").mkdir(parents=True)
    try:
        measured = _measure(plan, options.target, folder / "raw")
    except BaseException:
        shutil.rmtree(folder)
        raise
    described["load_average_at_end"] = machine.load_average()
    found = Results(
        machine=described,
        seconds=plan.seconds,
        rounds=plan.rounds,
        servers=versions,
        scenarios={scenario.name: scenario.what for scenario in scenarios},
        samples=tuple(measured.samples),
        impossible=tuple((*key, why) for key, why in measured.impossible.items()),
        skipped=skipped,
        failed=measured.failed,
    )
    found.save(folder)
    (folder / "report.html").write_text(report.page(found), encoding="utf-8")
    if picture := report.picture(found):
        (folder / "ratios.svg").write_text(picture, encoding="utf-8")
    show(found)
    say(f"\nReport: {(folder / 'report.html').relative_to(ROOT)} (JSON and CSV beside it)")
    if options.publish:
        publish.publish(found, ROOT)
        say(f"It is in {publish.PLACES} now.")
    return _status(measured)


def _measure(plan: Plan, target: str | None, raw: Path) -> Measured:
    if target:
        return measuring.run_target(plan, target, raw, say)
    with tempfile.TemporaryDirectory(prefix="flasknado-loadtest-") as temporary:
        Path(temporary).chmod(0o711)
        return measuring.run(plan, Path(temporary), raw, say)


def _scenarios(options: argparse.Namespace) -> list[Scenario]:
    if options.only:
        return [SCENARIOS[name] for name in dict.fromkeys(options.only)]
    return [each for each in SCENARIOS.values() if each.usual or options.full]


def _levels(scenario: Scenario, options: argparse.Namespace) -> tuple[int, ...]:
    if options.users:
        numbers: tuple[int, ...] = options.users
        return numbers
    return scenario.levels if options.full else scenario.usual or scenario.levels


def installed(names: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the versions of the installed servers, and the install lines of the others."""
    versions: dict[str, str] = {}
    skipped: dict[str, str] = {}
    for name in names:
        version = SERVERS[name].installed_version()
        if version is None:
            skipped[name] = SERVERS[name].install
            say(f"{name} is left out because it is not installed: run {skipped[name]}")
        else:
            versions[name] = version
    if not versions:
        raise CannotMeasure("None of the servers is installed.")
    return versions, skipped


def _announcement(plan: Plan, servers: int) -> str:
    """Say how long it will take; a live scenario is rarely possible with more than one server."""
    each = plan.seconds + START_S
    turns = sum(
        len(plan.levels[scenario.name]) * (1 if scenario.live else servers)
        for scenario in plan.scenarios
    )
    count = turns * plan.rounds
    return f"About {count} measurements of {plan.seconds:g} s, about {count * each / 60:.1f} min."


def show(found: Results) -> None:
    """Print the conclusion, the tables, and what has to be said about them."""
    say("\n" + results.conclusion(found))
    say("\n" + results.as_table(found) + "\n")
    if live := results.delivery_table(found):
        say(live + "\n")
    for sentence in results.remarks(found):
        say(sentence)


def _status(measured: Measured) -> int:
    """Return 1 if something failed, or the machine was too busy for a result."""
    bad = any(sample.report.all_failures or sample.report.shared for sample in measured.samples)
    return 1 if bad or measured.failed or not measured.samples else 0


if __name__ == "__main__":
    sys.exit(main())
