"""What OpenTelemetry holds back for its next batch arrives however a worker ends."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
import requests

from tests.support.poll import poll
from tests.unmodified.conftest import Host
from tests.unmodified.test_applications import APPLICATIONS

pytestmark = pytest.mark.timeout(300)  # the first of them installs packages


def names(folder: Path) -> list[str]:
    path = folder / "spans"
    lines = path.read_text().splitlines() if path.exists() else []
    return [name for line in lines for name in json.loads(line)]


@pytest.mark.parametrize("way", ["shutdown", "reload", "recycle"])
def test_last_spans_arrive_however_the_worker_ends(host: Host, tmp_path: Path, way: str) -> None:
    shutil.copy(APPLICATIONS / "traced.py", tmp_path)
    options = ("--max-requests", "3") if way == "recycle" else ()
    with host("opentelemetry", "traced:app", *options, cwd=tmp_path) as server:
        for name in ("first", "second", "last"):
            assert requests.get(f"{server.url}/{name}", timeout=20).ok
        if way == "reload":
            server.signal(signal.SIGHUP)
        elif way == "shutdown":
            server.signal(signal.SIGTERM)
        assert poll(lambda: names(tmp_path)) == ["first", "second", "last"]
