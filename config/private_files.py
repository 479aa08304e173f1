"""Files that only their owner may read: the secret key, the database, `var/` around them."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

FILE_MODE, DIRECTORY_MODE = 0o600, 0o700
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_private_directory(path: Path) -> None:
    """Make a directory, with what is missing above it; raises `OSError`."""
    for missing in reversed([path, *path.parents]):
        if not missing.exists():
            missing.mkdir(DIRECTORY_MODE, exist_ok=True)


def make_private_file(path: Path) -> None:
    """Make an empty file if there is none; raises `OSError`.

    A file that is there is never opened: it may be a database, and closing any descriptor of a
    file gives up all locks that the process has on it (fcntl(2)). Without them another process
    takes a SQLite database for unused, and removes the log that holds the last commits. For the
    same reason a new file gets its name when it has been closed.
    """
    if path.exists():
        return
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    os.close(descriptor)
    try:
        with suppress(FileExistsError):  # somebody was faster
            os.link(name, path)
    finally:
        Path(name).unlink()


def keep_private(path: Path) -> bool:
    """Take a file or directory from everybody but its owner, and return whether it is so now.

    What another user owns, or what is on a disk that cannot be written, stays as it is. A path
    where nothing is counts as private.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & _OTHERS:
            path.chmod(mode & ~_OTHERS)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
