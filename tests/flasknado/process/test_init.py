"""`flasknado init NAME` writes a project that passes its test and serves."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.support.process import server_process

TIMEOUT_S = 100


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments, cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


def init(folder: Path, *names: str) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-m", "flasknado", "init", *names, cwd=folder)


def test_project_passes_its_test_and_serves_as_its_makefile_does(tmp_path: Path) -> None:
    done = init(tmp_path, "notes")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "notes is written: cd notes, then make test and make serve\n"
    project = tmp_path / "notes"
    secret = project / "instance" / "secret_key"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert re.fullmatch("[0-9a-f]{64}", secret.read_text())
    assert "PROJECT_NAME" not in "".join(
        path.read_text() for path in project.rglob("*") if path.is_file()
    )

    tested = run("make", "test", f"PYTHON={sys.executable}", cwd=project)
    assert tested.returncode == 0, tested.stderr
    assert re.search(r"^Ran 5 tests .*\n\nOK", tested.stderr, re.M), tested.stderr

    shown = run("make", "--dry-run", "serve", "PYTHON=python", cwd=project).stdout
    prepare, serve = re.findall(r"^python -m (.*)$", shown, re.M)
    assert run(sys.executable, "-m", *prepare.split(), cwd=project).returncode == 0
    env = {"FLASKNADO_BIND": "127.0.0.1:0"}
    arguments = [word.strip('"') for word in serve.split()]
    with server_process(("-m", *arguments), cwd=project, env=env) as server:
        form = {"text": "bread and milk"}
        page = requests.post(f"{server.url}/notes", data=form, timeout=TIMEOUT_S).text
        assert '<li data-id="1">bread and milk</li>' in page
        spoken = requests.get(f"{server.url}/notes/1/aloud", timeout=TIMEOUT_S).text
        assert spoken == "bread\nand\nmilk\n"
        assert "WARNING" not in server.output


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "the name of one project"),
        (["a", "b"], "the name of one project"),
        (["taken"], "taken is there already"),
        (["json"], "Python itself uses it"),
        (["class"], "Python itself uses it"),
        (["flask"], "a package of that name is installed"),
        (["tests"], "a folder of the project is called that"),
        (["My App"], "lower-case letters"),
        (["../up"], "lower-case letters"),
        (["a" * 51], "lower-case letters"),
        (["--force"], "lower-case letters"),
    ],
)
def test_name_that_will_not_do_is_refused_in_one_sentence(
    tmp_path: Path, names: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from flasknado.process.init import command

    (tmp_path / "taken").mkdir()
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        with pytest.raises(SystemExit) as ended:
            command.main(names)
    finally:
        os.chdir(before)
    assert ended.value.code == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("flasknado: ")
    assert said in line
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
    assert list((tmp_path / "taken").iterdir()) == []


def test_help_says_what_is_written(tmp_path: Path) -> None:
    done = init(tmp_path, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: flasknado init NAME")
    assert list(tmp_path.iterdir()) == []
