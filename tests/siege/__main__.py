"""`make siege`: every attack on real servers of this machine, watched and judged.

python -m tests.siege --seconds 5               all of them, each for about 5 s
python -m tests.siege --only garbage,guessers   some attacks
python -m tests.siege --list                    their names
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from loadtests.interrupts import Interrupted, interruptible
from loadtests.tables import number, table
from loadtests.terminal import INTERRUPTED_STATUS, say
from tests.siege.attacks import ATTACKS
from tests.siege.attacks.calm import CALM
from tests.siege.judge import Outcome, besiege
from tests.siege.setups import SETUPS

HEADINGS = (
    *("attack", "server", "verdict", "healthz p50", "max ms", "page p50", "max ms"),
    *("peak MB", "CPU s", "sent MB"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 1 if a server did not hold."""
    options = parse(arguments)
    if options.list:
        say("\n".join(f"{name:26} {attack.what}" for name, attack in ATTACKS.items()))
        return 0
    outcomes: list[Outcome] = []
    try:
        with interruptible():
            for setup in SETUPS:
                try:
                    for outcome in siege(setup, options.only, options.seconds, judge_latency=True):
                        say(line(outcome))
                        outcomes.append(outcome)
                except pytest.skip.Exception as skipped:
                    say(f"  {setup} is left out: {skipped}")
    except Interrupted:
        say("Interrupted: every server and attacker is ended.")
        return INTERRUPTED_STATUS
    say("\n" + as_table(outcomes))
    for outcome in outcomes:
        for rule in outcome.broken:
            say(f"{outcome.attack.name} ({outcome.setup}): {rule}")
    return 0 if all(outcome.held for outcome in outcomes) else 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.siege", description="Attack servers of this machine, and judge them."
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="of each attack")
    parser.add_argument("--only", metavar="NAME,NAME", help="some of the attacks")
    parser.add_argument("--list", action="store_true", help="print the attacks and exit")
    options = parser.parse_args(arguments)
    options.only = options.only.split(",") if options.only else list(ATTACKS)
    unknown = [name for name in options.only if name not in ATTACKS]
    if unknown:
        parser.error(f"no attack is named {unknown[0]!r}: --list prints the names")
    return options


def siege(
    setup: str, names: Sequence[str], seconds: float, *, judge_latency: bool
) -> Iterator[Outcome]:
    """Make those of the attacks that are for a server, one at a time; yields what came of each.

    With `judge_latency` it is first measured at rest. A server that did not hold is replaced.
    """
    todo = [ATTACKS[name] for name in names if setup in ATTACKS[name].setups]
    todo = [attack for attack in todo if attack.name != CALM]
    calm: Outcome | None = None
    while todo:
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="flasknado-siege-"))
            besieged = stack.enter_context(SETUPS[setup](Path(folder)))
            if judge_latency and calm is None:
                calm = besiege(ATTACKS[CALM], setup, besieged, seconds, None)
                yield calm
            held = True
            while todo and held:
                outcome = besiege(todo.pop(0), setup, besieged, seconds, calm)
                yield outcome
                held = outcome.held


def line(outcome: Outcome) -> str:
    """Return what is said of an attack when it is over."""
    verdict = "held" if outcome.held else "FAILED: " + "; ".join(outcome.broken)
    answers = ", ".join(f"{count} x {what}" for what, count in outcome.report.answers.items())
    return f"  {outcome.attack.name:26} {outcome.setup:16} {verdict} ({answers or 'no answers'})"


def as_table(outcomes: Sequence[Outcome]) -> str:
    """Return a row for each attack."""

    def row(outcome: Outcome) -> list[str]:
        latencies = [
            number(probed.percentile_ms(percent), 1)
            for probed in (outcome.health, outcome.page)
            for percent in (50, 100)
        ]
        return [
            outcome.attack.name,
            outcome.setup,
            "held" if outcome.held else "FAILED",
            *latencies,
            number(outcome.peak_mb),
            number(outcome.processor_s, 2),
            number(outcome.report.sent_bytes / 1e6, 1),
        ]

    return table(HEADINGS, map(row, outcomes), names=3)


if __name__ == "__main__":
    sys.exit(main())
