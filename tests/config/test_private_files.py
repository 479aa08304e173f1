"""Files and directories are taken from everybody but their owner."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from config.private_files import keep_private, make_private_directory, make_private_file


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def open_mask() -> object:
    """Let every mode through, as a server with umask 0 does."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.parametrize(("mode", "kept"), [(0o644, 0o600), (0o666, 0o600), (0o400, 0o400)])
def test_file_that_exists_is_taken_from_others(tmp_path: Path, mode: int, kept: int) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    path.chmod(mode)

    assert keep_private(path)
    assert mode_of(path) == kept


def test_directory_that_exists_is_taken_from_others(tmp_path: Path) -> None:
    path = tmp_path / "var"
    path.mkdir(0o755)

    assert keep_private(path)
    assert mode_of(path) == 0o700


def test_nothing_is_private(tmp_path: Path) -> None:
    assert keep_private(tmp_path / "nothing")


def test_file_of_another_owner_stays_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    path.chmod(0o644)

    def refuse(_path: Path, _mode: int) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "chmod", refuse)

    assert not keep_private(path)
    assert mode_of(path) == 0o644


def test_directories_that_are_made_are_private_and_those_above_stay(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    make_private_directory(tmp_path / "a" / "b")

    assert mode_of(tmp_path / "a") == mode_of(tmp_path / "a" / "b") == 0o700
    assert mode_of(tmp_path) == 0o755


def test_file_that_is_made_is_private_and_empty_and_one_that_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    make_private_file(path)
    assert (mode_of(path), path.read_text()) == (0o600, "")
    path.write_text("x")
    make_private_file(path)
    assert path.read_text() == "x"


def test_file_that_is_there_is_not_opened_so_that_sqlites_locks_stay(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    make_private_file(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("BEGIN EXCLUSIVE")

        # Closing any descriptor of a file gives up this process's locks on it (fcntl(2)).
        make_private_file(path)

        code = "import sqlite3, sys; sqlite3.connect(sys.argv[1], 0).execute('SELECT * FROM t')"
        other = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=30
        )
    assert "database is locked" in other.stderr
    assert not [entry for entry in tmp_path.iterdir() if not entry.name.startswith("x.db")]
