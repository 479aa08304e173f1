"""Servers and load generators as processes: pinned to a core, waited for, ended with their kin."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtests.interrupts import held
from loadtests.servers import ROOT, Server, Target

HOST = "127.0.0.1"
READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0
_POLL_S = 0.05
_LOG_LINES_SHOWN = 12
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class ServerFailed(Exception):
    """A server did not start, or ended by itself; the message has the end of its output."""


@dataclass(frozen=True)
class Cores:
    """Which processor core the server gets and which the generator; `None` is any.

    `spare` are the other cores, for more workers of the server, else for the generator.
    """

    server: int | None
    generator: int | None
    spare: tuple[int, ...] = ()

    @classmethod
    def of_this_machine(cls) -> Cores:
        """Return the first two cores that this process may use, if `taskset` can pin to them."""
        usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        if len(usable) < 2 or shutil.which("taskset") is None:
            return cls(None, None)
        return cls(usable[0], usable[1], tuple(usable[2:]))

    def of_server(self, workers: int = 1) -> tuple[int, ...]:
        """Return the cores of a server with so many workers: the generator's last of all."""
        if self.server is None or self.generator is None:
            return ()
        return (self.server, *self.spare, self.generator)[:workers]

    def beside(self, workers: int) -> Cores:
        """Return the same without the spare cores that a server with so many workers takes."""
        taken = self.of_server(workers)
        return Cores(
            self.server, self.generator, tuple(core for core in self.spare if core not in taken)
        )


def pinned(core: int | None, command: Sequence[str], *more: int) -> list[str]:
    """Return the command that runs `command` on one core, or on `more` beside it."""
    if core is None:
        return [*command]
    return ["taskset", "--cpu-list", ",".join(map(str, (core, *more))), *command]


@dataclass(frozen=True)
class Running:
    """A server that answers; `pid` is also the id of its process group."""

    server: Server
    target: Target
    pid: int

    @property
    def address(self) -> tuple[str, int]:
        return HOST, self.target.port

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.target.port}"

    def resident_bytes(self) -> int:
        """Return the resident memory of the whole process group."""
        return sum(map(resident_bytes, group_members(self.pid)))

    def processor_s(self) -> float:
        """Return the processor time that the process group has used, ended children included."""
        return sum(map(processor_s, group_members(self.pid)))


def resident_bytes(pid: int) -> int:
    """Return a process's resident memory (proc(5), statm); 0 if it has ended."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    return 0


def processor_s(pid: int) -> float:
    """Return the processor time that a process and its ended children have used; 0 without it."""
    with contextlib.suppress(OSError):
        return sum(map(int, _stat_fields(pid)[11:15])) / _TICKS_PER_S
    return 0.0


def _stat_fields(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the command's name, which may hold spaces."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def group_members(group: int) -> list[int]:
    """Return the ids of the processes of a group that still run."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, _parent, its_group = _stat_fields(int(entry.name))[:3]
                if int(its_group) == group and state != "Z":
                    members.append(int(entry.name))
    return members


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def running(
    server: Server,
    target: Target,
    *,
    core: int | None = None,
    more_cores: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
    ready_path: str = "/",
) -> Iterator[Running]:
    """Run a server until the block ends; it answers `ready_path` with 200 when the block begins.

    It is kept to `core` and `more_cores`, if there is one. Raises `ServerFailed`.
    """
    folder = Path(target.folder)
    for name, text in server.files.items():
        (folder / name).write_text(target.fill(text), encoding="utf-8")
    log = folder / f"{server.name}.log"
    command = pinned(core, [target.fill(part) for part in server.command], *more_cores)
    python_path = target.fill(server.python_path)
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(log.open("wb"))
        with held():
            try:
                process = subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env={**os.environ, **(environment or {}), "PYTHONPATH": python_path},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    process_group=0,
                )
            except OSError as error:
                raise ServerFailed(f"{server.name} did not start: {error}") from None
            stack.callback(end_group, process)
        _wait_until_ready(server, target, process, log, ready_path)
        yield Running(server, target, process.pid)
        # Not poll(): a killed process with threads may not be waited for at once.
        if process.pid not in group_members(process.pid):
            raise ServerFailed(f"{server.name} ended under load{_end_of(log)}")


def _wait_until_ready(
    server: Server, target: Target, process: subprocess.Popen[bytes], log: Path, path: str
) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not answers(target.port, path):
        if process.poll() is not None:
            raise ServerFailed(f"{server.name} ended while starting{_end_of(log)}")
        if time.monotonic() > deadline:
            raise ServerFailed(
                f"{server.name} did not answer within {READY_TIMEOUT_S:.0f} s{_end_of(log)}"
            )
        time.sleep(_POLL_S)


def answers(port: int, path: str) -> bool:
    """Whether a GET of `path` is answered with 200."""
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def end_group(process: subprocess.Popen[Any]) -> None:
    """End a process and its group: TERM, and KILL for what is left after `STOP_TIMEOUT_S`."""
    with held():
        _signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while group_members(process.pid) and time.monotonic() < deadline:
            time.sleep(_POLL_S)


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def _end_of(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return ":\n  " + "\n  ".join(lines[-_LOG_LINES_SHOWN:]) if lines else " without a word"
