"""The HTML report: one well-formed file that needs no other and hides nothing."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from loadtests import report
from loadtests.report import charts
from loadtests.report.charts import Bar, Line
from tests.loadtests.samples import made_up

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
        "What the live clients received",
        "Not possible with flask-dev: sse; it has one thread.",
        "waitress is not installed: make it so",
        "2 times GET /: HTTP 500",
        "(limit)",
    ):
        assert said in page
    assert page.count("<svg") == 4


def test_report_charts_are_well_formed_and_inside_their_pictures() -> None:
    pictures = re.findall(r"<svg.*?</svg>", report.page(made_up()), re.DOTALL)

    for picture in pictures:
        root = ElementTree.fromstring(picture)
        width, height = map(float, root.attrib["viewBox"].split()[2:])
        for dot in root.iter(f"{SVG}circle"):
            assert 0 <= float(dot.attrib["cx"]) <= width
            assert 0 <= float(dot.attrib["cy"]) <= height


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


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.25, "0.25"), (9, "9"), (42.4, "42"), (1000, "1k"), (1234, "1.2k"), (12_345, "12k")],
)
def test_charts_numbers_are_short(value: float, shown: str) -> None:
    assert charts.short(value) == shown
