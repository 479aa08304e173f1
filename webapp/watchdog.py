"""The transaction watchdog: it logs who holds a database transaction for too long.

The transaction rule (`database.py`) says that nothing slow happens in a transaction. Who breaks
it, a view that calls another service or a stream that reads as it goes, keeps a connection from
the others, and on SQLite the write lock. Each such transaction is logged once, while it is open,
with the view, the thread and the last statement. One thread looks at all of them once a second;
it runs while there is something to look at.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import MutableMapping
from typing import Any

from flask import Flask, has_request_context, request
from sqlalchemy import Connection, Engine, event

LOOK_EVERY_S = 1.0
STATEMENT_CHARACTERS = 300
_IDLE_LOOKS = 10

log = logging.getLogger("webapp.watchdog")


class Transaction:
    """An open transaction: whose it is, since when, and its last statement."""

    __slots__ = ("began", "statement", "thread", "told", "where")

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.statement = ""
        self.thread = threading.current_thread().name
        self.where = f"{request.method} {request.endpoint}"
        self.told = False


class Watchdog:
    """Watches the transactions of one engine. `warn_after_s`: after how long it says so."""

    def __init__(self, engine: Engine, warn_after_s: float) -> None:
        self.warn_after_s = warn_after_s
        # By connection, so that one that is lost without a word is forgotten with it.
        self._open: MutableMapping[Connection, Transaction] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        event.listen(engine, "begin", self._begin)
        event.listen(engine, "before_cursor_execute", self._execute)
        for end in ("commit", "rollback"):
            event.listen(engine, end, self._end)

    def look(self) -> bool:
        """Log what is open for too long, and return whether anything is open."""
        with self._lock:
            transactions = list(self._open.values())
        now = time.monotonic()
        for transaction in transactions:
            held_s = now - transaction.began
            if held_s >= self.warn_after_s and not transaction.told:
                transaction.told = True
                log.warning(
                    "a transaction is open for %.1f s: %s on %s, last statement: %s",
                    held_s,
                    transaction.where,
                    transaction.thread,
                    transaction.statement or "none",
                )
        return bool(transactions)

    def _begin(self, connection: Connection) -> None:
        if not has_request_context():
            return  # a command, or a thread whose connection is its own
        with self._lock:
            self._open[connection] = Transaction()
        _patrol.wake(self)

    def _execute(self, connection: Connection, _cursor: Any, statement: str, *_others: Any) -> None:
        transaction = self._open.get(connection)
        if transaction is not None:
            transaction.statement = statement[:STATEMENT_CHARACTERS]

    def _end(self, connection: Any) -> None:
        with self._lock:
            self._open.pop(connection, None)


class _Patrol:
    """The thread that looks, for every watchdog of the process; it ends when nothing is open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._watchdogs: weakref.WeakSet[Watchdog] = weakref.WeakSet()

    def wake(self, watchdog: Watchdog) -> None:
        """Have the watchdog's transactions looked at; cheap if that is so already."""
        thread = self._thread
        if thread is not None and thread.is_alive() and watchdog in self._watchdogs:
            return
        with self._lock:
            self._watchdogs.add(watchdog)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._run, name="webapp-watchdog", daemon=True
                )
                self._thread.start()

    def _run(self) -> None:
        idle = 0
        while idle < _IDLE_LOOKS:
            time.sleep(LOOK_EVERY_S)
            busy = [watchdog.look() for watchdog in list(self._watchdogs)]
            idle = 0 if any(busy) else idle + 1
            if idle == _IDLE_LOOKS:
                with self._lock:
                    # What began since then starts another one.
                    self._thread = None


_patrol = _Patrol()


def register(app: Flask, engine: Engine) -> None:
    """Watch the application's engine, if `TRANSACTION_WARNING_S` is not 0."""
    warn_after_s: float = app.config["TRANSACTION_WARNING_S"]
    if warn_after_s:
        app.extensions["webapp.watchdog"] = Watchdog(engine, warn_after_s)
