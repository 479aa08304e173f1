"""Two stored runs, compared: worse is worse beyond the threshold and the rounds' own spread."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests import compare
from loadtests.results import Results
from tests.loadtests.samples import made_up


def stored(folder: Path, results: Results) -> str:
    folder.mkdir()
    results.save(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("after", "status"), [(400.0, 0), (900.0, 0), (365.0, 0), (330.0, 1), (40.0, 1)]
)
def test_compare_fails_beyond_the_threshold_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], after: float, status: int
) -> None:
    before = stored(tmp_path / "a", made_up(400.0))

    assert compare.main([before, stored(tmp_path / "b", made_up(after))]) == status
    assert ("is worse in 2 of 3" in capsys.readouterr().out) == bool(status)


def test_compare_threshold_may_be_given(tmp_path: Path) -> None:
    runs = [stored(tmp_path / "a", made_up(400.0)), stored(tmp_path / "b", made_up(330.0))]

    assert compare.main([*runs, "--threshold", "30"]) == 0


def test_compare_new_failures_are_worse_whatever_the_speed(tmp_path: Path) -> None:
    before = stored(tmp_path / "a", made_up(400.0))

    assert compare.main([before, stored(tmp_path / "b", made_up(900.0, failures=1))]) == 1


def test_compare_without_a_run_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main([str(tmp_path / "none"), str(tmp_path)]) == 2
    assert "cannot be read" in capsys.readouterr().out


def test_compare_of_a_server_that_neither_has_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stored(tmp_path / "a", made_up())

    assert compare.main([run, run, "--server", "waitress"]) == 2
    assert "nothing of waitress in common" in capsys.readouterr().out
