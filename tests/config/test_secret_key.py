"""The secret key that development makes for itself."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from config import SettingsError, load_settings
from config.secret_key import development_secret

ROOT = Path(__file__).resolve().parents[2]


def test_secret_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "var" / "secret_key"

    first = development_secret(path)

    assert len(first) >= 32
    assert development_secret(path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["secret_key"]


def test_secret_and_its_directory_that_others_could_read_are_taken_from_them(
    tmp_path: Path,
) -> None:
    path = tmp_path / "var" / "secret_key"
    secret = development_secret(path)
    path.chmod(0o644)
    path.parent.chmod(0o755)

    assert development_secret(path) == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_secret_of_development_comes_from_var(project_root: Path) -> None:
    secret = load_settings().secret_key.get_secret_value()

    assert (project_root / "var" / "secret_key").read_text().strip() == secret
    assert load_settings().secret_key.get_secret_value() == secret


def test_secret_processes_that_race_all_get_the_same_one(tmp_path: Path) -> None:
    path = tmp_path / "var" / "secret_key"
    gate_read, gate_write = os.pipe()
    # Each child is loaded and waiting before the gate opens, so that they truly race.
    code = (
        "import os, sys; from pathlib import Path;"
        "from config.secret_key import development_secret;"
        "print('ready', flush=True); os.read(int(sys.argv[2]), 1);"
        "print(development_secret(Path(sys.argv[1])))"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path), str(gate_read)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            pass_fds=[gate_read],
        )
        for _ in range(4)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    os.close(gate_read)
    os.close(gate_write)

    secrets = {child.communicate(timeout=30)[0].strip() for child in children}

    assert secrets == {path.read_text().strip()}
    assert [entry.name for entry in path.parent.iterdir()] == ["secret_key"]


def test_secret_file_that_is_empty_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "secret_key"
    path.write_text("")

    with pytest.raises(SettingsError, match=r"has 0 characters.*delete the file"):
        development_secret(path)


def test_secret_directory_that_cannot_be_made_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("a file where the directory should be")

    with pytest.raises(SettingsError, match=r"cannot hold the development secret.*set SECRET_KEY"):
        development_secret(tmp_path / "var" / "secret_key")
