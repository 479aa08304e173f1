"""Results: summed up inside rounds, kept and read again, honest about what was not possible."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import pytest

from loadtests import results
from loadtests.results import NoResults
from tests.loadtests.samples import made_up, report


def test_results_saved_are_read_as_they_were(tmp_path: Path) -> None:
    found = made_up(failures=3)

    found.save(tmp_path)

    assert results.load(tmp_path) == found
    assert results.load(tmp_path / results.JSON_NAME) == found


def test_results_csv_has_a_line_for_each_sample(tmp_path: Path) -> None:
    found = made_up()

    found.save(tmp_path)

    with (tmp_path / results.CSV_NAME).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found.samples)
    assert rows[-1]["live_lost"] == "2"
    assert rows[0]["per_second"] == "100.0"
    assert rows[0]["live_lost"] == ""


def test_results_ratio_is_taken_inside_each_round() -> None:
    found = made_up(ours=400.0)
    baseline, ours = found.cells("page")[:2]

    ratio = found.ratio(ours)

    assert found.ratio(baseline) is None
    assert ratio is not None
    assert (ratio.high, ratio.low) == (4.0, 3.5)


def test_results_table_shows_failures_a_limited_generator_and_what_is_not_possible() -> None:
    lines = results.as_table(made_up(failures=7, share=0.95)).splitlines()

    assert "(limit)" in lines[3]
    assert " 14 |" in lines[3]
    assert "3.75 (3.50 to 4.00)" in lines[3]
    assert "not possible" in lines[-1]


def test_results_not_possible_for_one_reason_with_several_servers_are_one_sentence() -> None:
    impossible = [
        (server, scenario, "why") for server in ("a", "b") for scenario in ("sse", "poll")
    ]
    found = dataclasses.replace(made_up(), impossible=(*impossible, ("c", "sse", "why")))

    assert list(results.not_possible(found)) == [
        "Not possible with a, b: sse, poll; why.",
        "Not possible with c: sse; why.",
    ]


def test_results_measured_while_others_used_the_core_are_marked() -> None:
    found = made_up()
    quiet, *others = found.samples
    disturbed = dataclasses.replace(quiet, report=report(90, others_share=0.4))
    found = dataclasses.replace(found, samples=(disturbed, *others))

    lines = results.as_table(found).splitlines()

    assert [number for number, line in enumerate(lines) if "(shared)" in line] == [2]
    assert any("more than 10 % of the server's core" in text for text in results.remarks(found))


def test_conclusion_says_the_range_against_the_baseline() -> None:
    assert results.conclusion(made_up()) == (
        "Against flask-dev, requests a second are 3.75 times as many (flasknado, page, 1 users) to"
        " 3.75 times (flasknado, page, 1 users)."
    )


def test_conclusion_on_a_busy_machine_is_that_there_is_no_result() -> None:
    found = made_up()
    quiet, *others = found.samples
    disturbed = dataclasses.replace(quiet, report=report(90, others_share=0.4))
    found = dataclasses.replace(found, samples=(disturbed, *others))

    assert results.conclusion(found).startswith("No result: in 1 of 5 measurements")
    assert [(cell.server, cell.users) for cell in found.cells("page") if found.doubtful(cell)] == [
        ("flask-dev", 1),
        ("flasknado", 1),
    ]


def test_conclusion_of_nothing_is_no_result() -> None:
    assert results.conclusion(dataclasses.replace(made_up(), samples=())).startswith("No result")


def test_results_of_live_clients_show_what_was_lost() -> None:
    lines = results.delivery_table(made_up()).splitlines()

    assert [cell.strip() for cell in lines[2].strip("|").split("|")][2:5] == ["50", "90", "2"]


@pytest.mark.parametrize("text", [None, "{", "{}", "[]", '{"samples": [{}]}'])
def test_results_that_are_none_are_refused_in_a_sentence(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / results.JSON_NAME).write_text(text, encoding="utf-8")

    with pytest.raises(NoResults, match=r"results\.json (cannot be read|is not the results)"):
        results.load(tmp_path)
