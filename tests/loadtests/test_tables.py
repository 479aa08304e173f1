"""Medians, spreads and how tables look."""

from __future__ import annotations

import pytest

from loadtests.tables import Summary, number, table, with_spread


def test_summary_of_rounds_is_their_median_and_range() -> None:
    summary = Summary.of([110.0, 90.0, 100.0])

    assert summary == Summary(median=100.0, low=90.0, high=110.0)
    assert summary.spread == pytest.approx(0.1)


def test_number_has_separators_and_the_digits_asked_for() -> None:
    assert number(12345.678) == "12,346"
    assert number(0.98765, 3) == "0.988"


def test_with_spread_shows_half_the_range_in_percent() -> None:
    assert with_spread(Summary(12000.0, 11400.0, 12600.0)) == "12,000 ± 5 %"


def test_with_spread_of_one_round_is_the_number_alone() -> None:
    assert with_spread(Summary.of([12000.0])) == "12,000"


def test_table_has_names_on_the_left_and_numbers_on_the_right() -> None:
    assert table(["server", "requests/s"], [["ours", "12,000"], ["the other", "9"]]) == (
        "| server    | requests/s |\n"
        "| --------- | ---------: |\n"
        "| ours      |     12,000 |\n"
        "| the other |          9 |"
    )


def test_table_with_two_names_has_both_on_the_left() -> None:
    lines = table(["a", "bb", "c"], [["1", "2", "3"]], names=2).splitlines()

    assert lines == ["| a | bb | c |", "| - | -- | : |", "| 1 | 2  | 3 |"]
