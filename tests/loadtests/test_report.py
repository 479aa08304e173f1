"""The HTML report: one well-formed file that needs no other and hides nothing."""

from __future__ import annotations

import dataclasses
import re
from xml.etree import ElementTree

import pytest

from loadtests import report
from loadtests.report import charts
from loadtests.report.charts import Bar, Line, Span
from tests.loadtests.samples import DELIVERY, made_up

SVG = "{http://www.w3.org/2000/svg}"


def test_report_loads_nothing_and_escapes_names() -> None:
    page = report.page(made_up())

    assert not re.search(r"(src|href)=|url\(|@import|<script", page)
    assert "A processor &lt;of&gt; tests" in page
    assert "prefers-color-scheme: dark" in page


def test_report_has_the_charts_the_tables_and_the_remarks() -> None:
    page = report.page(made_up(failures=2, share=0.95))

    for said in (
        "Throughput against flask-dev",
        "How long an answer takes",
        "What the live clients received",
        "Not possible with flask-dev: sse; it has one thread.",
        "waitress is not installed: make it so",
        "2 times GET /: HTTP 500",
        "(limit)",
    ):
        assert said in page
    assert page.count("<svg") == 6


def test_report_charts_are_well_formed_and_inside_their_pictures() -> None:
    pictures = re.findall(r"<svg.*?</svg>", report.page(made_up()), re.DOTALL)

    for picture in pictures:
        root = ElementTree.fromstring(picture)
        width, height = map(float, root.attrib["viewBox"].split()[2:])
        for dot in root.iter(f"{SVG}circle"):
            assert 0 <= float(dot.attrib["cx"]) <= width
            assert 0 <= float(dot.attrib["cy"]) <= height


def test_report_of_live_clients_that_received_nothing_has_losses_and_no_times() -> None:
    found = made_up()
    *others, live = found.samples
    nothing = dataclasses.replace(DELIVERY, received=0, p50_ms=0, p95_ms=0, p99_ms=0)
    silent = dataclasses.replace(
        live, report=dataclasses.replace(live.report, delivery=nothing), round=1
    )

    page = report.page(dataclasses.replace(found, samples=(*others, silent)))
    both = report.page(dataclasses.replace(found, samples=(*found.samples, silent)))

    assert "sse lost, 50 users: 0.67" in page
    assert "sse p50" not in page
    assert "sse p50, 50 users: 4" in both, "only the round in which something arrived has times"


def test_report_picture_is_an_image_of_its_own() -> None:
    root = ElementTree.fromstring(report.picture(made_up()))

    assert root.tag == f"{SVG}svg"
    assert [bar.tag for bar in root.iter(f"{SVG}rect")] == [f"{SVG}rect"]


def test_charts_more_is_higher() -> None:
    line = Line("ours", 0, [(1, 10, 9, 11), (8, 80, 70, 90)])
    root = ElementTree.fromstring(charts.lines("a chart", [line]))

    low, high = (float(dot.attrib["cy"]) for dot in root.iter(f"{SVG}circle"))

    assert high < low


@pytest.mark.parametrize("value", [0.0, 0.4, 3.0, 123_456.0])
def test_charts_of_one_point_are_drawn_whatever_its_size(value: float) -> None:
    line = Line("ours", 0, [(1, value, value, value)])

    for logarithmic in (False, True):
        root = ElementTree.fromstring(charts.lines("a chart", [line], logarithmic=logarithmic))
        assert len(list(root.iter(f"{SVG}circle"))) == 1


def test_charts_bar_of_a_slower_server_goes_to_the_left() -> None:
    picture = charts.bars("ratios", [Bar("slower", 0, 0.5, 0.4, 0.6), Bar("faster", 1, 4, 3, 5)])
    slower, faster = ElementTree.fromstring(picture).iter(f"{SVG}rect")

    ends = float(slower.attrib["x"]) + float(slower.attrib["width"])
    assert ends == pytest.approx(float(faster.attrib["x"]), abs=0.2)


@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.01, 7.0])
def test_charts_bar_of_a_busy_machine_is_hatched_inside_and_says_no_result(ratio: float) -> None:
    drawn = [Bar("quiet", 0, 3, 2, 5), Bar("busy", 1, ratio, ratio, ratio, doubtful=True)]
    root = ElementTree.fromstring(charts.bars("ratios", drawn))

    [hatch] = [path for path in root.iter(f"{SVG}path") if path.attrib["class"] == "hatch"]
    _, bar = root.iter(f"{SVG}rect")
    left, top = float(bar.attrib["x"]), float(bar.attrib["y"])
    right, bottom = left + float(bar.attrib["width"]), top + charts.BAR_HEIGHT
    places = re.findall(r"[ML]([\d.]+) ([\d.]+)", hatch.attrib["d"])
    assert all(left - 0.1 <= float(x) <= right + 0.1 for x, _ in places)
    assert all(top - 0.1 <= float(y) <= bottom + 0.1 for _, y in places)
    assert len(places) >= 2 * (right - left) // charts.HATCH_GAP
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert [text for text in texts if "no result" in str(text)] == [
        f"{charts.TIMES}{ratio:.2f} (no result)"
    ]


def test_report_begins_with_the_conclusion() -> None:
    page = report.page(made_up())

    assert page.index("Against flask-dev, requests a second are") < page.index("A processor")


def test_charts_span_goes_from_half_of_the_answers_to_nearly_all() -> None:
    drawn = [Span("page", 0, 5, 10, 20), Span("page", 1, 50, 500, 5000)]
    root = ElementTree.fromstring(charts.spans("times", drawn))

    fast, slow = (float(dot.attrib["cx"]) for dot in root.iter(f"{SVG}circle"))
    texts = [text.text for text in root.iter(f"{SVG}text")]

    assert charts.BAR_LEFT < fast < slow < charts.WIDTH * 2 - charts.BAR_RIGHT
    assert texts.count("page") == 1, "a scenario is named once"
    assert {"20", "5k"} < set(texts)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.25, "0.25"), (9, "9"), (42.4, "42"), (1000, "1k"), (1234, "1.2k"), (12_345, "12k")],
)
def test_charts_numbers_are_short(value: float, shown: str) -> None:
    assert charts.short(value) == shown
