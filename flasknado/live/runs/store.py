"""Where runs are noted: in the log's database, or with a log in memory. Blocking; any thread."""

from __future__ import annotations

import json
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Final

from flasknado.errors import ConfigurationError
from flasknado.live.errors import LiveError
from flasknado.live.log import run_table, tables
from flasknado.live.log.base import Log
from flasknado.live.log.database import DatabaseLog
from flasknado.live.log.memory import MemoryLog
from flasknado.live.log.run_table import RUNNING, Run
from flasknado.live.log.tables import Draft, DraftWith

RUNS: Final = "!runs"
"""The log's own channel of runs that are to be stopped; no subscriber can name it."""
STARTED: Final = "run.started"
RESULT: Final = "run.result"
FINISHED: Final = "run.finished"
FAILED: Final = "run.failed"
CANCELLED: Final = "run.cancelled"
INTERRUPTED: Final = "run.interrupted"

LOST_LIMIT: Final = 100
"""How many lost runs are told of at a time."""


def state_of_end(name: str) -> str:
    """Return the state of a run that ended with an event of this name."""
    return name.removeprefix("run.")


def event_data(run: str, **said: Any) -> str:
    """Return the data of an event of a run, as JSON."""
    return json.dumps({"run": run, **said}, separators=(",", ":"))


class RunStore(ABC):
    """The runs of an application, in all its processes."""

    @abstractmethod
    def begin(self, run: str, channel: str, user: str | None, worker: str) -> Run:
        """Note a run and publish that it has started, both at once.

        Raises `LiveError` if the calling thread's session keeps others from writing.
        """

    @abstractmethod
    def publish_end(self, run: str, drafts: Sequence[Draft]) -> None:
        """Publish the last events of a run, behind its output, and note its end with the last."""

    @abstractmethod
    def beat(self, worker: str) -> dict[str, bool]:
        """Note that a worker lives; return its runs, and whether each is to be stopped."""

    @abstractmethod
    def stop(self, run: str) -> bool:
        """Have a run stopped by the process that runs it; return whether it runs."""

    @abstractmethod
    def get(self, run: str) -> Run | None:
        """Return a run, if it is known."""

    @abstractmethod
    def newest(self, channel: str, limit: int) -> list[Run]:
        """Return the newest runs of a channel, the newest first."""

    @abstractmethod
    def tell_lost(self, lost_after_s: float) -> list[str]:
        """Publish the end of runs whose process has said nothing for so long; return which."""

    @abstractmethod
    def prune(self, kept_s: float) -> None:
        """Forget the runs that ended so long ago."""


def store_of(log: Log) -> RunStore:
    """Return the store that belongs to a log."""
    if isinstance(log, MemoryLog):
        return MemoryRuns(log)
    assert isinstance(log, DatabaseLog)
    return DatabaseRuns(log)


class DatabaseRuns(RunStore):
    """Runs in the database of the log, so that an event and the row are written together."""

    def __init__(self, log: DatabaseLog) -> None:
        self._log = log

    def begin(self, run: str, channel: str, user: str | None, worker: str) -> Run:
        log = self._log
        if tables.in_memory(log.engine().url):
            raise ConfigurationError(
                "runs need a database that several connections can see: give the application a "
                "database file, not an in-memory SQLite database"
            )
        if log.writes_elsewhere():
            raise LiveError(
                "the session has written something that is not committed, and SQLite has one "
                "writer: commit before live.run()"
            )
        with log.appending() as (connection, drafts):
            head = tables.read_head(connection)
            if head is None:
                tables.create_log(connection)
                head = tables.read_head(connection)
            cursor = str(head)
            run_table.insert(connection, run, channel, user, worker, cursor)
            drafts.append(Draft(channel, STARTED, event_data(run)))
        return Run(run, channel, user, RUNNING, cursor, time.time())

    def publish_end(self, run: str, drafts: Sequence[Draft]) -> None:
        *before, last = drafts
        for draft in before:
            self._log.publish_buffered(draft)
        ending = DraftWith(*last)
        # With the row, so that one end is told, and by one process.
        ending.goes_with = run_table.end(run, state_of_end(last.name))
        self._log.publish_buffered(ending)

    def beat(self, worker: str) -> dict[str, bool]:
        with self._log.appending() as (connection, _):
            return run_table.beat(connection, worker)

    def stop(self, run: str) -> bool:
        with self._log.appending() as (connection, drafts):
            if not run_table.stop(connection, run):
                return False
            drafts.append(Draft(RUNS, "stop", event_data(run), kept=False))
        return True

    def get(self, run: str) -> Run | None:
        with self._log.reading() as connection:
            return run_table.get(connection, run)

    def newest(self, channel: str, limit: int) -> list[Run]:
        with self._log.reading() as connection:
            return run_table.newest(connection, channel, limit)

    def tell_lost(self, lost_after_s: float) -> list[str]:
        log = self._log
        with log.reading() as connection:
            lost = run_table.unseen(connection, lost_after_s, LOST_LIMIT)
        told = []
        for row in lost:
            with log.appending() as (connection, drafts):
                if run_table.end(row.id, state_of_end(INTERRUPTED))(connection):
                    drafts.append(interrupted(row.channel, row.id))
                    told.append(row.id)
        return told

    def prune(self, kept_s: float) -> None:
        with self._log.reading() as connection:
            if not run_table.expired(connection, kept_s):
                return
        with self._log.appending() as (connection, _):
            run_table.prune(connection, kept_s)


def interrupted(channel: str, run: str) -> Draft:
    """Return the event that says that the process of a run has stopped."""
    message = "the server that ran it has stopped"
    return Draft(channel, INTERRUPTED, event_data(run, message=message))


class MemoryRuns(RunStore):
    """Runs beside a log in memory, which end with their process as that does."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._rows: dict[str, Run] = {}
        self._ended_at: dict[str, float] = {}

    def begin(self, run: str, channel: str, user: str | None, worker: str) -> Run:  # noqa: ARG002
        row = Run(run, channel, user, RUNNING, str(self._log.cursor()), time.time())
        with self._lock:
            self._rows[run] = row
        self._log.append([Draft(channel, STARTED, event_data(run))])
        return row

    def publish_end(self, run: str, drafts: Sequence[Draft]) -> None:
        with self._lock:
            self._rows[run] = self._rows[run]._replace(state=state_of_end(drafts[-1].name))
            self._ended_at[run] = time.monotonic()
        self._log.append(drafts)

    def beat(self, worker: str) -> dict[str, bool]:  # noqa: ARG002
        with self._lock:
            return {run: False for run, row in self._rows.items() if row.state == RUNNING}

    def stop(self, run: str) -> bool:
        row = self.get(run)
        return row is not None and row.state == RUNNING

    def get(self, run: str) -> Run | None:
        with self._lock:
            return self._rows.get(run)

    def newest(self, channel: str, limit: int) -> list[Run]:
        with self._lock:
            rows = [row for row in self._rows.values() if row.channel == channel]
        return rows[::-1][:limit]

    def tell_lost(self, lost_after_s: float) -> list[str]:  # noqa: ARG002
        return []

    def prune(self, kept_s: float) -> None:
        before = time.monotonic() - kept_s
        with self._lock:
            for run in [run for run, at in self._ended_at.items() if at < before]:
                del self._rows[run]
                del self._ended_at[run]
