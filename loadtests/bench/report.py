"""Results as JSON, which has everything, and as Markdown, which is made from the JSON's data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from loadtests import machine
from loadtests.bench.benchmark import FAILURES, GENERATOR, Benchmark, Plan
from loadtests.bench.rounds import Result
from loadtests.bench.wrk import BUSY_GENERATOR
from loadtests.servers import OURS, SERVERS
from loadtests.tables import Summary, number, table, with_spread

ONE_THREAD = "*one thread: while a view waits, nobody else is answered*"


def as_data(
    results: Sequence[Result],
    plan: Plan,
    described: Mapping[str, Any],
    versions: Mapping[str, str],
    skipped: Mapping[str, str],
    failed: Mapping[str, str],
) -> dict[str, Any]:
    """Return everything as what JSON can hold."""
    return {
        "machine": dict(described),
        "plan": asdict(plan),
        "versions": dict(versions),
        "skipped": dict(skipped),
        "failed": dict(failed),
        "benchmarks": [
            {
                "name": result.benchmark.name,
                "title": result.benchmark.title,
                "method": result.benchmark.method,
                "rounds": result.rounds,
                "failed": result.failed,
                "goals": [
                    {**asdict(goal), "met": goal.met}
                    for goal in result.benchmark.goals(result.medians())
                ],
            }
            for result in results
        ],
    }


def as_markdown(results: Sequence[Result], data: Mapping[str, Any]) -> str:
    """Return the page: machine, a table for each benchmark, goals, and who was left out."""
    plan = data["plan"]
    parts = [
        "# Benchmarks",
        machine.sentence(data["machine"]),
        f"{plan['rounds']} rounds of {plan['seconds']:g} s, interleaved; medians ± half the range."
        " The ratio is ours against theirs in the first column, above 1 when ours is better.",
    ]
    for result in results:
        parts += [f"## {result.benchmark.title}", result.benchmark.method, one_table(result)]
        goals = result.benchmark.goals(result.medians())
        parts += ["\n".join(f"- {goal}" for goal in goals)] if goals else []
        parts += [_failures(result.failed)] if result.failed else []
    parts += ["## Servers", _servers(data["versions"])]
    if data["failed"]:
        parts += ["Left out because they fail or answer differently:", _failures(data["failed"])]
    if data["skipped"]:
        lines = (f"- {name}: `{install}`" for name, install in data["skipped"].items())
        parts += ["Not installed:", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def one_table(result: Result) -> str:
    """Return a benchmark's table, the best server first.

    Servers with one thread for everything stand below the others: while a view waits, they
    answer nobody else.
    """
    benchmark = result.benchmark
    medians = result.medians()
    first = benchmark.metrics[0]

    def rank(name: str) -> float:
        summary = medians[name].get(first.key)
        if summary is None:
            return float("inf")
        return -summary.median if benchmark.more_is_better else summary.median

    rows = []
    names = sorted(medians, key=lambda name: (_is_single(name), rank(name)))
    for position, name in enumerate(names):
        if position and _is_single(name) > _is_single(names[position - 1]):
            rows.append([ONE_THREAD, *("" for _ in benchmark.metrics), ""])
        ratio = result.ratio(name)
        rows.append(
            [
                f"**{name}**" if name == OURS else name,
                *_cells(benchmark, medians[name]),
                "" if ratio is None or name == OURS else f"{ratio:.2f}",
            ]
        )
    headings = ["server", *(metric.heading for metric in benchmark.metrics), "ratio"]
    return table(headings, rows)


def _is_single(name: str) -> bool:
    server = SERVERS.get(name)
    return server is not None and server.single


def _cells(benchmark: Benchmark, values: Mapping[str, Summary]) -> list[str]:
    cells = []
    for metric in benchmark.metrics:
        summary = values.get(metric.key)
        if summary is None:
            cells.append("-")
            continue
        if metric is benchmark.metrics[0]:
            text = with_spread(summary, metric.digits)
        elif metric.key == FAILURES:
            text = number(summary.high)
        else:
            text = number(summary.median, metric.digits)
        limit = values.get(GENERATOR if metric.key == GENERATOR else metric.limited_by or "")
        if limit is not None and limit.median > 100 * BUSY_GENERATOR:
            text += " (limit)"
        cells.append(text)
    return cells


def _servers(versions: Mapping[str, str]) -> str:
    rows = [[name, version, SERVERS[name].good_at] for name, version in versions.items()]
    return table(["server", "version", "good at"], rows, names=3)


def _failures(failed: Mapping[str, str]) -> str:
    return "\n".join(f"- {name}: {message}" for name, message in failed.items())
