"""`docs/deploy.md`: ten commands, and what they call takes the arguments that they give."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from flasknado.process.deploy.command import KINDS
from tests.support.process import PROJECT_ROOT

PAGE = (PROJECT_ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ (.*)$", PAGE.partition("\n## `flasknado deploy")[0], re.MULTILINE)
OURS = [command for command in COMMANDS if command.startswith(".venv/bin/flasknado ")]


def test_page_needs_ten_commands() -> None:
    assert len(COMMANDS) == 10
    assert len(OURS) == 3


@pytest.mark.parametrize("command", OURS)
def test_command_of_this_project_works_as_printed(command: str, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("from flask import Flask\napp = Flask(__name__)\n")
    words = shlex.split(command)[1:]
    if "--to" in words:
        words[words.index("--to") + 1] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "flasknado", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_page_has_every_kind_and_the_units_have_its_names(tmp_path: Path) -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == set(KINDS)
    assert {"shop.socket", "shop.service"} <= set(re.findall(r"shop\.\w+", " ".join(COMMANDS)))
