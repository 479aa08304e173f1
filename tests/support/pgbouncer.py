"""A PgBouncer of the tests' own, which lends PostgreSQL's sessions for a transaction each."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tests.support.postgres import USER, PostgresServer, unprivileged
from tests.support.programs import need

START_DEADLINE_S = 20


class Pgbouncer:
    """Runs on a Unix socket; `url()` is where it has a database of the server."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def url(self, direct: str) -> str:
        url = sa.make_url(direct).update_query_dict({"host": str(self._folder)})
        return url.render_as_string(hide_password=False)


@contextlib.contextmanager
def pgbouncer(server: PostgresServer, pool_mode: str = "transaction") -> Iterator[Pgbouncer]:
    """Run one in front of a server until the block ends; skips the test where it is missing."""
    program = need("pgbouncer")
    folder = Path(tempfile.mkdtemp(prefix="flasknado-pgb-"))
    user: dict[str, Any] = unprivileged()
    try:
        (folder / "users").write_text(f'"{USER}" ""\n')
        (folder / "ini").write_text(
            f"[databases]\n* = host={server.socket_path.parent}\n"
            f"[pgbouncer]\npool_mode = {pool_mode}\nauth_type = trust\n"
            f"auth_file = {folder}/users\nlisten_addr =\nlisten_port = 5432\n"
            f"unix_socket_dir = {folder}\nlogfile = {folder}/log\n"
            "default_pool_size = 12\nmax_client_conn = 100\n"
        )
        for path in (folder, *folder.iterdir()):
            if user:
                os.chown(path, user["user"], user["group"])
        process = subprocess.Popen(
            [program, str(folder / "ini")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **user,
        )
        try:
            deadline = time.monotonic() + START_DEADLINE_S
            while not (folder / ".s.PGSQL.5432").exists():
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, "PgBouncer did not start"
                time.sleep(0.01)
            yield Pgbouncer(folder)
        finally:
            process.terminate()
            process.wait(START_DEADLINE_S)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
