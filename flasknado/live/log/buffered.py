"""Buffered events: collected in the process, appended together every 50 ms.

For what comes in a stream, such as the tokens of a language model: one commit each would be
too dear, and a signal could not be read again. An event waits here until the next append,
and is lost only if its process is killed before that. Blocking; no Tornado.

The events of a thread keep their order with what else the thread publishes: a transaction
takes those of its thread along that are not appended yet. If it is rolled back they go back
to where they were.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from flasknado.live.errors import BufferFull
from flasknado.live.log.tables import Draft
from flasknado.threads import runs_a_loop

log = logging.getLogger("flasknado.live")

INTERVAL_S = 0.05
MAX_WAITING_BYTES = 8 * 1024 * 1024
"""How much may wait in a process; above it, publishing waits."""
FULL_TIMEOUT_S = 5.0
"""How long publishing waits for room."""
APPEND_TIMEOUT_S = 10.0
"""How long a commit waits for an append under way that has events of its thread."""
FLUSH_TIMEOUT_S = 2.0
RETRY_S = 0.5
IDLE_S = 5.0
OVERHEAD_BYTES = 200
"""What an event takes beside its data, about."""

Take = Callable[[], list[Draft]]


class _Entry(NamedTuple):
    thread: int
    draft: Draft
    size_bytes: int


class Buffer:
    """What one process has published and not appended yet, for one log. For any thread.

    `append(take)` begins a transaction that nobody holds up any longer, appends what `take()`
    returns in it, and commits.
    """

    def __init__(self, append: Callable[[Take], object]) -> None:
        self._append = append
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._entries: list[_Entry] = []
        self._underway: list[_Entry] = []
        self._size_bytes = 0
        self._thread: threading.Thread | None = None
        self._hurried = False

    def add(self, draft: Draft) -> None:
        """Take an event in; waits for room if there is none. Raises `BufferFull`."""
        if self._pid != os.getpid():  # a fork has no threads, and what waits is its parent's
            self._begin()
        entry = _Entry(threading.get_ident(), draft, len(draft.data) + OVERHEAD_BYTES)
        with self._changed:
            if not self._has_room():
                patience_s = 0.0 if runs_a_loop() else FULL_TIMEOUT_S
                if not self._changed.wait_for(self._has_room, patience_s):
                    raise BufferFull(
                        f"{self._size_bytes} bytes of buffered events are waiting, and the limit "
                        f"is {MAX_WAITING_BYTES}: the database is too slow"
                    )
            self._entries.append(entry)
            self._size_bytes += entry.size_bytes
            self._run_on()

    def take_own(self) -> list[Draft]:
        """Take out what the calling thread has added, for a transaction of its own."""
        if self._thread is None and not self._entries:
            return []  # nothing has been added lately; every commit asks
        own = threading.get_ident()
        with self._changed:
            self._changed.wait_for(
                lambda: all(entry.thread != own for entry in self._underway), APPEND_TIMEOUT_S
            )
            taken = [entry for entry in self._entries if entry.thread == own]
            self._entries = [entry for entry in self._entries if entry.thread != own]
            self._size_bytes -= sum(entry.size_bytes for entry in taken)
            return [entry.draft for entry in taken]

    def put_back(self, drafts: Sequence[Draft]) -> None:
        """Take events in again that the calling thread took out, before what it added since."""
        own = threading.get_ident()
        entries = [_Entry(own, d, len(d.data) + OVERHEAD_BYTES) for d in drafts]
        with self._changed:
            self._entries[:0] = entries
            self._size_bytes += sum(entry.size_bytes for entry in entries)
            self._run_on()

    def _run_on(self) -> None:
        """Have the thread run and look; with the lock held."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="flasknado-live-buffer")
            self._thread.daemon = True
            self._thread.start()
            atexit.unregister(self.flush)
            atexit.register(self.flush)
        self._changed.notify_all()

    def flush(self, timeout_s: float = FLUSH_TIMEOUT_S) -> bool:
        """Append what waits, now; return whether nothing is left in time."""
        if self._pid != os.getpid():
            return True
        with self._changed:
            self._hurried = True
            self._changed.notify_all()
            return self._changed.wait_for(self._is_empty, timeout_s)

    def close(self) -> None:
        """Append what waits and end the thread; the next event makes another."""
        self.flush()
        with self._changed:
            thread = self._thread
        if thread is not None and self._pid == os.getpid():
            thread.join(FLUSH_TIMEOUT_S)

    def _has_room(self) -> bool:
        return self._size_bytes < MAX_WAITING_BYTES

    def _is_empty(self) -> bool:
        return not self._entries and not self._underway

    def _run(self) -> None:
        failed = False
        while self._wait():
            try:
                self._append(self._take)
            except Exception as error:
                self._failed()
                if not failed:
                    log.error(
                        "buffered live events cannot be appended yet: %s",
                        error,
                        exc_info=None if isinstance(error, sa.exc.SQLAlchemyError) else error,
                    )
                failed = True
                time.sleep(RETRY_S)
            else:
                failed = False
                with self._changed:
                    self._underway = []
                    self._changed.notify_all()

    def _wait(self) -> bool:
        """Wait until there is something to append and the time has come; false is the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._entries or self._hurried, IDLE_S)
            if not self._entries:
                self._hurried = False
                self._thread = None
                return False
            self._changed.wait_for(lambda: self._hurried, INTERVAL_S)
            return True

    def _take(self) -> list[Draft]:
        with self._changed:
            self._underway, self._entries = self._entries, []
            self._size_bytes = 0
            self._changed.notify_all()
            return [entry.draft for entry in self._underway]

    def _failed(self) -> None:
        with self._changed:
            self._entries[:0] = self._underway
            self._size_bytes += sum(entry.size_bytes for entry in self._underway)
            self._underway = []
            self._changed.notify_all()
