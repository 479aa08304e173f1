"""A real server process, started as a user would, waited for, and ended by its id."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
LISTENING = re.compile(r"Listening at: (https?://\S+|unix:\S+)")
DEADLINE_S = 30.0


class ServerProcess:
    """A server in a process of its own; its output is kept line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self.url = ""
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, name="server-output", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        return "".join(self.lines)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def wait_for_output(self, pattern: str, deadline_s: float = DEADLINE_S) -> re.Match[str]:
        """Return the first match of `pattern` in the output; fails with the output at the end."""
        ends = time.monotonic() + deadline_s
        compiled = re.compile(pattern)
        with self._changed:
            while True:
                match = compiled.search(self.output)
                if match is not None:
                    return match
                left = ends - time.monotonic()
                assert left > 0, f"{pattern!r} did not appear in:\n{self.output}"
                ended = self.process.poll() is not None and not self._reader.is_alive()
                assert not ended, f"the server ended without {pattern!r}:\n{self.output}"
                self._changed.wait(min(left, 0.2))

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, deadline_s: float = DEADLINE_S) -> int:
        """Return the exit status once the process has ended."""
        status = self.process.wait(deadline_s)
        self._reader.join(deadline_s)
        return status

    def stop(self) -> int:
        """End the process politely, then by force; returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                return self.wait()
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.wait()

    def close_output(self) -> None:
        """Close the output; fails if a process that the ended one has started still holds it."""
        # Closing waits for who reads, and so for ever for what is never closed at the other end.
        assert not self._reader.is_alive(), f"something still writes after:\n{self.output}"
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


@contextlib.contextmanager
def server_process(
    arguments: Sequence[str] = ("server.py",),
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path = PROJECT_ROOT,
    ready: bool = True,
    python: str | Path = sys.executable,
    pass_fds: Sequence[int] = (),
) -> Iterator[ServerProcess]:
    """Run `python ARGUMENTS` until the block ends; with `ready`, wait until it serves.

    Its environment is this one's with `env` over it, and `PORT=0` unless that says otherwise.
    """
    process = subprocess.Popen(
        [str(python), *arguments],
        cwd=cwd,
        env={**os.environ, "PORT": "0", "PYTHONUNBUFFERED": "1", **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        pass_fds=pass_fds,
    )
    server = ServerProcess(process)
    try:
        if ready:
            server.url = server.wait_for_output(LISTENING.pattern)[1]
            server.wait_for_output(r"Serving as worker")
        yield server
    finally:
        server.stop()
        server.close_output()
