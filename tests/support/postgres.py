"""A PostgreSQL server of the tests' own, on a Unix socket in a folder of its own."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.programs import missing, need

START_DEADLINE_S = 60
DEBIAN = Path("/usr/lib/postgresql")
USER = "tests"
FAST = (
    "fsync=off",
    "full_page_writes=off",
    "listen_addresses=''",
    "max_connections=50",
    "shared_buffers=16MB",
)


def programs() -> Path:
    """Return the folder of PostgreSQL's programs, or skip the test."""
    # Under CI, too: it is an extra of the package, and `make test-lowest` does without.
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    versions = [p for p in DEBIAN.glob("*/bin") if (p / "postgres").exists()]
    if versions:
        return max(versions, key=lambda path: float(path.parent.name))
    return Path(need("postgres")).resolve().parent


def unprivileged() -> dict[str, Any]:
    """Return how `subprocess` starts what does not run as root."""
    if os.geteuid() != 0:
        return {}
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        missing("PostgreSQL does not run as root, and there is no user `nobody`")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _name_of(url: str) -> str:
    return url.partition("@/")[2].partition("?")[0] or url


class PostgresServer:
    """A running server; `url()` gives each caller a fresh database."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._programs = programs()
        self._numbers = itertools.count(1)
        self._user = unprivileged()
        if self._user:
            os.chown(folder, self._user["user"], self._user["group"])
        data = str(folder / "data")
        self._run("initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync")
        options = "".join(f"{option}\n" for option in FAST)
        with (folder / "data" / "postgresql.conf").open("a") as file:
            file.write(f"{options}unix_socket_directories = '{folder}'\n")

    def start(self) -> None:
        log = str(self._folder / "log")
        self._run("pg_ctl", "-D", str(self._data), "-w", "-l", log, "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server; `immediate` is as a crash, `fast` ends the sessions in order."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", mode, "stop")

    def copy_for_a_standby(self) -> None:
        """Copy the server as it is now, for a standby that gets nothing of what follows."""
        standby = str(self._folder / "standby")
        host = str(self._folder)
        self._run("pg_basebackup", "-h", host, "-U", USER, "-D", standby, "-R", "-c", "fast")

    def fail_over(self) -> None:
        """Stop the server as a crash does, and promote the standby in its place."""
        self.stop()
        self._data = self._folder / "standby"
        self.start()
        self._run("pg_ctl", "-D", str(self._data), "-w", "promote")

    def url(self, like: str = "template1") -> str:
        """Return the URL of a new database: empty, or a copy of another, by its URL."""
        name = f"test{next(self._numbers)}"
        self._administer(f"CREATE DATABASE {name} TEMPLATE {_name_of(like)}")
        return self._url(name)

    def drop(self, url: str) -> None:
        """Delete a database, whoever is connected."""
        self._administer(f"DROP DATABASE {_name_of(url)} WITH (FORCE)")

    @property
    def socket_path(self) -> Path:
        """The Unix socket that it listens on."""
        return self._folder / ".s.PGSQL.5432"

    def _administer(self, statement: str) -> None:
        engine = sa.create_engine(self._url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()

    def _url(self, database: str) -> str:
        return f"postgresql+psycopg://{USER}@/{database}?host={self._folder}"

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments],
            cwd=self._folder,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=START_DEADLINE_S,
            check=False,
            **self._user,
        )
        assert done.returncode == 0, done.stderr.decode()


@contextlib.contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Run a server until the block ends; skips the test where PostgreSQL is missing."""
    programs()
    # Not pytest's folder, which only its owner may enter; and a socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="flasknado-pg-"))
    try:
        server = PostgresServer(folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
