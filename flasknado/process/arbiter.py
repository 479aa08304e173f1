"""The processes: gunicorn's arbiter, with changes of workers that cannot take the site down.

- A reload (HUP) starts the new workers and waits until they serve before the old ones are
  told to stop. If one of them fails, the old ones keep serving and the log says why.
- A worker that wants to be replaced (`max_requests`, hanging threads) goes when its
  replacement serves.
- Each worker is told to stop once, and why (`flasknado.process.status`); it has its whole grace.
- A worker that dies while it boots ends the start; later it is tried again, less and less often.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from typing import Any, ClassVar

import gunicorn
from gunicorn import sock
from gunicorn.errors import HaltServer
from gunicorn.glogging import Logger
from gunicorn.pidfile import Pidfile

from flasknado.process import settings
from flasknado.process.boot import watched_boot
from flasknado.process.logger import Logger as OurLogger
from flasknado.process.operations import snapshots_of
from flasknado.process.signal_queue import BaseArbiter
from flasknado.process.status import StatusFile, StopReason, WorkerState
from flasknado.process.systemd import ServiceManager
from flasknado.process.worker import Worker

POLL_S = 0.1
"""How often the arbiter looks while workers are being changed."""

QUICK = frozenset((signal.SIGINT, signal.SIGQUIT))
"""The signals that stop everything at once."""

GRACE_MARGIN_S = 5.0
"""How much longer than its grace a worker may take to end before it is killed."""

BOOT_FAILURES_AT_START = 3
"""How many workers in a row may die while the first ones boot."""

LONGEST_WAIT_S = 30.0

LEAST_HEARTBEAT_AGE_S = 3.0
"""A heartbeat, of which there is one a second, is at least so old before it is missed."""


@dataclass
class Member:
    """What the arbiter knows of one worker process beside gunicorn's own record of it."""

    worker: Any
    generation: int
    started_at: float
    status_file: StatusFile
    has_served: bool = False
    stop_deadline: float | None = None
    """When it is killed, once it has been told to stop; in `time.monotonic` seconds."""
    replacement_pid: int | None = None

    @property
    def stopping(self) -> bool:
        return self.stop_deadline is not None


@dataclass
class Failures:
    """Workers that died before they served, in a row, and when to try again."""

    count: int = 0
    retry_at: float = 0.0
    any_has_served: bool = field(default=False)

    def add(self) -> float:
        """Count one more; returns how long to wait, in seconds."""
        self.count += 1
        wait_s = min(2.0 ** (self.count - 1), LONGEST_WAIT_S)
        self.retry_at = time.monotonic() + wait_s
        return wait_s

    def end(self) -> None:
        """A worker serves, so what made the others die is over."""
        self.any_has_served = True
        self.count = 0
        self.retry_at = 0.0


class Arbiter(BaseArbiter):
    """Starts, watches, changes and stops the workers. Runs on the main thread of its process."""

    log: Logger
    LISTENERS: ClassVar[list[Any]]

    def __init__(self, app: Any) -> None:
        self._members: dict[int, Member] = {}
        self._failures = Failures()
        self._generation = 1
        self._reloading = False
        self._reload_again = False
        """Whether to reload once more, when what earlier reloads have started has ended."""
        self._more_workers = 0
        """How many workers are to be started (TTIN), when enough of those that stop have ended."""
        Worker.arbiter = self
        super().__init__(app)
        self._service = ServiceManager(self.log)
        # As this process was started, `-m` included, a new one is (USR2).
        self.START_CTX["args"] = [sys.executable, *sys.orig_argv[1:]]

    def setup(self, app: Any) -> None:
        """Take the settings of an application, and load it if it is preloaded."""
        is_again = self.log is not None
        with watched_boot() if app.cfg.preload_app else contextlib.nullcontext():
            super().setup(app)
        if is_again and gunicorn.version_info < (27,):
            self.log.setup(app.cfg)  # as 27 does: the settings of the logs may have changed
        if isinstance(self.log, OurLogger):
            self.log.keep()

    def start(self) -> None:
        """Listen, and write the pid file."""
        with self._service.unheard():
            super().start()

    # Workers come and go.

    def spawn_worker(self) -> int:
        """Fork a worker; returns its process id in the arbiter, and never in the worker.

        Returns 0 if the system, or the `pre_fork` hook, does not let it start.
        """
        try:
            pid: int = super().spawn_worker()
        except Exception as error:
            self._judge_refusal(error)
            return 0
        worker = self.WORKERS[pid]
        self._members[pid] = Member(
            worker, self._generation, time.monotonic(), StatusFile(worker.tmp.fileno())
        )
        return pid

    def spawn_workers(self) -> None:
        """Start what is missing, unless a worker has just died while booting."""
        if time.monotonic() < self._failures.retry_at:
            return
        for _ in range(self.num_workers - self._places()):
            if not self.spawn_worker():
                return

    def manage_workers(self) -> None:
        """Bring the workers one step closer to what is wanted; called again and again."""
        self._notice_serving()
        if self._reload_again and self._stopping_boots() < self.num_workers:
            self.reload()
        if self._more_workers and self._stopping() < self.num_workers:
            self.num_workers += self._more_workers
            self._more_workers = 0
        if self._reloading:
            self._finish_reload()
        else:
            self._replace_worn()
            self._retire_surplus()
        self._kill_overdue()
        self.spawn_workers()
        self._service.look(self._alive(), self._status)

    def wait_for_signals(self, timeout: float | None = 1.0) -> list[int]:
        """Wait for signals, shortly while workers are being changed; INT and QUIT are first.

        What is behind a TERM is not handled, and who sends both means the harder one.
        """
        if any(not member.has_served or member.stopping for member in self._members.values()):
            timeout = POLL_S
        if self._service.interval_s is not None and timeout is not None:
            timeout = min(timeout, self._service.interval_s)
        signals: list[int] = super().wait_for_signals(timeout=timeout)
        return sorted(signals, key=lambda sig: sig not in QUICK)

    def handle_ttin(self) -> None:
        """Have one worker more, once fewer stop than there are to be."""
        self._more_workers += 1
        self.manage_workers()

    def handle_ttou(self) -> None:
        """Have one worker less, one of those first that have not been started or do not serve."""
        if self._more_workers:
            self._more_workers -= 1
        else:
            super().handle_ttou()

    def reap_workers(self) -> None:
        """Reap exited workers and decide whether each exit was expected."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid == self.reexec_pid:
                self.reexec_pid = 0
                continue
            worker = self.WORKERS.pop(pid, None)
            member = self._members.pop(pid, None)
            if worker is None or member is None:
                continue
            # A worker may serve and die between two looks.
            served = member.has_served or member.status_file.state != WorkerState.BOOTING
            worker.tmp.close()
            self.cfg.child_exit(self, worker)
            self._judge_end(pid, member, served, status)

    def stop(self, graceful: bool = True) -> None:
        """Stop every worker: drained, or at once; a QUIT or INT while they drain is heeded."""
        self._service.stopping(self.reexec_pid)
        unlink = self.reexec_pid == self.master_pid == 0 and not self.systemd
        sock.close_sockets(self.LISTENERS, unlink and not self.cfg.reuse_port)
        self.LISTENERS = []  # type: ignore[misc]  # gunicorn shadows it, too
        grace_s = self._grace_s(StopReason.SHUTDOWN) if graceful else GRACE_MARGIN_S
        deadline = time.monotonic() + grace_s
        for pid, member in self._members.items():
            if graceful:
                self._tell_to_stop(pid, StopReason.SHUTDOWN)
            else:
                member.stop_deadline = deadline
                self._kill(pid, signal.SIGQUIT)
        while self.WORKERS and time.monotonic() < deadline:
            quick = QUICK.intersection(super().wait_for_signals(timeout=POLL_S))
            if quick and graceful:
                graceful = False
                deadline = time.monotonic() + GRACE_MARGIN_S
                for pid in list(self.WORKERS):
                    self._kill(pid, signal.SIGQUIT)
            self.reap_workers()
            self._service.look(self._alive(), self._status)
        for pid in list(self.WORKERS):
            self._kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + GRACE_MARGIN_S
        while self.WORKERS and time.monotonic() < deadline:
            self.reap_workers()
            time.sleep(POLL_S / 10)

    # A reload.

    def reload(self) -> None:
        """Read the configuration again and start new workers; the old ones serve meanwhile.

        After one reload in a hurry upon another, not before what they have started has ended.
        """
        self._reload_again = self._reloading and self._stopping_boots() >= self.num_workers
        if self._reload_again:
            self.log.info("The reload waits for workers of earlier ones to end")
            return
        if stats := getattr(self, "_stats", None):  # of gunicorn's control socket, from 25.1
            stats["reloads"] += 1
        self._service.reloading()
        old_address = self.cfg.address
        if not self._read_configuration():
            self._service.ready()
            return
        if self.cfg.preload_app:
            self.log.warning(
                "with --preload a reload keeps the code that was imported at startup: for new "
                "code, start a new arbiter (USR2) or restart"
            )
        if old_address != self.cfg.address:
            self.log.error(
                "the addresses to listen on cannot be changed by a reload: restart instead"
            )
        self._more_workers = 0
        # A second HUP starts over: what the first one started is not wanted any more.
        self._retire(lambda member: member.generation == self._generation and self._reloading)
        self._generation += 1
        self._reloading = True
        self._failures.retry_at = 0.0
        self.spawn_workers()

    def _read_configuration(self) -> bool:
        """Load the configuration; on failure keep the one that is in force, and return False."""
        cfg, application, workers = self.app.cfg, self.app.callable, self.num_workers
        for name in cfg.env:
            if name in cfg.env_orig:
                os.environ[name] = cfg.env_orig[name]
            else:
                os.environ.pop(name, None)
        try:
            # gunicorn exits on a bad configuration, which is right at the start only.
            self.app.reload()
            self.app.callable = None
            self.setup(self.app)
            self.log.reopen_files()
            self.cfg.on_reload(self)
            self._renew_pidfile()
        except (SystemExit, Exception) as error:
            self.app.cfg, self.app.callable = cfg, application
            self.setup(self.app)
            self._num_workers = workers  # signals may have changed it
            self.log.error("the reload failed, the old workers keep serving: %s", error)
            return False
        return True

    def _renew_pidfile(self) -> None:
        """Write the file that the configuration names; the old one goes when that is done."""
        old = self.pidfile
        new = None
        if self.cfg.pidfile is not None:
            # A new arbiter beside the old one (USR2) has a name of its own.
            new = Pidfile(self.cfg.pidfile + (".2" if self.master_pid else ""))
        if new is not None:
            new.create(self.pid)
            new.pid = self.pid  # which it leaves out if the file is there already
        if old is not None and (new is None or new.fname != old.fname):
            old.unlink()
        self.pidfile = new

    def _finish_reload(self) -> None:
        new = self._of_generation()
        if len(new) >= self.num_workers and all(member.has_served for member in new.values()):
            self._reloading = False
            self._service.ready()
            self._retire(lambda member: member.generation < self._generation)
            self.log.info("Reloaded: generation %s serves", self._generation)
            return
        boot_s = self.cfg.timeout or LONGEST_WAIT_S
        if any(
            not member.has_served and time.monotonic() - member.started_at > boot_s
            for member in new.values()
        ):
            self._give_up_reload(f"a new worker did not serve within {boot_s} s")

    def _give_up_reload(self, reason: str) -> None:
        self.log.error("the reload failed, the old workers keep serving: %s", reason)
        self._reloading = False
        self._service.ready()
        failed = self._generation
        self._retire(lambda member: member.generation == failed)
        for member in self._members.values():
            if not member.stopping:
                member.generation = failed

    # Judgements.

    def _judge_end(self, pid: int, member: Member, served: bool, status: int) -> None:
        """Say how a worker ended and decide what follows."""
        code = os.waitstatus_to_exitcode(status)
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        if member.stopping:
            if code != 0:
                self.log.error("Worker (pid:%s) exited with %s while stopping", pid, how)
            return
        if served:
            if code != 0:
                self.log.error("Worker (pid:%s) died: %s", pid, how)
            return
        reason = "App failed to load." if code == self.APP_LOAD_ERROR else f"ended with {how}"
        if self._reloading and member.generation == self._generation:
            self._give_up_reload(f"a new worker could not boot: {reason}")
            return
        wait_s = self._failures.add()
        if not self._failures.any_has_served and (
            code in (self.APP_LOAD_ERROR, self.WORKER_BOOT_ERROR)
            or self._failures.count >= BOOT_FAILURES_AT_START
        ):
            halt_code = code if code > 0 else self.WORKER_BOOT_ERROR
            raise HaltServer(f"A worker could not boot: {reason}", halt_code)
        self.log.error(
            "Worker (pid:%s) died before it could serve (%s); retrying in %s s",
            pid,
            reason,
            wait_s,
        )

    def _judge_refusal(self, error: Exception) -> None:
        """Decide what follows when a worker cannot even be started."""
        reason = f"a worker could not be started: {error}"
        if self._reloading:
            self._give_up_reload(reason)
        elif not self._failures.any_has_served:
            raise HaltServer(reason, self.WORKER_BOOT_ERROR)
        else:
            self.log.error("%s; retrying in %s s", reason, self._failures.add())

    def _notice_serving(self) -> None:
        for member in self._members.values():
            if not member.has_served and member.status_file.state != WorkerState.BOOTING:
                member.has_served = True
                self._failures.end()
                if not self._reloading:
                    self._service.ready()

    def _replace_worn(self) -> None:
        """Start a replacement for each worn worker; tell it to go once that one serves."""
        if time.monotonic() < self._failures.retry_at:
            return
        for pid, member in list(self._members.items()):
            if member.stopping or member.status_file.state != WorkerState.WORN:
                continue
            replacement = self._members.get(member.replacement_pid or 0)
            if replacement is None:
                member.replacement_pid = self.spawn_worker()
            elif replacement.has_served:
                self._tell_to_stop(pid, StopReason.RECYCLE)

    def _retire_surplus(self) -> None:
        """Tell some of too many workers to go: those that do not serve yet, then the oldest.

        Those that are being exchanged stay.
        """
        exchanges = self._exchanges()
        exchanged = {*exchanges, *exchanges.values()}
        spare = [pid for pid in self._current() if pid not in exchanged]
        spare.sort(key=lambda pid: (self._members[pid].has_served, self.WORKERS[pid].age))
        for pid in spare[: max(0, self._places() - self.num_workers)]:
            self._tell_to_stop(pid, StopReason.SURPLUS)

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for pid, member in list(self._members.items()):
            if member.stop_deadline is not None and now > member.stop_deadline:
                self.log.critical("Worker (pid:%s) did not stop in time and was killed", pid)
                self._kill(pid, signal.SIGKILL)

    # The service manager.

    def _alive(self) -> bool:
        """Whether the loop of a worker turns, or a worker has the time to boot still."""
        now = time.monotonic()
        patience_s = (self._service.watchdog_s or LONGEST_WAIT_S) / 2
        boot_s = self.cfg.timeout or LONGEST_WAIT_S
        return any(
            now - member.worker.tmp.last_update() < max(patience_s, LEAST_HEARTBEAT_AGE_S)
            if member.has_served
            else now - member.started_at < boot_s
            for member in self._members.values()
        )

    def _status(self) -> str:
        sums = snapshots_of(self.cfg).sums()
        serving = sum(member.has_served for member in self._members.values())
        return (
            f"{serving} of {self.num_workers} workers serve: "
            f"{sums.get('connections', 0):.0f} connections, "
            f"{sums.get('pool_threads_busy', 0):.0f} of {sums.get('pool_threads', 0):.0f} threads "
            f"busy, {sums.get('pool_queue_requests', 0):.0f} requests waiting"
        )

    # Helpers.

    def kill_worker(self, pid: int, sig: int) -> None:
        """Send a signal to a worker; one that has ended is buried by `reap_workers`."""
        self._kill(pid, signal.Signals(sig))

    def _current(self) -> list[int]:
        """Return the workers that are wanted: of this generation, not told to stop."""
        generation = self._generation
        return [
            pid
            for pid, member in self._members.items()
            if not member.stopping and (member.generation == generation or not self._reloading)
        ]

    def _stopping_boots(self) -> int:
        """Return how many workers boot that have been told to stop; a boot is not broken off."""
        return sum(each.stopping and not each.has_served for each in self._members.values())

    def _stopping(self) -> int:
        """Return how many workers have been told to stop and have not ended."""
        return sum(each.stopping for each in self._members.values())

    def _exchanges(self) -> dict[int, int]:
        """Return the worn workers whose replacements have been started, each with that one."""
        current = set(self._current())
        replacements = {pid: self._members[pid].replacement_pid for pid in current}
        return {worn: new for worn, new in replacements.items() if new in current}

    def _places(self) -> int:
        """Return how many workers there are, a worn one and its replacement counted as one."""
        return len(self._current()) - len(self._exchanges())

    def _of_generation(self) -> dict[int, Member]:
        return {
            pid: member
            for pid, member in self._members.items()
            if member.generation == self._generation and not member.stopping
        }

    def _retire(self, unwanted: Any) -> None:
        for pid, member in list(self._members.items()):
            if unwanted(member):
                self._tell_to_stop(pid, StopReason.RELOAD)

    def _tell_to_stop(self, pid: int, reason: StopReason) -> None:
        """Send TERM to a worker, once, with the reason on its board."""
        member = self._members[pid]
        if member.stopping:
            return
        member.status_file.reason = reason
        member.stop_deadline = time.monotonic() + self._grace_s(reason)
        self._kill(pid, signal.SIGTERM)

    def _grace_s(self, reason: StopReason) -> float:
        lame_duck_s = 0.0 if reason.others_serve else settings.option(self.cfg, "lame_duck")
        return float(self.cfg.graceful_timeout) + lame_duck_s + GRACE_MARGIN_S

    def _kill(self, pid: int, number: signal.Signals) -> None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            self.log.debug("worker %s had exited before it could be sent %s", pid, number.name)
