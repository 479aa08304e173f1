"""`python -m loadtests.publish [RUN]`: put a stored run into the documentation.

RUN is a folder of `var/loadtest/`, by default the newest. Written are what stands between the marks
in `docs/loadtests.md` and `README.md`, and the chart in `docs/loadtest.svg`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from loadtests import machine, report, results
from loadtests.results import Cell, NoResults, Results
from loadtests.servers import ROOT
from loadtests.tables import Summary
from loadtests.terminal import say

BEGINS, ENDS = "<!-- run: python -m loadtests.publish -->\n", "<!-- end of run -->\n"
CHART_NAME = "loadtest.svg"
PLACES = f"docs/loadtests.md, docs/{CHART_NAME} and README.md"
_WIDE_SPREAD = 0.1


class CannotPublish(Exception):
    """Why a run is not fit to be shown, in one sentence."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 1 if there is no run that can be shown."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.publish", description=__doc__)
    parser.add_argument("run", type=Path, nargs="?", help="default: the newest")
    run = parser.parse_args(arguments).run
    try:
        folder = run or newest(ROOT / "var" / "loadtest")
        publish(results.load(folder), ROOT)
    except (CannotPublish, NoResults) as error:
        say(str(error))
        return 1
    say(f"{folder} is in {PLACES} now.")
    return 0


def newest(runs: Path) -> Path:
    """Return the folder of the newest run; raises `CannotPublish` if there is none."""
    found = sorted(path.parent for path in runs.glob(f"*/{results.JSON_NAME}"))
    if not found:
        raise CannotPublish(f"{runs} has no run: make loadtest makes one.")
    return found[-1]


def publish(found: Results, root: Path) -> None:
    """Write a run into the documentation below `root`; raises `CannotPublish`."""
    chart = report.picture(found)
    failures = sum(sample.report.all_failures for sample in found.samples)
    if not chart or failures or found.failed:
        raise CannotPublish("Only a run that compares servers and has no failures is shown.")
    pages = {root / "docs" / "loadtests.md": _results(found), root / "README.md": _short(found)}
    written = {path: put(path.read_text(encoding="utf-8"), text) for path, text in pages.items()}
    for path, text in written.items():
        path.write_text(text, encoding="utf-8")
    (root / "docs" / CHART_NAME).write_text(chart, encoding="utf-8")


def put(page: str, text: str, begins: str = BEGINS, ends: str = ENDS) -> str:
    """Return the page with the text between its marks; raises `CannotPublish` without them."""
    before, mark, rest = page.partition(begins)
    _, end, after = rest.partition(ends)
    if not mark or not end:
        raise CannotPublish(f"A page lacks the lines {begins.strip()} and {ends.strip()}.")
    return f"{before}{begins}\n{text}\n{ends}{after}"


def _results(found: Results) -> str:
    sentences = (*results.remarks(found), *_verdicts(found))
    parts = [
        _conditions(found),
        f"![Requests/s, as multiples of {found.baseline}'s]({CHART_NAME})",
        results.as_table(found),
        results.delivery_table(found),
        "\n".join(f"- {sentence}" for sentence in sentences),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _short(found: Results) -> str:
    return (
        f"The bundled application under locust (`make loadtest`), in requests/s as multiples of"
        f" `{found.baseline}`'s:\n\n![Requests/s, as multiples of {found.baseline}'s]"
        f"(docs/{CHART_NAME})\n\n{_conditions(found)}\n"
    )


def _conditions(found: Results) -> str:
    """Say what was run on what, and whether the machine had nothing else to do."""
    versions = ", ".join(f"{name} ({version})" for name, version in found.servers.items())
    text = (
        f"{machine.sentence(found.machine)} {versions}, locust {found.machine.get('locust', '')};"
        f" {found.rounds} rounds of {found.seconds:g} s."
    )
    every = [cell for name in found.scenarios for cell in found.cells(name)]
    if wide := sum(cell.per_second.spread >= _WIDE_SPREAD for cell in every):
        text += (
            f" In {wide} of {len(every)} measurements the rounds differ by ±10 % or more, so these"
            " numbers are rough."
        )
    if shared := sum(cell.shared for cell in every):
        text += (
            f" In {shared} of {len(every)} other processes used the server's core:"
            " **the machine was not quiet**, and these are no results yet."
        )
    return text


def _verdicts(found: Results) -> Iterator[str]:
    """Say where each server is faster than the baseline, where slower, and where neither."""
    for server in list(found.servers)[1:]:
        compared = [
            (cell, ratio)
            for name in found.scenarios
            for cell in found.cells(name)
            if cell.server == server and (ratio := found.ratio(cell)) is not None
        ]
        kinds = {
            "faster in every round": [each for each in compared if each[1].low > 1],
            "slower in every round": [each for each in compared if each[1].high < 1],
            "neither, the rounds disagree": [
                each for each in compared if each[1].low <= 1 <= each[1].high
            ],
        }
        for kind, cells in kinds.items():
            if cells:
                yield f"{server}, {kind}: {', '.join(_named(*each) for each in cells)}."


def _named(cell: Cell, ratio: Summary) -> str:
    users = "1 user" if cell.users == 1 else f"{cell.users} users"
    return f"`{cell.scenario}` with {users} ({ratio.median:.2f})"


if __name__ == "__main__":
    sys.exit(main())
