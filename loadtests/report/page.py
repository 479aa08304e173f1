"""The report's page: what was measured on what, charts, tables, and what was not possible."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from loadtests import machine, results
from loadtests.report import charts
from loadtests.report.charts import Bar, Line, Span
from loadtests.results import Cell, Results
from loadtests.tables import Summary

_RATIO_TITLE = "How many times as many answers a second, for each scenario"
_STYLE = Path(__file__).with_name("style.css").read_text(encoding="utf-8")


def page(found: Results) -> str:
    """Return the whole page; it needs no other file."""
    sections = [
        _summary(found),
        _ratios(found),
        _spans(found),
        *(_scenario(found, name) for name in found.scenarios),
        _live(found),
        _table(found),
        _remarks(found),
    ]
    title = f"Load test, {found.machine['date']}"
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f"<title>{escape(title)}</title>\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<style>\n{_STYLE}</style>\n<main>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(filter(None, sections))
        + "\n</main>\n</html>\n"
    )


def _summary(found: Results) -> str:
    rounds = "One round" if found.rounds == 1 else f"{found.rounds} rounds"
    about = (
        f"{rounds} of {found.seconds:g} s for each measurement, the servers in turn, every other"
        " round backwards. Numbers are medians, bands and ranges are from the worst round to the"
        " best."
    )
    legend = "".join(
        f'<li class="s{number % charts.COLOURS}"><i></i>{escape(name)} '
        f"<small>{escape(version)}</small></li>"
        for number, (name, version) in enumerate(found.servers.items())
    )
    text = machine.sentence(found.machine).replace("**", "")
    conclusion = f"<p><strong>{escape(results.conclusion(found))}</strong></p>"
    return f'{conclusion}<p>{escape(text)}</p><p>{about}</p><ul class="legend">{legend}</ul>'


def picture(found: Results) -> str:
    """Return the chart of ratios as an SVG file of its own; empty if nothing is compared."""
    drawn = _ratio_bars(found)
    if not drawn:
        return ""
    head, rest = charts.bars(_RATIO_TITLE, drawn).split(">", 1)
    return f"{head}><style>\n{_STYLE}</style>{rest}\n"


def _ratios(found: Results) -> str:
    drawn = _ratio_bars(found)
    if not drawn:
        return ""
    caption = (
        "How many times as many answers a second, on a logarithmic scale; to the left of 1 it is"
        " slower. The black lines are from the worst round to the best; what is hatched is no"
        " result, because the machine was busy with something else."
    )
    return (
        f"<h2>Throughput against {escape(found.baseline)}</h2>"
        f"{_figure(charts.bars(_RATIO_TITLE, drawn), caption)}"
    )


def _ratio_bars(found: Results) -> list[Bar]:
    """Return throughput over the baseline's, at each scenario's greatest number of users."""
    return [
        Bar(
            _label(cell),
            _series(found, cell),
            ratio.median,
            ratio.low,
            ratio.high,
            found.doubtful(cell),
        )
        for cell in _fullest(found)
        if (ratio := found.ratio(cell)) is not None
    ]


def _spans(found: Results) -> str:
    """Draw how long an answer takes, in each scenario and on each server."""
    drawn = [
        Span(_label(cell), _series(found, cell), *(max(ms, 1.0) for ms in cell.percentiles_ms()))
        for cell in _fullest(found)
    ]
    if not drawn:
        return ""
    chart = charts.spans("How long an answer takes, for each scenario", drawn)
    caption = (
        "From p50 (the dot: half of the answers are faster) over p95 (the stroke) to p99, on a"
        " logarithmic scale. To the left is better."
    )
    return f"<h2>How long an answer takes</h2>{_figure(chart, caption)}"


def _fullest(found: Results) -> Iterable[Cell]:
    """Yield what was measured with each scenario's greatest number of users."""
    for name in found.scenarios:
        cells = found.cells(name)
        most = max((cell.users for cell in cells), default=0)
        yield from (cell for cell in cells if cell.users == most)


def _label(cell: Cell) -> str:
    return f"{cell.scenario}, {cell.users} users"


def _scenario(found: Results, name: str) -> str:
    """Draw a scenario over the number of users; one number is in the table, and no chart."""
    cells = found.cells(name)
    if len({cell.users for cell in cells}) < 2:
        return ""
    servers = list(dict.fromkeys(cell.server for cell in cells))
    by_server = {server: [cell for cell in cells if cell.server == server] for server in servers}
    heading = f"<h2>{escape(name)} <small>{escape(found.scenarios[name])}</small></h2>"
    throughput = [
        Line(server, _series(found, own[0]), [_rate(cell) for cell in own])
        for server, own in by_server.items()
    ]
    latency = [
        Line(f"{server} {percentile}", _series(found, own[0]), points, charts.DASHES[percentile])
        for server, own in by_server.items()
        for percentile, points in _latencies(own)
    ]
    figures = [
        (charts.lines(f"{name}: requests/s", throughput), "throughput, requests/s"),
        (
            charts.lines(f"{name}: latency in ms", latency, logarithmic=True),
            "latency, ms: p50 whole, p95 dashed, p99 dotted",
        ),
    ]
    return f'{heading}<div class="pair">{"".join(_figure(*figure) for figure in figures)}</div>'


def _rate(cell: Cell) -> tuple[float, float, float, float]:
    rate = cell.per_second
    return cell.users, rate.median, rate.low, rate.high


def _latencies(
    cells: Sequence[Cell],
) -> Iterable[tuple[str, list[tuple[float, float, float, float]]]]:
    for number, percentile in enumerate(charts.DASHES):
        yield percentile, _points(cells, [cell.percentiles_ms()[number] for cell in cells])


def _points(
    cells: Sequence[Cell], values: Sequence[float]
) -> list[tuple[float, float, float, float]]:
    # A logarithmic scale has no zero; locust rounds to whole milliseconds.
    shown = [max(value, 1.0) for value in values]
    return [(cell.users, ms, ms, ms) for cell, ms in zip(cells, shown, strict=True)]


def _live(found: Results) -> str:
    """Show what live clients received, and how long it took."""
    cells = [cell for name in found.scenarios for cell in found.cells(name) if cell.deliveries]
    if not cells:
        return ""
    names = list(dict.fromkeys(cell.scenario for cell in cells))
    latency, counts = [], []
    # Colours are the scenarios' here; the first is the baseline's, which has no live clients.
    for series, name in enumerate(names, 1):
        own = [cell for cell in cells if cell.scenario == name]
        timed = [(cell, ms) for cell in own if (ms := results.delivery_percentiles_ms(cell))]
        for number, (percentile, dash) in enumerate(charts.DASHES.items()):
            points = _points([cell for cell, _ in timed], [ms[number] for _, ms in timed])
            if points:
                latency.append(Line(f"{name} {percentile}", series, points, dash))
        received = [_per_second(found, cell, lost=False) for cell in own]
        lost = [_per_second(found, cell, lost=True) for cell in own]
        counts += [
            Line(f"{name} received", series, received),
            Line(f"{name} lost", series, lost, charts.DASHES["p99"]),
        ]
    legend = "".join(
        f'<li class="s{series % charts.COLOURS}"><i></i>{escape(name)}</li>'
        for series, name in enumerate(names, 1)
    )
    figures = (
        (
            charts.lines("deliveries/s", counts),
            "events/s of all clients: received, and lost dotted",
        ),
        (
            charts.lines("delivery latency in ms", latency, logarithmic=True),
            "delivery, ms: p50 whole, p95 dashed, p99 dotted",
        ),
    )
    return (
        "<h2>What the live clients received</h2>"
        "<p>From the moment when the publisher asked until the event was there, through a view, "
        "a transaction and the loop, while other users browse without pause.</p>"
        f'<ul class="legend">{legend}</ul>'
        f'<div class="pair">{"".join(_figure(*figure) for figure in figures)}</div>'
        f"{_html_table(results.delivery_table(found))}"
    )


def _per_second(found: Results, cell: Cell, *, lost: bool) -> tuple[float, float, float, float]:
    """Return the point of what all clients of a cell received, or lost, in a second."""
    counts = [each.lost if lost else each.received for each in cell.deliveries]
    rate = Summary.of(count / found.seconds for count in counts)
    return cell.users, rate.median, rate.low, rate.high


def _table(found: Results) -> str:
    return f"<h2>All numbers</h2>{_html_table(results.as_table(found))}"


def _remarks(found: Results) -> str:
    skipped = (f"{name} is not installed: {line}" for name, line in (found.skipped or {}).items())
    remarks = [*results.remarks(found), *skipped]
    items = "".join(f"<li>{escape(remark)}</li>" for remark in remarks)
    return f"<h2>Remarks</h2><ul>{items}</ul>" if items else ""


def _figure(chart: str, caption: str) -> str:
    return f"<figure><figcaption>{escape(caption)}</figcaption>{chart}</figure>"


def _html_table(markdown: str) -> str:
    """Return the HTML of one of our Markdown tables."""
    head, rule, *body = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines()
    )
    kinds = ["number" if cell.endswith(":") else "name" for cell in rule]

    def row(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f'<{tag} class="{kind}">{escape(cell)}</{tag}>'
            for cell, kind in zip(cells, kinds, strict=True)
        )

    rows = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in body)
    return (
        f'<div class="wide"><table><thead><tr>{row(head, "th")}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _series(found: Results, cell: Cell) -> int:
    return list(found.servers).index(cell.server)
