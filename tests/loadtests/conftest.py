"""A server whose behaviour is known, and processes that can be counted."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loadtests.generator import INSTALL_LOCUST, LOCUST
from tests.loadtests.fakes import Fake, faking
from tests.support.programs import missing, need

MARK = "FLASKNADO_TEST_MARK"


@pytest.fixture
def fake() -> Iterator[Fake]:
    with faking(Fake()) as served:
        yield served


@pytest.fixture(scope="session")
def wrk() -> None:
    """Only with wrk on this machine."""
    need("wrk")


@pytest.fixture(scope="session")
def locust() -> None:
    """Only with the environment that locust lives in."""
    if not LOCUST.exists():
        missing(f"locust is not installed: run {INSTALL_LOCUST}")


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Mark all processes that the test starts; returns what tells their command lines."""
    mark = secrets.token_hex(8)
    monkeypatch.setenv(MARK, mark)
    wanted = f"{MARK}={mark}".encode()

    def command_lines() -> list[str]:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    if wanted in (entry / "environ").read_bytes().split(b"\0"):
                        found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        return found

    return command_lines
