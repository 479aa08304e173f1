"""`python -m loadtests.compare A B`: two stored runs; fails if B is worse beyond a threshold.

A is the run before, B the one after; each is a folder of `var/loadtest/`. Compared is one server
with itself, in its throughput; rounds that differ much among themselves widen the threshold.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtests import results
from loadtests.results import NoResults, Results
from loadtests.servers import OURS
from loadtests.tables import number, table
from loadtests.terminal import say

THRESHOLD_PERCENT = 10.0


@dataclass(frozen=True)
class Change:
    """One scenario and number of users, before and after, in requests/s.

    `allowed` is the share that it may lose: the threshold or the rounds' own spread.
    """

    scenario: str
    users: int
    before: float
    after: float
    allowed: float
    failures: int

    @property
    def share(self) -> float:
        return self.after / self.before - 1 if self.before else 0.0

    @property
    def worse(self) -> bool:
        return self.share < -self.allowed or self.failures > 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 1 if the second run is worse, 2 if they cannot be compared."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.compare", description=__doc__)
    parser.add_argument("before", type=Path, metavar="A")
    parser.add_argument("after", type=Path, metavar="B")
    parser.add_argument("--server", default=OURS, help="default: %(default)s")
    parser.add_argument(
        "--threshold", type=float, default=THRESHOLD_PERCENT, metavar="PERCENT", help="%(default)s"
    )
    options = parser.parse_args(arguments)
    try:
        before, after = results.load(options.before), results.load(options.after)
    except NoResults as error:
        say(str(error))
        return 2
    changes = changes_of(before, after, options.server, options.threshold / 100)
    if not changes:
        say(f"The two runs have nothing of {options.server} in common.")
        return 2
    say(as_table(changes))
    if before.machine["processor"] != after.machine["processor"]:
        say("They were run on different processors, so this says little.")
    worse = [change for change in changes if change.worse]
    if worse:
        say(f"{options.server} is worse in {len(worse)} of {len(changes)}.")
    return 1 if worse else 0


def changes_of(before: Results, after: Results, server: str, threshold: float) -> list[Change]:
    """Return what both runs measured of a server."""
    changes = []
    for scenario in before.scenarios:
        old = {cell.users: cell for cell in before.cells(scenario) if cell.server == server}
        for cell in after.cells(scenario):
            if cell.server == server and cell.users in old:
                one, other = old[cell.users].per_second, cell.per_second
                allowed = max(threshold, one.spread + other.spread)
                # A server that failed before too is not worse for failing.
                failures = 0 if old[cell.users].failures else cell.failures
                changes.append(
                    Change(scenario, cell.users, one.median, other.median, allowed, failures)
                )
    return changes


def as_table(changes: Sequence[Change]) -> str:
    """Return the Markdown table."""
    rows = [
        [
            *(change.scenario, str(change.users), number(change.before), number(change.after)),
            f"{100 * change.share:+.0f} %",
            f"{-100 * change.allowed:.0f} %",
            number(change.failures),
            "worse" if change.worse else "",
        ]
        for change in changes
    ]
    headings = ["scenario", "users", "A requests/s", "B requests/s", "change", "allowed"]
    return table([*headings, "new failures", ""], rows)


if __name__ == "__main__":
    sys.exit(main())
