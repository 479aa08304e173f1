"""The command that compares with Flask's development server."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from loadtests import generator, loadtest, results
from loadtests.measuring import Measured
from loadtests.scenarios import SCENARIOS
from tests.loadtests.fakes import Fake, needs_locust
from tests.loadtests.samples import made_up, report
from tests.support.poll import poll
from tests.support.process import PROJECT_ROOT


def test_loadtest_without_locust_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generator, "LOCUST", PROJECT_ROOT / "no-such-file")

    assert loadtest.main([]) == 1
    assert generator.INSTALL_LOCUST in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--peers", "waitress apache"], "no server is named 'apache'"),
        (["--target", "http://192.0.2.1"], "another machine"),
        (["--users", "0"], "below 1"),
        (["--rounds", "-1"], "--rounds at least 1"),
        (["--workers", "0"], "--workers 0 cannot be measured"),
        (["--workers", "9999"], "this machine has"),
    ],
)
def test_loadtest_what_cannot_be_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], why: str
) -> None:
    with pytest.raises(SystemExit):
        loadtest.main(arguments)

    assert why in capsys.readouterr().err


def test_loadtest_usual_run_takes_less_than_five_minutes() -> None:
    options = loadtest.parse([])
    measurements = sum(
        len(scenario.usual) * (1 if scenario.live else len(options.servers))
        for scenario in SCENARIOS.values()
    )

    assert measurements * options.rounds * (options.seconds + loadtest.START_S) < 280


def test_exit_status_of_a_busy_machine_is_one() -> None:
    sample = made_up().samples[0]
    busy = dataclasses.replace(sample, report=report(90, others_share=0.4))
    assert loadtest._status(Measured([sample], {}, {})) == 0
    assert loadtest._status(Measured([sample, busy], {}, {})) == 1


@needs_locust
def test_loadtest_of_a_target_keeps_report_and_raw_data_and_skips_what_it_has_not(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loadtest, "ROOT", tmp_path)
    # The fake answers every GET, but takes no POST.
    fake.wait_s = 0.02
    arguments = ["--target", fake.url, "--only", "wait", "--users", "1,2", "--rounds", "1"]

    assert loadtest.main([*arguments, "--seconds", "1"]) == 0

    [folder] = (tmp_path / "var" / "loadtest").iterdir()
    one, two = results.load(folder).samples
    assert (one.server, one.users, two.users) == (fake.url, 1, 2)
    assert 20 <= two.report.p50_ms < 60
    raw = sorted(path.name for path in (folder / "raw").iterdir())
    assert raw == ["1-target-wait-1.json", "1-target-wait-2.json"]
    assert "<svg" in (folder / "report.html").read_text(encoding="utf-8")


@needs_locust
def test_loadtest_of_a_target_that_cannot_do_a_scenario_says_so(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loadtest, "ROOT", tmp_path)
    fake.status = 404

    assert loadtest.main(["--target", fake.url, "--only", "wait"]) == 1

    shown = capsys.readouterr().out
    assert "wait; GET /loadtest/wait was answered 404 instead of 200" in shown


@needs_locust
def test_loadtest_when_interrupted_leaves_no_process_behind(
    marked: Callable[[], list[str]],
) -> None:
    command = [sys.executable, "-m", "loadtests.loadtest", "--only", "wait", "--seconds", "60"]
    with subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True) as run:
        poll(marked, lambda lines: any("--locustfile" in line for line in lines) or run.poll(), 60)

        run.send_signal(signal.SIGINT)

        assert run.stdout is not None
        assert run.wait(30) == 130, run.stdout.read()
    assert marked() == []
