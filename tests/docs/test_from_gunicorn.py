"""`docs/from-gunicorn.md`: its files are written and its commands run, in the page's order."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import requests

from tests.support.process import PROJECT_ROOT, server_process

PAGE = PROJECT_ROOT / "docs" / "from-gunicorn.md"
_FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)


def blocks(language: str) -> list[str]:
    return [text for found, text in _FENCED.findall(PAGE.read_text()) if found == language]


def conversations() -> list[tuple[list[str], str]]:
    """Return each command of the page, as arguments of `flasknado`, with what it prints."""
    found = re.findall(
        r"^\$ flasknado ([^\n]*)\n((?:[^$\n][^\n]*\n)*)", "".join(blocks("console")), re.M
    )
    return [(shlex.split(arguments), printed) for arguments, printed in found]


def test_walk_through_ends_with_the_application_served(tmp_path: Path) -> None:
    application, configuration = blocks("python")
    (tmp_path / "shop.py").write_text(application)
    (tmp_path / "gunicorn.conf.py").write_text(configuration)
    *doctors, (serving, _) = conversations()
    assert len(doctors) == 3
    for (arguments, printed), status in zip(doctors, (1, 1, 2), strict=True):
        done = subprocess.run(
            [sys.executable, "-m", "flasknado", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        answer = re.sub(r"^note: port 8000 .*\n", "", done.stdout, flags=re.M)
        assert (done.returncode, done.stderr) == (status, "")
        if printed:
            assert answer == printed
    new = tmp_path / "flasknado.conf.py"
    new.write_text(new.read_text().replace("127.0.0.1:8000", "127.0.0.1:0"))
    with server_process(("-m", "flasknado", *serving), cwd=tmp_path) as server:
        assert requests.get(server.url, timeout=10).text == "the shop"
        server.wait_for_output("forked")
