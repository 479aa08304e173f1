"""The command that compares with Flask's development server."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from loadtests import compare, generator
from tests.loadtests.fakes import needs_locust
from tests.support.poll import poll
from tests.support.process import PROJECT_ROOT


def test_compare_without_locust_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generator, "LOCUST", PROJECT_ROOT / "no-such-file")

    assert compare.main([]) == 1
    assert generator.INSTALL_LOCUST in capsys.readouterr().out


def test_compare_unknown_server_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        compare.main(["--servers", "flask-dev,apache"])

    assert "no server is named 'apache'" in capsys.readouterr().err


@needs_locust
def test_compare_when_interrupted_leaves_no_process_behind(
    marked: Callable[[], list[str]],
) -> None:
    command = [sys.executable, "-m", "loadtests.compare", "--only", "wait", "--seconds", "60"]
    with subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True) as run:
        poll(marked, lambda lines: any("--locustfile" in line for line in lines) or run.poll(), 60)

        run.send_signal(signal.SIGINT)

        assert run.stdout is not None
        assert run.wait(30) == 130, run.stdout.read()
    assert marked() == []
