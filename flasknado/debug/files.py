"""Which files are watched, and what shows that one has changed. Any thread; no event loop."""

from __future__ import annotations

import importlib.util
import os
import struct
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

Stamp = tuple[int, int, int]
"""Modification time in ns, size and inode: what an editor changes when it saves."""

MAX_FOLDERS: Final = 4000
MAX_FILES: Final = 50_000
"""So many folders and files are watched; the rest of a larger tree is not."""

STATIC_SUFFIXES: Final = frozenset(
    (
        ".cjs",
        ".css",
        ".htm",
        ".html",
        ".js",
        ".json",
        ".mjs",
        ".svg",
        ".txt",
        ".webmanifest",
        ".xml",
    )
)
"""What authors write; pictures in a static folder are often uploads."""

_YOUNG_NS: Final = 2_000_000_000
_SKIPPED: Final = frozenset(("__pycache__", "node_modules", "site-packages", "dist-packages"))


def stamp_of(path: str) -> Stamp | None:
    """Return what shows that a file has changed; `None` where there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 (thousands of times)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def is_as_imported(path: str) -> bool:
    """Return whether a source file is still what its bytecode was made of (PEP 3147, 552).

    False also where no bytecode is written.
    """
    try:
        found = os.stat(path)  # noqa: PTH116
        with open(importlib.util.cache_from_source(path), "rb") as file:  # noqa: PTH123
            flags, seconds, size_bytes = struct.unpack("<4xIII", file.read(16))
    except (NotImplementedError, OSError, struct.error):
        return False
    as_kept = (int(found.st_mtime) & 0xFFFFFFFF, found.st_size & 0xFFFFFFFF)
    return flags == 0 and (seconds, size_bytes) == as_kept


class Tree:
    """The files below some folders that are wanted, by name.

    A folder is listed again only when its own time has changed. Hidden folders, virtual
    environments and packages that were installed are passed over.
    """

    def __init__(self, roots: Iterable[str], wanted: Callable[[str], bool]) -> None:
        self.roots = sorted(set(roots))
        self.cut_off = False
        """Whether there was more than is watched."""
        self._wanted = wanted
        self._listed: dict[str, tuple[int, list[str], list[str]]] = {}

    def look(self) -> dict[str, Stamp]:
        """Return the files that are there now, each with its stamp."""
        files: dict[str, Stamp] = {}
        listed: dict[str, tuple[int, list[str], list[str]]] = {}
        seen: set[tuple[int, int]] = set()
        waiting = list(self.roots)
        while waiting:
            folder = waiting.pop()
            try:
                found = os.stat(folder)  # noqa: PTH116
            except OSError:
                continue
            if (found.st_dev, found.st_ino) in seen:
                continue
            if len(seen) >= MAX_FOLDERS or len(files) >= MAX_FILES:
                self.cut_off = True
                break
            seen.add((found.st_dev, found.st_ino))
            known = self._listed.get(folder)
            if known is None or known[0] != found.st_mtime_ns:
                # What is made within one tick of the clock leaves the folder's time as it is.
                young = time.time_ns() - found.st_mtime_ns < _YOUNG_NS
                known = (0 if young else found.st_mtime_ns, *self._list(folder))
            listed[folder] = known
            waiting += known[2]
            for path in known[1]:
                stamp = stamp_of(path)
                if stamp is not None:
                    files[path] = stamp
        self._listed = listed
        return files

    def _list(self, folder: str) -> tuple[list[str], list[str]]:
        files: list[str] = []
        folders: list[str] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir():
                        if entry.name not in _SKIPPED and not _is_environment(entry.path):
                            folders.append(entry.path)
                    elif self._wanted(entry.name):
                        files.append(entry.path)
        except OSError:
            return [], []  # it has just gone, or may not be read
        return files, folders


def is_source(name: str) -> bool:
    """Return whether a file of this name is Python code."""
    return name.endswith(".py")


def is_asset(name: str) -> bool:
    """Return whether a static file of this name is watched."""
    return Path(name).suffix.lower() in STATIC_SUFFIXES


def is_any(name: str) -> bool:
    """Return that a file is watched, as all templates are; but not what editors leave behind."""
    return not name.endswith(("~", ".swp", ".swx", ".tmp"))


def source_roots() -> list[str]:
    """Return the folders that modules of the application are imported from."""
    roots: list[str] = []
    for entry in sys.path:
        folder = os.path.abspath(entry)  # noqa: PTH100 (as `__file__` is made)
        if not is_installed(folder) and os.path.isdir(folder):  # noqa: PTH112
            roots.append(folder)
    return roots


def loaded_sources() -> set[str]:
    """Return the files of the modules that have been imported, but for installed packages."""
    files: set[str] = set()
    for module in list(sys.modules.values()):
        path = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(path, str) and path.endswith(".py") and not is_installed(path):
            files.add(path)
    return files


def is_installed(path: str) -> bool:
    """Return whether a path is of Python or of a package that was installed."""
    return path.startswith(_INSTALLED) or not _SKIPPED.isdisjoint(Path(path).parts)


def _is_environment(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, "pyvenv.cfg"))  # noqa: PTH113, PTH118


_INSTALLED: Final = tuple(
    {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)
