"""`python -m loadtests.compare`: Flask's single-threaded development server against ours.

The same application, the same requests, in turn on the same core; the load is locust's.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from loadtests import comparison, generator, machine
from loadtests.comparison import CannotCompare, Plan
from loadtests.equivalence import NotEquivalent
from loadtests.generator import GeneratorFailed
from loadtests.interrupts import Interrupted, interruptible
from loadtests.processes import Cores, ServerFailed
from loadtests.scenarios import SCENARIOS
from loadtests.servers import OURS, ROOT, SERVERS

BASELINE = "flask-dev"
INTERRUPTED_STATUS = 130


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
    except (CannotCompare, GeneratorFailed, NotEquivalent, ServerFailed) as error:
        say(str(error))
        return 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.compare", description=__doc__)
    parser.add_argument("--only", action="append", choices=SCENARIOS, metavar="SCENARIO")
    parser.add_argument(
        "--servers",
        default=f"{BASELINE},{OURS}",
        metavar="NAME,NAME",
        help=f"the first is compared with; of {', '.join(SERVERS)}",
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args(arguments)
    options.servers = options.servers.split(",")
    for name in options.servers:
        if name not in SERVERS:
            parser.error(f"no server is named {name!r}: choose from {', '.join(SERVERS)}")
    if options.seconds <= 0 or options.rounds < 1:
        parser.error("--seconds must be above 0 and --rounds at least 1")
    return options


def run(options: argparse.Namespace) -> int:
    """Measure and report; returns the exit status."""
    cores = Cores.of_this_machine()
    if cores.generator is not None:
        os.sched_setaffinity(0, {cores.generator})
    described = machine.describe(cores)
    servers = []
    for name in options.servers:
        if SERVERS[name].installed_version() is None:
            say(f"{name} is left out because it is not installed: run {SERVERS[name].install}")
        else:
            servers.append(SERVERS[name])
    if len(servers) < 2:
        raise CannotCompare("There are not two installed servers to compare.")
    scenarios = [SCENARIOS[name] for name in options.only or SCENARIOS]
    plan = Plan(servers, scenarios, options.seconds, options.rounds, cores)
    measurements = len(servers) * len(scenarios) * plan.rounds
    say(f"{measurements} measurements, about {measurements * (plan.seconds + 2.5):.0f} s.")
    with tempfile.TemporaryDirectory(prefix="flasknado-loadtest-") as folder:
        Path(folder).chmod(0o711)
        samples = comparison.run(plan, Path(folder), say)

    baseline = servers[0].name
    shown = comparison.as_table(samples, scenarios, baseline)
    say("\n" + shown + "\n")
    for scenario in scenarios:
        for server in servers[1:]:
            ratio = comparison.ratio(samples, scenario.name, server.name, baseline)
            if ratio is not None:
                say(f"{server.name} answers {ratio.median:.1f} times as much: {scenario.what}")
    if any(sample.report.limited_by_generator for sample in samples):
        say("Where it says (limit), the generator was at its own limit: see make bench.")
    data = {
        "machine": described,
        "seconds": plan.seconds,
        "rounds": plan.rounds,
        "baseline": baseline,
        "scenarios": [asdict(scenario) for scenario in scenarios],
        "samples": [asdict(sample) for sample in samples],
    }
    keep(data, f"# Load test\n\n{machine.sentence(described)}\n\n{shown}\n")
    failures = comparison.failures_of(samples)
    for name, count in failures.items():
        if count:
            say(f"{name} failed {count} requests.")
    return 1 if any(failures.values()) else 0


def keep(data: dict[str, object], page: str) -> None:
    """Write JSON and Markdown into a folder of this run's own."""
    folder = ROOT / "var" / "loadtest" / time.strftime("%Y-%m-%d-%H%M%S")
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    (folder / "results.md").write_text(page, encoding="utf-8")
    say(f"Written to {folder.relative_to(ROOT)}/")


def say(line: str) -> None:
    """Print a line at once, so that progress is seen in a pipe too."""
    with contextlib.suppress(BrokenPipeError):
        print(line, flush=True)  # noqa: T201 (the user's terminal)


if __name__ == "__main__":
    sys.exit(main())
