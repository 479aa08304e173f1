"""A PostgreSQL server of its own in a folder, and a command beside it, as one process group.

python -m loadtests.apps.live_postgres FOLDER COMMAND ...

It listens on a socket in the folder alone, and lets everybody of this machine in.
`python -m loadtests.apps.live_postgres --version` fails where PostgreSQL is not installed.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

DEBIAN = Path("/usr/lib/postgresql")
USER = "bench"
READY_TIMEOUT_S = 20.0


def program(name: str) -> str | None:
    """Return a program of the newest PostgreSQL here, or `None`."""
    found = [path for path in DEBIAN.glob("*/bin") if (path / name).exists()]
    if found:
        return str(max(found, key=lambda path: float(path.parent.name)) / name)
    return shutil.which(name)


def start(folder: Path) -> subprocess.Popen[bytes]:
    """Make a cluster in the folder and start it; returns when it answers."""
    initdb, postgres, ready = map(program, ("initdb", "postgres", "pg_isready"))
    if initdb is None or postgres is None or ready is None:
        raise SystemExit("PostgreSQL is not installed: apt-get install postgresql")
    folder.mkdir()
    # It refuses to run as root.
    other: dict[str, Any] = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        other = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    data = str(folder / "data")
    made = [initdb, "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-locale"]
    subprocess.run(made, cwd=folder, check=True, stdout=subprocess.DEVNULL, **other)
    server = subprocess.Popen(
        [postgres, "-D", data, "-k", str(folder), "-c", "listen_addresses="], cwd=folder, **other
    )
    ends = time.monotonic() + READY_TIMEOUT_S
    while subprocess.run([ready, "-q", "-h", str(folder)], check=False).returncode:
        if server.poll() is not None or time.monotonic() > ends:
            raise SystemExit("PostgreSQL did not start")
        time.sleep(0.05)
    return server


def main(folder: str, command: list[str]) -> None:
    """Start PostgreSQL and become the command."""
    start(Path(folder))
    os.execvp(command[0], command)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--version"]:
        os.execvp(program("postgres") or "postgres", ["postgres", "--version"])
    main(sys.argv[1], sys.argv[2:])
