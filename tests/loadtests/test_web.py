"""Locust by hand: its own options are passed on, its load shapes run, and it leaves nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from loadtests import generator, web
from tests.loadtests.fakes import Fake, needs_locust
from tests.support.poll import poll
from tests.support.process import PROJECT_ROOT

HEADLESS = ("--headless", "--only-summary", "--users", "4", "--run-time", "2s", "PageReader")


def test_web_without_locust_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generator, "LOCUST", PROJECT_ROOT / "no-such-file")

    assert web.main([]) == 1
    assert generator.INSTALL_LOCUST in capsys.readouterr().out


@needs_locust
def test_web_of_another_machine_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert web.main(["--target", "http://192.0.2.1"]) == 1
    assert "another machine" in capsys.readouterr().out


@needs_locust
@pytest.mark.parametrize("shape", web.SHAPES)
def test_web_load_shape_runs_to_its_end(
    fake: Fake, capfd: pytest.CaptureFixture[str], shape: str
) -> None:
    fake.wait_s = 0.02

    assert web.main(["--target", fake.url, "--shape", shape, "--", *HEADLESS]) == 0

    shown = capfd.readouterr().err
    assert "Shape test stopping" in shown
    assert "Traceback" not in shown


@needs_locust
def test_web_when_interrupted_leaves_no_process_behind(marked: Callable[[], list[str]]) -> None:
    command = [sys.executable, "-m", "loadtests.web", "--", "--headless", "JsonReader"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=pipe, stderr=pipe, text=True) as run:
        poll(marked, lambda lines: any("--locustfile" in line for line in lines) or run.poll(), 60)

        run.send_signal(signal.SIGINT)

        shown, _ = run.communicate(timeout=30)
        assert run.returncode == 130, shown
    assert marked() == []
