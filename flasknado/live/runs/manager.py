"""The runs of one application in one process, and the thread that keeps their rows.

That thread publishes how they end, says every few seconds that this process lives, ends those that
take too long, and tells of the runs of processes that were killed. Blocking work only; no Tornado.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import os
import secrets
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from flasknado.live.errors import LiveError
from flasknado.live.event import Event
from flasknado.live.log.base import Log
from flasknado.live.log.run_table import Run
from flasknado.live.log.tables import Draft
from flasknado.live.options import LiveOptions
from flasknado.live.runs.active import ActiveRun, Encode, Source
from flasknado.live.runs.errors import TooManyRuns
from flasknado.live.runs.store import CANCELLED, FAILED, FINISHED, INTERRUPTED, RunStore, store_of
from flasknado.on_loop.host import LoopHost
from flasknado.on_loop.request_copy import RequestCopy

log = logging.getLogger("flasknado.live")

ENDINGS: Final = (FINISHED, FAILED, CANCELLED, INTERRUPTED)
BEATS: Final = 5
"""How many signs of life a process gives in the time after which it counts as gone."""
RETRY_S: Final = 0.5
PREFIX: Final = "run."
CLOSE_S: Final = 1.5
"""How long the end of runs may take to be published when the server stops."""


class RunCounts(NamedTuple):
    """What became of the runs of one process."""

    started: int
    running: int
    ended: dict[str, int]
    """How many ended `finished`, `failed`, `cancelled` and `interrupted`."""


class Runs:
    """`start`, `stop` and what asks may be called on any thread."""

    def __init__(self, app: Flask, live_log: Log, options: LiveOptions, encode: Encode) -> None:
        self._app = app
        self._log = live_log
        self._options = options
        self._encode = encode
        self._store: RunStore | None = None
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._worker = secrets.token_hex(16)
        self._changed = threading.Condition()
        self._active: dict[str, ActiveRun] = {}
        self._starting = 0
        self._started = 0
        self._ended = dict.fromkeys(ENDINGS, 0)
        """How many ended with each event, in this process."""
        self._threads = 0
        """How many threads run generators, also those of runs that have ended."""
        self._endings: deque[tuple[str, list[Draft]]] = deque()
        self._watchers = 0
        self._keeping = False
        """Whether the keeper runs."""
        self._servers: weakref.WeakSet[Any] = weakref.WeakSet()
        self._beat_at = self._prune_at = 0.0
        self._failed = False

    @property
    def store(self) -> RunStore:
        """Where runs are noted."""
        if self._store is None:
            self._store = store_of(self._log)
        return self._store

    def counts(self) -> RunCounts:
        """Return the numbers of this process's runs. Any thread."""
        with self._changed:
            ended = {name.removeprefix(PREFIX): count for name, count in self._ended.items()}
            return RunCounts(self._started, len(self._active), ended)

    def start(
        self,
        source: Source,
        channel: str,
        output: str,
        user: str | None,
        *,
        keep_result: bool,
        host: LoopHost | None,
        server: Any,
    ) -> Run:
        """Note a run and begin to iterate it: on the loop, or on a thread of its own.

        Raises `TooManyRuns`, and `LiveError` if it cannot be noted.
        """
        if self._pid != os.getpid():  # a fork runs nothing of its parent's
            self._begin()
        copy = RequestCopy()
        loop = host.loop if host is not None else None
        run_id = secrets.token_hex(16)
        active = ActiveRun(
            run_id,
            channel,
            output,
            source,
            self._log,
            self._options,
            self._encode,
            self._on_end,
            keep_result=keep_result,
        )
        on_loop = active.is_async and loop is not None
        self._reserve(on_loop)
        try:
            run = self.store.begin(run_id, channel, user, self._worker)
        except BaseException:
            self._release(on_loop)
            raise
        with self._changed:
            self._starting -= 1
            self._started += 1
            self._active[run_id] = active
            self._ensure_keeper()
        if host is not None:
            host.background.add(active)
        context, leave = copy.enter()

        def done() -> None:
            if host is not None:
                host.background.discard(active)

        if on_loop:
            assert host is not None
            assert loop is not None
            self._run_on_loop(active, host, loop, context, leave, done, copy.leaving_blocks)
        else:
            self._run_on_thread(active, context, leave, done)
        if server is not None and loop is not None:
            loop.call_soon_threadsafe(self._end_with, server)
        return run

    def _reserve(self, on_loop: bool) -> None:
        options = self._options
        with self._changed:
            if len(self._active) + self._starting >= options.max_runs:
                raise TooManyRuns(
                    f"this process has {options.max_runs} runs, as many as it may "
                    f"(LIVE_MAX_RUNS): try again later"
                )
            if not on_loop:
                if self._threads >= options.run_threads:
                    raise TooManyRuns(
                        f"{options.run_threads} runs of this process hold a thread, as many as may "
                        f"(LIVE_RUN_THREADS): try again later, or yield asynchronously"
                    )
                self._threads += 1
            self._starting += 1

    def _release(self, on_loop: bool) -> None:
        with self._changed:
            self._starting -= 1
            if not on_loop:
                self._threads -= 1

    def _run_on_loop(
        self,
        active: ActiveRun,
        host: LoopHost,
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context,
        leave: Callable[[], None],
        done: Callable[[], None],
        leaving_blocks: bool,
    ) -> None:
        def ended() -> None:
            done()
            if leaving_blocks:
                host.streams.in_thread(context.run, leave)
            else:
                _leave(context, leave)

        loop.call_soon_threadsafe(host.watch_blocking)
        active.start_on_loop(loop, context, ended, lambda: host.streams.turn())

    def _run_on_thread(
        self,
        active: ActiveRun,
        context: contextvars.Context,
        leave: Callable[[], None],
        done: Callable[[], None],
    ) -> None:
        def run() -> None:
            try:
                if active.is_async:
                    with asyncio.Runner() as runner:
                        inner = context.run(contextvars.copy_context)
                        runner.run(active.iterate_async(), context=inner)
                else:
                    context.run(active.iterate)
            finally:
                _leave(context, leave)
                done()
                with self._changed:
                    self._threads -= 1

        thread = threading.Thread(target=run, name=f"flasknado-live-run-{active.id[:8]}")
        thread.daemon = True
        try:
            thread.start()
        except RuntimeError as error:  # the process may have no more
            with self._changed:
                self._threads -= 1
            done()
            _leave(context, leave)
            active.fail(TooManyRuns(f"no thread could be started: {error}"))

    def stop(self, run: str) -> bool:
        """Cancel a run, in whichever process it is; return whether it ran."""
        if self.cancel_here(run):
            return True
        return self.store.stop(run)

    def cancel_here(self, run: str) -> bool:
        """Cancel a run of this process; return whether there is one."""
        with self._changed:
            active = self._active.get(run)
        if active is None:
            return False
        active.cancel()
        return True

    def on_event(self, event: Event) -> None:
        """Do what an event of the log's own channel of runs says; does not block."""
        try:
            run = json.loads(event.data)["run"]
        except (ValueError, KeyError, TypeError):
            log.error("event %d of the log is about no run: %.200r", event.offset, event.data)
        else:
            self.cancel_here(run)

    def watch(self) -> None:
        """From now on tell of the runs of processes that were killed."""
        with self._changed:
            self._watchers += 1
            self._ensure_keeper()

    def unwatch(self) -> None:
        """Undo one `watch()`."""
        with self._changed:
            self._watchers -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Interrupt the runs of this process, because it stops; waits for their last events."""
        with self._changed:
            active = list(self._active.values())
        for run in active:
            run.interrupt()
        with self._changed:
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._endings, CLOSE_S)
        self._log.flush()

    async def close_soon(self) -> None:
        """Do as `close()` does, on the loop's thread."""
        await asyncio.to_thread(self.close)

    def _end_with(self, server: Any) -> None:
        add = getattr(server, "add_close_callback", None)
        if add is not None and server not in self._servers:
            self._servers.add(server)
            add(self.close_soon)

    def _on_end(self, active: ActiveRun, drafts: list[Draft]) -> None:
        with self._changed:
            if self._active.pop(active.id, None) is not None:
                self._ended[active.outcome] += 1
            if drafts:
                self._endings.append((active.id, drafts))
            self._ensure_keeper()
            self._changed.notify_all()

    # The keeper.

    @property
    def _beat_s(self) -> float:
        return self._options.run_lost_after_s / BEATS

    def _ensure_keeper(self) -> None:
        """Start the keeper unless it runs; with the lock held."""
        if self._keeping:
            return
        thread = threading.Thread(target=self._keep, name="flasknado-live-runs", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the process may have no more; the next run tries again
            log.error("the thread that looks after runs cannot be started: %s", error)
        else:
            self._keeping = True

    def _rests(self) -> bool:
        return not (self._active or self._starting or self._endings or self._watchers)

    def _keep(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._endings or self._rests(), self._beat_s)
                if self._rests():
                    self._keeping = False
                    return
            try:
                self._publish_ends()
                self._time_out()
                now = time.monotonic()
                if now >= self._beat_at:
                    self._beat_at = now + self._beat_s
                    self._beat()
            except (SQLAlchemyError, LiveError) as error:
                self._complain(error)
                time.sleep(RETRY_S)
            except Exception:
                log.exception("the runs of this process could not be looked after")
                time.sleep(RETRY_S)
            else:
                self._failed = False

    def _publish_ends(self) -> None:
        while self._endings:
            run, drafts = self._endings[0]
            self.store.publish_end(run, drafts)
            with self._changed:
                self._endings.popleft()
                self._changed.notify_all()

    def _time_out(self) -> None:
        before = time.monotonic() - self._options.run_timeout_s
        with self._changed:
            old = [run for run in self._active.values() if run.began_at < before]
        for run in old:
            run.time_out()

    def _beat(self) -> None:
        with self._changed:
            mine = dict(self._active)
        if mine:
            known = self.store.beat(self._worker)
            for run_id, active in mine.items():
                if run_id not in known:
                    active.forsake()
                elif known[run_id]:
                    active.cancel()
        for run_id in self.store.tell_lost(self._options.run_lost_after_s):
            log.warning("the run %s has ended with the process that ran it", run_id)
        now = time.monotonic()
        if now >= self._prune_at:
            self._prune_at = now + self._options.prune_interval_s
            self.store.prune(self._options.retention_s)

    def _complain(self, error: Exception) -> None:
        if not self._failed:
            self._failed = True
            level = logging.ERROR if self._active or self._endings else logging.INFO
            log.log(level, "runs cannot be noted yet, and this is tried again: %s", error)


def _leave(context: contextvars.Context, leave: Callable[[], None]) -> None:
    try:
        context.run(leave)
    except Exception:
        log.exception("a teardown function of the application failed after a run")
