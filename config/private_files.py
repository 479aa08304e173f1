"""Files that only their owner may read: the secret key, the database, `var/` around them."""

from __future__ import annotations

import contextlib
import os
import stat
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

    One that is there is not opened: closing it would release the locks that SQLite's connections
    in this process have on it (POSIX), and another process could then take its log (WAL) away.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))


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
