"""A stored run in the documentation: between its marks, with its conditions, if it is fit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from loadtests import publish
from loadtests.publish import BEGINS, ENDS, CannotPublish
from loadtests.results import Sample
from tests.loadtests.samples import made_up, report
from tests.support.process import PROJECT_ROOT


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    for name in ("docs/loadtests.md", "README.md"):
        (tmp_path / name).write_text(f"before\n{BEGINS}old\n{ENDS}after\n")
    return tmp_path


def fit(ours: float = 400.0) -> publish.Results:
    """Return a run in which nothing was lost."""
    found = made_up(ours)
    return dataclasses.replace(found, samples=found.samples[:-1], impossible=())


def test_publish_puts_table_chart_and_conditions_between_the_marks(root: Path) -> None:
    publish.publish(fit(), root)

    docs, readme = (root / "docs" / "loadtests.md").read_text(), (root / "README.md").read_text()
    for page in (docs, readme):
        assert page.startswith(f"before\n{BEGINS}\n")
        assert page.endswith(f"\n{ENDS}after\n")
        assert "A processor <of> tests, 2 cores" in page
        assert "old" not in page
    assert "| page     | flasknado |     8 |" in docs
    assert "(loadtest.svg)" in docs
    assert "(docs/loadtest.svg)" in readme
    assert (root / "docs" / "loadtest.svg").read_text().startswith("<svg")


def test_publish_twice_gives_the_same_pages(root: Path) -> None:
    publish.publish(fit(), root)
    once = (root / "README.md").read_text()

    publish.publish(fit(), root)

    assert (root / "README.md").read_text() == once


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        (400.0, "flasknado, faster in every round: `page` with 1 user (3.75)"),
        (50.0, "flasknado, slower in every round: `page` with 1 user (0.54)"),
    ],
)
def test_publish_says_where_a_server_is_faster_and_where_not(
    root: Path, ours: float, verdict: str
) -> None:
    publish.publish(fit(ours), root)

    assert verdict in (root / "docs" / "loadtests.md").read_text()


def test_publish_of_rounds_that_disagree_says_so(root: Path) -> None:
    found = fit(100.0)
    wild = Sample(1, "flasknado", "page", 8, report(300))
    samples = [each for each in found.samples if (each.round, each.users) != (1, 8)]
    base = Sample(1, "flask-dev", "page", 8, report(120))

    publish.publish(dataclasses.replace(found, samples=(*samples, base, wild)), root)

    docs = (root / "docs" / "loadtests.md").read_text()
    assert "flasknado, neither, the rounds disagree: `page` with 1 user (1.00)" in docs
    assert "In 1 of 4 measurements the rounds differ by ±10 % or more" in docs


def test_publish_of_a_run_on_a_machine_that_was_not_quiet_says_so(root: Path) -> None:
    found = fit()
    first, *others = found.samples
    disturbed = dataclasses.replace(first, report=report(100, others_share=0.5))

    publish.publish(dataclasses.replace(found, samples=(disturbed, *others)), root)

    for name in ("README.md", "docs/loadtests.md"):
        assert "In 1 of 4 other processes used the server's core" in (root / name).read_text()


def test_publish_of_a_run_with_failures_is_refused(root: Path) -> None:
    with pytest.raises(CannotPublish, match="has no failures"):
        publish.publish(dataclasses.replace(made_up(failures=1)), root)

    assert "old" in (root / "README.md").read_text()


def test_publish_into_a_page_without_marks_is_refused_and_changes_nothing(root: Path) -> None:
    (root / "README.md").write_text("no marks\n")

    with pytest.raises(CannotPublish, match="lacks the lines"):
        publish.publish(fit(), root)

    assert "old" in (root / "docs" / "loadtests.md").read_text()


def test_publish_without_a_run_says_what_makes_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(publish, "ROOT", tmp_path)

    assert publish.main([]) == 1
    assert "make loadtest makes one" in capsys.readouterr().out


def test_publish_of_the_newest_run(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(publish, "ROOT", root)
    for name, ours in (("2026-01-01-000000", 50.0), ("2026-01-02-000000", 400.0)):
        (root / "var" / "loadtest" / name).mkdir(parents=True)
        fit(ours).save(root / "var" / "loadtest" / name)

    assert publish.main([]) == 0
    assert "2026-01-02" in capsys.readouterr().out
    assert "faster in every round" in (root / "docs" / "loadtests.md").read_text()


@pytest.mark.parametrize("name", ["docs/loadtests.md", "README.md"])
def test_published_pages_have_the_marks(name: str) -> None:
    page = (PROJECT_ROOT / name).read_text(encoding="utf-8")

    assert "\nnew\n" in publish.put(page, "new")
