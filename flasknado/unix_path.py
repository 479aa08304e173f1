"""Paths of Unix sockets, checked before they are listened on."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

from flasknado.errors import AddressTaken, ConfigurationError

MAX_PATH_BYTES = 107
"""What `sockaddr_un` holds on Linux, with the zero byte at its end left out."""


def check_unix_path(path: str) -> None:
    """Raise `ConfigurationError` if a Unix socket cannot be created here; does not block.

    A stale socket, on which no process listens, is replaced.
    """
    where = f"unix:{path}"
    size = len(os.fsencode(path))
    if size > MAX_PATH_BYTES:
        raise ConfigurationError(
            f"cannot listen on {where}: the path has {size} bytes, and the limit for Unix "
            f"sockets is {MAX_PATH_BYTES}: choose a shorter path"
        )
    folder = Path(path).parent
    if not folder.is_dir():
        raise ConfigurationError(
            f"cannot listen on {where}: the folder {str(folder)!r} does not exist: create it"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigurationError(
            f"cannot listen on {where}: the folder {str(folder)!r} is not writable for this user"
        )
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigurationError(
            f"cannot listen on {where}: the file exists and is not a socket: remove it, or choose "
            f"another path"
        )
    if _answers(path):
        raise AddressTaken(f"{where} is in use by another program: stop it, or choose another path")


def _answers(path: str) -> bool:
    """Whether a process listens on a Unix socket, or might."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        # EAGAIN: its backlog is full.
        return probe.connect_ex(path) not in (errno.ECONNREFUSED, errno.ENOENT)
