"""How the workers of one arbiter add up their numbers: a small file for each, written each second.

Whichever worker is asked reads the files of all. The counters of a worker that has ended
are folded into one more file, so that no counter ever goes backwards: not across recycling,
reloads or crashes, and not when different workers answer.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from flasknado.ops.metrics.model import (
    COUNTER,
    GAUGE,
    Family,
    added,
    from_json,
    labelled,
    single,
    to_json,
    with_worker,
)

log = logging.getLogger("flasknado.ops")

SHARED_MEMORY = Path("/dev/shm")
ENDED_FILE = "ended.json"
LOCK_FILE = "lock"
HELD_FILE = "held"
"""Locked as long as the arbiter or a worker of the folder lives, in whatever container."""

PREFIX = "flasknado-metrics-"
PATTERN = "worker-*.json"
STALE_S = 60.0
"""The gauges of a worker that has written nothing for so long are not shown."""

FOLDED_LIMIT = 10_000
"""So many ended workers are remembered as folded; their files are long gone."""

DIED = "died"
"""The reason of a worker that could not say one."""


class Snapshot(NamedTuple):
    """What one worker has counted since it started."""

    age: int
    """The number of the worker: its arbiter counts the workers it has started."""
    pid: int
    at: float
    """When it was written, in seconds of `time.time`."""
    ended: str | None
    """Why the worker has ended, if it has."""
    families: list[Family]


class Snapshots:
    """The files of all workers, in a folder of their arbiter's.

    Writing is done on the loop's thread of the worker `age` (in memory where the machine has
    such a folder); `total()` may be called on any thread.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._failed = False

    def write(self, age: int, families: Iterable[Family], ended: str | None = None) -> None:
        """Write the snapshot of a worker of this process."""
        data = [age, os.getpid(), time.time(), ended, to_json(families)]
        try:
            self._replace(f"worker-{age}.json", data)
            self._failed = False
        except OSError as error:
            if not self._failed:
                self._failed = True
                log.error("the metrics of this worker cannot be shared with the others: %s", error)

    def total(self) -> list[Family]:
        """Return the numbers of all workers, those that have ended among them."""
        self.fold()
        # The workers' files first: what is folded meanwhile is then in the other file.
        live = self._workers()
        ended = self._ended()
        families: dict[str, Family] = {}
        added(families, ended.families)
        folded = set(ended.folded)
        newest = max(folded, default=0)
        count = 0
        for snapshot in live:
            newest = max(newest, snapshot.age)
            if snapshot.age in folded:
                continue
            added(families, snapshot.families)
            if not _over(snapshot):
                count += 1
                if time.time() - snapshot.at < STALE_S:
                    with_worker(families, snapshot.families, str(snapshot.pid))
        workers = [
            single(GAUGE, "workers", "Worker processes that run.", count),
            single(COUNTER, "workers_started", "Worker processes started so far.", newest),
            labelled(COUNTER, "workers_ended", "Workers that have ended.", "reason", ended.reasons),
        ]
        return [*families.values(), *workers]

    def sums(self) -> dict[str, float]:
        """Return the gauges of the live workers, added up: those of one number each."""
        sums: dict[str, float] = {}
        for snapshot in self._workers():
            if _over(snapshot) or time.time() - snapshot.at > STALE_S:
                continue
            for family in snapshot.families:
                value = family.samples.get(())
                if family.kind == GAUGE and isinstance(value, int | float):
                    sums[family.name] = sums.get(family.name, 0.0) + value
        return sums

    def fold(self) -> None:
        """Move the counters of workers that have ended into one file, unless another does."""
        with self._lock() as held:
            over = [snapshot for snapshot in self._workers() if _over(snapshot)] if held else []
            if not over:
                return
            ended = self._ended()
            total: dict[str, Family] = {}
            added(total, ended.families)
            for snapshot in over:
                if snapshot.age not in ended.folded:
                    added(total, snapshot.families)
                    reason = snapshot.ended or DIED
                    ended.reasons[reason] = ended.reasons.get(reason, 0) + 1
                    ended.folded.append(snapshot.age)
            # First the sum that names them, then their files: whoever reads or dies between
            # the two counts none of them twice.
            data = [sorted(ended.folded)[-FOLDED_LIMIT:], ended.reasons, to_json(total.values())]
            self._replace(ENDED_FILE, data)
            for snapshot in over:
                (self.folder / f"worker-{snapshot.age}.json").unlink(missing_ok=True)

    def _workers(self) -> list[Snapshot]:
        snapshots = []
        for path in self.folder.glob(PATTERN):
            # One may be folded just now.
            with contextlib.suppress(FileNotFoundError):
                age, pid, at, ended, families = json.loads(path.read_text())
                snapshots.append(Snapshot(age, pid, at, ended, from_json(families)))
        return snapshots

    def _ended(self) -> _Ended:
        try:
            folded, reasons, families = json.loads((self.folder / ENDED_FILE).read_text())
        except FileNotFoundError:
            return _Ended([], {}, [])
        return _Ended(folded, reasons, from_json(families))

    def _replace(self, name: str, data: Any) -> None:
        new = self.folder / f"{name}.{os.getpid()}.new"
        new.write_text(json.dumps(data))
        new.replace(self.folder / name)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[bool]:
        """Hold the folder's lock if it is free; never waits."""
        fd = os.open(self.folder / LOCK_FILE, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            yield _try_lock(fd)
        finally:
            os.close(fd)


class _Ended(NamedTuple):
    """The workers that have ended, together."""

    folded: list[int]
    reasons: dict[str, float]
    families: list[Family]


def _over(snapshot: Snapshot) -> bool:
    """Whether the worker of a snapshot has ended."""
    if snapshot.ended is not None:
        return True
    try:
        os.kill(snapshot.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return True  # its process id is another user's by now
    return False


_shared: tuple[int, Snapshots] | None = None


def shared(folder: str | None, uid: int, gid: int) -> Snapshots:
    """Return the snapshots of this process's workers; made at the first call, before any fork.

    folder: where to make theirs; default: in memory, or where temporary files are. It
    belongs to the user that workers run as, and goes when this process ends.
    """
    global _shared
    if _shared is None:
        if folder is None and os.access(SHARED_MEMORY, os.W_OK):
            folder = str(SHARED_MEMORY)
        made = Path(tempfile.mkdtemp(prefix=f"new-{PREFIX}", dir=folder))
        _sweep(made.parent)
        # Forked workers share the lock.
        _try_lock(os.open(made / HELD_FILE, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        if uid != os.geteuid() or gid != os.getegid():
            os.chown(made, uid, gid)
        made = made.rename(made.with_name(made.name.removeprefix("new-")))
        _shared = (os.getpid(), Snapshots(made))
        atexit.register(_remove)
    return _shared[1]


def _sweep(parent: Path) -> None:
    """Remove the folders of arbiters that were killed, and could not do it themselves."""
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            fd = os.open(folder / HELD_FILE, os.O_RDWR | os.O_CLOEXEC)
            try:
                if _try_lock(fd):
                    shutil.rmtree(folder)
            finally:
                os.close(fd)


def _try_lock(fd: int) -> bool:
    """Lock a file if it is free; never waits."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove() -> None:
    # A worker inherits this; the folder is its arbiter's.
    if _shared is not None and _shared[0] == os.getpid():
        shutil.rmtree(_shared[1].folder, ignore_errors=True)
