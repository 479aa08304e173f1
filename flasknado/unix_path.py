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
    """Raise `ConfigurationError` if a Unix socket cannot be made here; does not block.

    A socket that nobody listens on any more is no obstacle: it is replaced.
    """
    where = f"unix:{path}"
    size = len(os.fsencode(path))
    if size > MAX_PATH_BYTES:
        raise ConfigurationError(
            f"{where} cannot be listened on: the path has {size} bytes, and a Unix socket's may "
            f"have {MAX_PATH_BYTES}: choose a shorter one"
        )
    folder = Path(path).parent
    if not folder.is_dir():
        raise ConfigurationError(
            f"{where} cannot be listened on: there is no folder {str(folder)!r}: make it first"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigurationError(
            f"{where} cannot be listened on: this user may not write to {str(folder)!r}"
        )
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigurationError(
            f"{where} cannot be listened on: there is a file that is no socket: "
            f"move it away, or choose another path"
        )
    if _answers(path):
        raise AddressTaken(
            f"{where} is taken by another program: stop that one, or choose another path"
        )


def _answers(path: str) -> bool:
    """Whether somebody listens on a Unix socket, or it cannot be told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        # EAGAIN: its backlog is full.
        return probe.connect_ex(path) not in (errno.ECONNREFUSED, errno.ENOENT)
