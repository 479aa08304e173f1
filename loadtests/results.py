"""The results of a run: stored as JSON and CSV, summarised over the rounds, shown as a table."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from loadtests.generator import Delivery, Report
from loadtests.tables import Summary, number, table, with_spread
from loadtests.usage import SHARED_CORE

JSON_NAME = "results.json"
CSV_NAME = "results.csv"


class NoResults(Exception):
    """A folder has no run's results, in one sentence."""


@dataclass(frozen=True)
class Sample:
    """One scenario with one number of users on one server in one round."""

    round: int
    server: str
    scenario: str
    users: int
    report: Report


@dataclass(frozen=True)
class Cell:
    """All rounds of one scenario with one number of users on one server."""

    server: str
    scenario: str
    users: int
    reports: tuple[Report, ...]

    @property
    def per_second(self) -> Summary:
        return Summary.of(report.per_second for report in self.reports)

    @property
    def per_core_second(self) -> float | None:
        """The median of requests for each second of the server's processor time, if known."""
        known = [report.per_core_second for report in self.reports]
        return statistics.median(value for value in known if value) if any(known) else None

    @property
    def failures(self) -> int:
        return sum(report.all_failures for report in self.reports)

    @property
    def generator_share(self) -> float:
        return statistics.median(report.generator_share for report in self.reports)

    @property
    def limited(self) -> bool:
        return any(report.limited_by_generator for report in self.reports)

    @property
    def shared(self) -> bool:
        return any(report.shared for report in self.reports)

    @property
    def deliveries(self) -> list[Delivery]:
        return [report.delivery for report in self.reports if report.delivery]

    def middle(self, value: Callable[[Report], float]) -> float:
        """Return the median of the rounds."""
        return statistics.median(map(value, self.reports))

    def percentiles_ms(self) -> tuple[float, float, float]:
        """Return p50, p95 and p99, each the median of the rounds."""
        return (
            self.middle(lambda report: report.p50_ms),
            self.middle(lambda report: report.p95_ms),
            self.middle(lambda report: report.p99_ms),
        )


@dataclass(frozen=True)
class Results:
    """A run. `servers` are name and version, the baseline first; `scenarios` name and purpose.

    `impossible` are server, scenario and reason; `skipped` name and the line that installs it;
    `failed` name and message.
    """

    machine: dict[str, Any]
    seconds: float
    rounds: int
    servers: dict[str, str]
    scenarios: dict[str, str]
    samples: tuple[Sample, ...]
    impossible: tuple[tuple[str, str, str], ...] = ()
    skipped: dict[str, str] | None = None
    failed: dict[str, str] | None = None

    @property
    def baseline(self) -> str:
        return next(iter(self.servers))

    def cells(self, scenario: str) -> list[Cell]:
        """Return what was measured of a scenario, by users, the baseline first."""
        order = list(self.servers)
        found: dict[tuple[int, str], list[Report]] = {}
        for sample in self.samples:
            if sample.scenario == scenario:
                found.setdefault((sample.users, sample.server), []).append(sample.report)
        return [
            Cell(server, scenario, users, tuple(reports))
            for (users, server), reports in sorted(
                found.items(), key=lambda item: (item[0][0], order.index(item[0][1]))
            )
        ]

    def ratio(self, cell: Cell) -> Summary | None:
        """Return throughput over the baseline's, round by round; `None` if there is none."""
        if cell.server == self.baseline:
            return None
        rates = {
            (sample.round, sample.server): sample.report.per_second
            for sample in self.samples
            if sample.scenario == cell.scenario and sample.users == cell.users
        }
        ratios = [
            rates[round_number, cell.server] / rate
            for (round_number, server), rate in rates.items()
            if server == self.baseline and rate > 0 and (round_number, cell.server) in rates
        ]
        return Summary.of(ratios) if ratios else None

    def doubtful(self, cell: Cell) -> bool:
        """Return whether a cell, or what it is compared with, was measured on a busy machine."""
        return cell.shared or any(
            other.shared
            for other in self.cells(cell.scenario)
            if other.server == self.baseline and other.users == cell.users
        )

    def save(self, folder: Path) -> None:
        """Write JSON, which has everything, and CSV, a line for each sample."""
        text = json.dumps(asdict(self), indent=1) + "\n"
        (folder / JSON_NAME).write_text(text, encoding="utf-8")
        plain = [entry.name for entry in fields(Report) if entry.name not in ("delivery", "errors")]
        live = [entry.name for entry in fields(Delivery)]
        with (folder / CSV_NAME).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(
                ["round", "server", "scenario", "users", *plain, *(f"live_{name}" for name in live)]
            )
            for sample in self.samples:
                report, delivery = sample.report, sample.report.delivery
                writer.writerow(
                    [
                        *(sample.round, sample.server, sample.scenario, sample.users),
                        *(getattr(report, name) for name in plain),
                        *(getattr(delivery, name) if delivery else "" for name in live),
                    ]
                )


def load(folder: Path) -> Results:
    """Read a stored run, given its folder or its JSON file; raises `NoResults`."""
    path = folder if folder.is_file() else folder / JSON_NAME
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        samples = tuple(_sample(entry) for entry in data.pop("samples"))
        impossible = tuple((one, two, why) for one, two, why in data.pop("impossible"))
        return Results(**data, samples=samples, impossible=impossible)
    except OSError as error:
        raise NoResults(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError) as error:
        raise NoResults(f"{path} is not the results of make loadtest: {error!r}") from None


def _sample(entry: dict[str, Any]) -> Sample:
    plain = dict(entry["report"])
    delivery = Delivery(**plain["delivery"]) if plain["delivery"] else None
    report = Report(**{**plain, "errors": tuple(plain["errors"]), "delivery": delivery})
    return Sample(entry["round"], entry["server"], entry["scenario"], entry["users"], report)


def as_table(results: Results) -> str:
    """Return the Markdown table: a row for each scenario, number of users and server."""
    rows = []
    for scenario in results.scenarios:
        for cell in results.cells(scenario):
            against = results.ratio(cell)
            limited = " (limit)" if cell.limited else ""
            rows.append(
                [
                    *(scenario, cell.server, str(cell.users)),
                    with_spread(cell.per_second) + (" (shared)" if cell.shared else ""),
                    number(cell.per_core_second) if cell.per_core_second else "",
                    *(number(value) for value in cell.percentiles_ms()),
                    number(cell.failures),
                    f"{100 * cell.generator_share:.0f}{limited}",
                    ratio_text(against),
                ]
            )
        for server, its_scenario, reason in results.impossible:
            if its_scenario == scenario and reason:
                rows.append([scenario, server, "-", "not possible", *7 * [""]])
    headings = ["scenario", "server", "users", "requests/s", "per core second"]
    headings += ["p50 ms", "p95 ms", "p99 ms", "failures", "generator %", "ratio"]
    return table(headings, rows, names=2)


def delivery_table(results: Results) -> str:
    """Return what the live clients received, as a Markdown table; empty if there were none."""
    rows = [
        [
            *(cell.scenario, cell.server, str(cell.users)),
            number(sum(delivery.received for delivery in cell.deliveries)),
            number(sum(delivery.lost for delivery in cell.deliveries)),
            *([number(value) for value in delivery_percentiles_ms(cell) or ()] or 3 * [""]),
        ]
        for scenario in results.scenarios
        for cell in results.cells(scenario)
        if cell.deliveries
    ]
    headings = ["live clients", "server", "users", "received", "lost", "p50 ms", "p95 ms", "p99 ms"]
    return table(headings, rows, names=2) if rows else ""


def delivery_percentiles_ms(cell: Cell) -> tuple[float, float, float] | None:
    """Return the deliveries' p50, p95 and p99, each the median of the rounds; `None` without any.

    A round in which nothing arrived has no times.
    """
    every = [(each.p50_ms, each.p95_ms, each.p99_ms) for each in cell.deliveries if each.received]
    if not every:
        return None
    p50, p95, p99 = (statistics.median(values) for values in zip(*every, strict=True))
    return p50, p95, p99


def not_possible(results: Results) -> Iterator[str]:
    """Yield a sentence for each reason, with the servers and scenarios that it holds for."""
    scenarios: dict[tuple[str, str], list[str]] = {}
    for server, scenario, reason in results.impossible:
        scenarios.setdefault((server, reason), []).append(scenario)
    servers: dict[tuple[str, str], list[str]] = {}
    for (server, reason), names in scenarios.items():
        servers.setdefault((", ".join(names), reason), []).append(server)
    for (what, reason), its_servers in servers.items():
        yield f"Not possible with {', '.join(its_servers)}: {what}; {reason}."


def conclusion(results: Results) -> str:
    """Return in one sentence what came out, or that nothing did."""
    cells = [cell for name in results.scenarios for cell in results.cells(name)]
    if not cells:
        return "No result: nothing was measured."
    if doubtful := sum(cell.shared for cell in cells):
        return (
            f"No result: in {doubtful} of {len(cells)} measurements other processes used the"
            " server's core, so run it again on a quiet machine."
        )
    compared = [(ratio.median, cell) for cell in cells if (ratio := results.ratio(cell))]
    if not compared:
        return f"{len(cells)} measurements, and nothing to compare them with."
    (least, slowest), (most, fastest) = (
        choose(compared, key=lambda each: each[0]) for choose in (min, max)
    )
    return (
        f"Against {results.baseline}, requests a second are {least:.2f} times as many"
        f" ({slowest.server}, {slowest.scenario}, {slowest.users} users) to {most:.2f} times"
        f" ({fastest.server}, {fastest.scenario}, {fastest.users} users)."
    )


def remarks(results: Results) -> Iterator[str]:
    """Yield what has to be said about the tables: what is missing, marked, left out, or failed."""
    yield from not_possible(results)
    if any(sample.report.limited_by_generator for sample in results.samples):
        yield (
            "(limit): the generator was at its own limit, so the server may be able to do more;"
            " make bench measures with a faster generator."
        )
    if any(sample.report.shared for sample in results.samples):
        yield (
            f"(shared): other processes had more than {100 * SHARED_CORE:.0f} % of the server's"
            " core in a round, so this is no result; the number per core second suffers least."
        )
    if name := results.machine.get("shared_with_generator"):
        yield (
            f"{name}: there are too few cores for the generator to have one of its own, so the"
            " server may be able to do more, and whether others used its cores is not known."
        )
    for name, message in (results.failed or {}).items():
        yield f"{name} was left out: {message}"
    yield from errors_of(results.samples)


def ratio_text(against: Summary | None) -> str:
    """Return `3.10 (2.90 to 3.30)`, or nothing."""
    if against is None:
        return ""
    if against.low == against.high:
        return f"{against.median:.2f}"
    return f"{against.median:.2f} ({against.low:.2f} to {against.high:.2f})"


def errors_of(samples: Sequence[Sample]) -> Iterator[str]:
    """Yield what failed, in locust's words."""
    for sample in samples:
        for text in sample.report.errors:
            yield f"{sample.server}, {sample.scenario}, {sample.users} users: {text}"
