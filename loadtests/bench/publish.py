"""`python -m loadtests.bench.publish [RUN]`: put a stored run of `hello` into the README.

RUN is a folder of `var/bench/`, by default the newest that has this benchmark. Written is what
stands between the marks: a table of the servers that answer others while a view waits, and one of
those that do not.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loadtests import machine
from loadtests.bench import hello
from loadtests.bench.benchmark import FAILURES, PER_SECOND, Medians
from loadtests.bench.rounds import Result
from loadtests.publish import CannotPublish, put
from loadtests.servers import ALL_OURS, OURS, OURS_COMPILED, ROOT, SERVERS
from loadtests.tables import number, table
from loadtests.terminal import say

BEGINS, ENDS = "<!-- run: python -m loadtests.bench.publish -->\n", "<!-- end of bench -->\n"
LEAST_ROUNDS = 3
LEAST_RATIO_SHOWN_FINELY = 1.1
TITLES: Mapping[str, str] = {
    "flasknado": "Flasknado",
    "flasknado-compiled": "Flasknado, compiled",
    "flasknado-stock": "Flasknado on Tornado's connections",
    "flask-dev": "Flask's development server",
    "tornado-wsgi": "Tornado's `WSGIContainer`",
    "gunicorn-gthread": "gunicorn, threads",
    "gunicorn-gevent": "gunicorn, gevent",
    "waitress": "waitress",
    "cheroot": "cheroot",
    "uwsgi": "uWSGI (C)",
    "uwsgi-keepalive": "uWSGI (C), kept connections",
    "mod_wsgi": "Apache mod_wsgi (C)",
    "granian": "Granian (Rust)",
    "granian-1": "Granian (Rust), one thread",
    "bjoern": "bjoern (C)",
    "fastwsgi": "FastWSGI (C)",
    "fastpysgi": "FastPySGI (C)",
    "freastal": "freastal (C)",
    "peregrine": "Peregrine (Rust)",
    "peregrine-1": "Peregrine (Rust), one thread",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 1 if there is no run that can be shown."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench.publish", description=__doc__)
    parser.add_argument("run", type=Path, nargs="?", help="default: the newest")
    run = parser.parse_args(arguments).run
    try:
        folder = run or newest(ROOT / "var" / "bench")
        publish(load(folder), ROOT / "README.md")
    except CannotPublish as error:
        say(str(error))
        return 1
    say(f"{folder} is in README.md now.")
    return 0


def newest(runs: Path) -> Path:
    """Return the folder of the newest run of `hello`; raises `CannotPublish` if there is none."""
    for path in sorted(runs.glob("*/results.json"), reverse=True):
        if any(entry["name"] == hello.BENCHMARK.name for entry in load(path.parent)["benchmarks"]):
            return path.parent
    raise CannotPublish(f"{runs} has no run: make bench ARGS='--only hello' makes one.")


def load(folder: Path) -> dict[str, Any]:
    """Return what a run has stored; raises `CannotPublish` if it has not."""
    try:
        data = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CannotPublish(f"{folder} cannot be read: {error}") from None
    return dict(data)


def publish(data: Mapping[str, Any], page: Path) -> None:
    """Write a run between the marks of a page; raises `CannotPublish`."""
    shown = as_short_markdown(data) + "\n"
    text = put(page.read_text(encoding="utf-8"), shown, BEGINS, ENDS)
    page.write_text(text, encoding="utf-8")


def as_short_markdown(data: Mapping[str, Any]) -> str:
    """Return the two tables and what they were measured on; raises `CannotPublish`.

    A run is not shown if it is short, has failures, or lacks the compiled server, which the
    others are compared with.
    """
    [entry] = [each for each in data["benchmarks"] if each["name"] == hello.BENCHMARK.name] or [{}]
    result = Result(hello.BENCHMARK, entry.get("rounds", {}), entry.get("failed", {}))
    medians = result.medians()
    if not {OURS, OURS_COMPILED} < set(medians):
        raise CannotPublish(f"Only a run with {OURS}, {OURS_COMPILED} and others is shown.")
    if data["plan"]["rounds"] < LEAST_ROUNDS:
        raise CannotPublish(f"Only a run of {LEAST_ROUNDS} rounds or more is shown.")
    broken = [*data["failed"], *result.failed, *_with_failures(medians)]
    if broken:
        raise CannotPublish(f"Only a run without failures is shown: {', '.join(broken)}.")
    names = sorted(medians, key=lambda name: -medians[name][PER_SECOND].median)
    plan = data["plan"]
    return "\n\n".join(
        (
            f"Medians of {plan['rounds']} interleaved rounds of {plan['seconds']:g} s;"
            f" {machine.sentence(data['machine'])}",
            "Servers that answer others while a view waits:",
            _table([name for name in names if not SERVERS[name].single], result, medians),
            "Servers with one thread: while a view waits, nobody else is answered.",
            _table([name for name in names if SERVERS[name].single], result, medians),
        )
    )


def _with_failures(medians: Medians) -> list[str]:
    return [name for name, values in medians.items() if values[FAILURES].high]


def _table(names: Sequence[str], result: Result, medians: Medians) -> str:
    rows = []
    for name in names:
        values = medians[name]
        ratio = result.ratio(name, OURS_COMPILED)
        shown = [
            TITLES[name],
            number(values[PER_SECOND].median),
            number(values["p99_ms"].median, 1),
        ]
        if name in ALL_OURS:
            shown = [f"**{text}**" for text in shown]
        compared = "" if ratio is None or name == OURS_COMPILED else _times(ratio)
        rows.append([*shown, compared])
    return table(["server", "requests/s", "p99 ms", "the compiled server, times"], rows)


def _times(ratio: float) -> str:
    return number(ratio, 2 if ratio < LEAST_RATIO_SHOWN_FINELY else 1)


if __name__ == "__main__":
    sys.exit(main())
