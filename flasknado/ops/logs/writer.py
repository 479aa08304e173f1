"""Lines to a log, written by a thread of their own, so that the event loop never waits.

The loop notes what is to be logged, makes lines of some at once (which is several times
faster than one by one: the code is in the processor's cache), gathers them for a tenth of
a second and hands them over as one text. What the thread has not written yet is bounded:
beyond the bound lines are dropped and counted, as a disk that hangs or a pipe that nobody
reads must not take the server along.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import select
import stat
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from flasknado.threads import LastingThread

log = logging.getLogger("flasknado.ops")

GATHER_S = 0.1
"""How long lines are gathered before they are handed to the thread."""

NOTES_LIMIT = 64
"""So many notes are made lines of at once; it takes the loop less than a millisecond."""

BATCH_LINES = 1000
"""So many gathered lines are handed over at once."""

LIMIT_CHARACTERS = 16 * 1024 * 1024
"""How much may wait for the thread; lines beyond it are dropped and counted."""

PIPE_ATOMIC_BYTES = 4096
"""What one write puts into a pipe undivided, whoever else writes to it (PIPE_BUF, pipe(7))."""

STUCK_WAIT_S = 1.0


Note = TypeVar("Note")


class LogWriter(Generic[Note]):
    """Writes a line for each note to the handlers of a logger; `line_of` makes it, on the loop.

    `note`, `write`, `close` and the numbers belong to the loop's thread. gunicorn's own
    handlers (a file, standard output) are written to in large pieces; others get one record
    a line.
    """

    def __init__(
        self,
        logger: logging.Logger,
        loop: asyncio.AbstractEventLoop,
        line_of: Callable[[Note], str],
        limit_characters: int = LIMIT_CHARACTERS,
    ) -> None:
        self._logger = logger
        self._loop = loop
        self._limit = limit_characters
        self._line_of = line_of
        self._notes: list[Note] = []
        self._lines: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self._batches: queue.SimpleQueue[tuple[int, str] | None] = queue.SimpleQueue()
        self._dropped_lines = 0
        self._handed = 0
        self._taken = 0
        self._lost_lines = 0
        self._dropping = False
        self._failing = False
        self._closed = False
        self._thread = LastingThread("flasknado-access-log", self._run)

    def note(self, note: Note) -> None:
        """Have the line of a note written soon; never waits."""
        notes = self._notes
        notes.append(note)
        if self._timer is None:
            self._timer = self._loop.call_later(GATHER_S, self._hand_over)
        if len(notes) >= NOTES_LIMIT:
            self._make_lines()

    def write(self, line: str) -> None:
        """Have a line written soon, without its line end; never waits."""
        self._lines.append(line)
        if self._timer is None:
            self._timer = self._loop.call_later(GATHER_S, self._hand_over)

    @property
    def lines_dropped(self) -> int:
        """How many lines were lost: beyond the bound, or the log could not be written to."""
        return self._dropped_lines + self._lost_lines

    @property
    def waiting(self) -> int:
        """How many characters wait for the thread."""
        return self._handed - self._taken

    def close(self, timeout_s: float) -> None:
        """Write what waits, for at most `timeout_s`; what is left is lost."""
        self._hand_over()
        self._closed = True
        self._batches.put(None)
        self._thread.join(timeout_s)

    def _make_lines(self) -> None:
        notes, self._notes = self._notes, []
        line_of = self._line_of
        self._lines += [line_of(note) for note in notes]
        if len(self._lines) >= BATCH_LINES:
            self._hand_over()

    def _hand_over(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._notes:
            self._make_lines()
        lines, self._lines = self._lines, []
        if self._closed:
            self._dropped_lines += len(lines)
        if not lines or self._closed:
            return
        text = "\n".join(lines) + "\n"
        if self.waiting + len(text) > self._limit:
            self._dropped_lines += len(lines)
            if not self._dropping:
                self._dropping = True
                log.error("the access log cannot keep up: lines are being dropped")
            return
        if self._dropping:
            self._dropping = False
            log.warning("the access log has caught up; %s lines were lost", self.lines_dropped)
        self._handed += len(text)
        self._batches.put((len(lines), text))
        # If it cannot be started now, it is with the next lines; what waits is bounded.
        self._thread.ensure()

    # On the writing thread.

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            count, text = batch
            try:
                self._emit(text)
                self._failing = False
            except Exception as error:
                self._lost_lines += count
                if not self._failing:
                    self._failing = True
                    log.error("the access log cannot be written: %s", error)
            self._taken += len(text)

    def _emit(self, text: str) -> None:
        handlers = self._logger.handlers
        if all(_is_plain(handler) for handler in handlers):
            for handler in handlers:
                self._write(handler, text)
        else:
            for line in text.splitlines():
                self._logger.info("%s", line)

    def _write(self, handler: Any, text: str) -> None:
        """Write to the stream of a handler, under its lock: USR1 may be changing its file."""
        handler.acquire()
        try:
            if handler.stream is None:
                # `dictConfig` in the application closes every handler that there is.
                handler.stream = handler._open()
            stream = handler.stream
            try:
                fd = stream.fileno()
            except (AttributeError, OSError, ValueError):
                stream.write(text)
                stream.flush()
                return
            self._write_all(fd, text.encode("utf-8", "backslashreplace"))
        finally:
            handler.release()

    def _write_all(self, fd: int, data: bytes) -> None:
        for piece in _pieces(fd, data):
            rest = memoryview(piece)
            while rest:
                try:
                    rest = rest[os.write(fd, rest) :]
                except BlockingIOError:
                    select.select((), (fd,), (), STUCK_WAIT_S)


def _is_plain(handler: logging.Handler) -> bool:
    """Whether a handler writes the bare message to a stream, as gunicorn's own do."""
    formatter = handler.formatter
    return (
        type(handler) in (logging.StreamHandler, logging.FileHandler)
        and not handler.filters
        and type(formatter) is logging.Formatter
        and formatter._fmt == "%(message)s"
    )


def _pieces(fd: int, data: bytes) -> list[bytes]:
    """Divide lines so that those of other processes in the same pipe do not come between."""
    if stat.S_ISREG(os.fstat(fd).st_mode) or len(data) <= PIPE_ATOMIC_BYTES:
        return [data]
    pieces = [b""]
    for line in data.splitlines(keepends=True):
        if pieces[-1] and len(pieces[-1]) + len(line) > PIPE_ATOMIC_BYTES:
            pieces.append(b"")
        pieces[-1] += line
    return pieces
