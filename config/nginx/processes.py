"""Processes that live and die together."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FrameType

POLL_INTERVAL_S = 0.1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ProcessEnded(Exception):
    """One of the processes ended by itself; the message says which, and how."""


class Stopped(Exception):
    """A signal asked for the end."""


@dataclass(frozen=True)
class _Member:
    name: str
    process: subprocess.Popen[bytes]
    stop_signal: signal.Signals


class ProcessSet:
    """A context manager: processes started in it are ended, last one first, when it is left.

    Used on the main thread only, since INT, TERM and HUP are caught meanwhile. Each process leads
    a process group of its own, so that a Ctrl-C at the terminal comes here and nowhere else.
    """

    def __init__(self, stop_timeout_s: float) -> None:
        self._stop_timeout_s = stop_timeout_s
        self._members: list[_Member] = []
        self._signals_seen = 0
        self._asked_to_stop = threading.Event()
        self._previous_handlers: dict[signal.Signals, object] = {}

    def __enter__(self) -> ProcessSet:
        for number in _SIGNALS:
            self._previous_handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_exception: object) -> None:
        try:
            self._stop_all()
        finally:
            for number, handler in self._previous_handlers.items():
                signal.signal(number, handler)  # type: ignore[arg-type]  # what signal() returned

    def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> int:
        """Start a command with `environment` over this process's; returns its process id."""
        process = subprocess.Popen(
            command,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            process_group=0,
        )
        self._members.append(_Member(name, process, stop_signal))
        return process.pid

    def pause(self, seconds: float = POLL_INTERVAL_S) -> None:
        """Wait a moment; raises `Stopped` or `ProcessEnded` if it is over."""
        if self._asked_to_stop.wait(seconds):
            raise Stopped
        for member in self._members:
            status = member.process.poll()
            if status is not None:
                raise ProcessEnded(f"{member.name} {_how_it_ended(status)}")

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signals_seen += 1
        self._asked_to_stop.set()

    def _stop_all(self) -> None:
        """Ask each process to end; a second signal, or the deadline, ends them at once."""
        for member in reversed(self._members):
            if member.process.poll() is None:
                member.process.send_signal(member.stop_signal)
        signals_before = max(self._signals_seen, 1)
        deadline = time.monotonic() + self._stop_timeout_s
        while any(member.process.poll() is None for member in self._members):
            if time.monotonic() > deadline or self._signals_seen > signals_before:
                break
            time.sleep(POLL_INTERVAL_S)
        for member in self._members:
            # The group, since a server's workers would outlive a server that is killed.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(member.process.pid, signal.SIGKILL)
            member.process.wait()


def _how_it_ended(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    return f"was ended by {signal.Signals(-status).name}"
