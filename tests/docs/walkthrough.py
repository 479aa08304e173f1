"""Runs the code blocks of a page as a reader does: in an empty folder, as printed, in order.

- A block in Python that begins with `# name.py` is written to that file; another is run, and the
  `text` block behind it is what it prints.
- Each line `$ command` of a `console` block is run in a shell that remembers its environment; the
  lines below it are what it prints, where the page shows that. A command that serves stays until
  the next one that serves. The package is installed already.

Only what a test cannot have is another: the address (port 8000 on the page) and the epoch of a log
(`3f2a9c01`).
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.support.process import PROJECT_ROOT, ServerProcess, server_process
from tests.support.programs import need

INSTALL = "pip install path/to/flasknado"
PLACE = "127.0.0.1:8000"
EPOCH = "3f2a9c01"
ANY_PORT = {"FLASKNADO_BIND": "127.0.0.1:0", "GUNICORN_CMD_ARGS": "--bind 127.0.0.1:0"}
DEADLINE_S = 60

_FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
_FILE = re.compile(r"# (\S+\.py)\n")
_PLACE_IN_LOG = re.compile(r"\b[0-9a-f]{8}(?=:\d)")
_SERVES = re.compile(r"(?:\w+=\S+ )*(?:(?:flasknado|gunicorn) (?!doctor|init|--help)|python serve)")


class Block(NamedTuple):
    """One fenced block of a page."""

    language: str
    text: str


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of `page`, a path below the project's folder."""
    text = (PROJECT_ROOT / page).read_text(encoding="utf-8")
    return [Block(*match) for match in _FENCED.findall(text)]


def commands(block: Block) -> list[tuple[str, list[str]]]:
    """Return each command of a console block with the lines that it is said to print."""
    parts = re.split(r"^\$ (.*(?:\\\n.*)*)$", block.text, flags=re.M)[1:]
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return [(command, printed.strip("\n").splitlines()) for command, printed in pairs]


class Walk:
    """A reader's folder, shell and server. Use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server: ServerProcess | None = None
        self.ran: list[str] = []
        self._state = folder / ".environment"
        self._state.touch()
        self._serving = ExitStack()

    def __enter__(self) -> Walk:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._serving.close()

    def follow(self, page: list[Block]) -> None:
        """Do what the blocks say, and check what is printed."""
        remaining = iter(page)
        for block in remaining:
            if block.language == "python":
                self.python(block.text, remaining)
            elif block.language == "console":
                for command, printed in commands(block):
                    self.command(command, printed)

    def python(self, source: str, following: Iterator[Block]) -> None:
        named = _FILE.match(source)
        if named is not None:
            file = self.folder / named[1]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(source, encoding="utf-8")
            return
        expected = next(following)
        assert expected.language == "text", f"nothing says what this prints:\n{source}"
        printed = self._run([sys.executable, "-c", self._here(source)])
        assert self._alike(printed) == expected.text, source
        self.ran.append(source)

    def command(self, command: str, printed: list[str]) -> None:
        if command == INSTALL:
            return
        self.ran.append(command)
        if _SERVES.match(command):
            self.serve(command)
        elif command.startswith("curl -N "):
            assert self.stream(command, len(printed)) == printed, command
        else:
            said = self._run(["bash", "-c", self._in_shell(command)])
            alike = self._alike(said).strip("\n").splitlines()
            assert alike == printed or not printed, f"{command}\n{said}"

    def serve(self, command: str) -> None:
        """Run a command that serves, on a free port, in place of the one before it."""
        self._serving.close()
        words = shlex.split(re.sub(r"\b[0-9.]+:8000\b", "127.0.0.1:0", command))
        env = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
        program, *arguments = words[len(env) :]
        first = ("-m", program) if program != "python" else ()
        self.server = self._serving.enter_context(
            server_process(
                (*first, *arguments),
                cwd=self.folder,
                env={**ANY_PORT, **self._environment(), **env},
            )
        )

    def stream(self, command: str, count: int) -> list[str]:
        """Return the first lines that an endless command prints."""
        with subprocess.Popen(
            ["bash", "-c", self._in_shell(f"exec {command}")],
            cwd=self.folder,
            env=self._environment(),
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline().rstrip("\n") for _ in range(count)]
            process.send_signal(signal.SIGKILL)
        return [self._alike(line) for line in lines]

    def _run(self, arguments: list[str]) -> str:
        done = subprocess.run(
            arguments,
            cwd=self.folder,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, f"{arguments[-1]}\n{done.stdout}"
        return done.stdout

    def _here(self, text: str) -> str:
        return text if self.server is None else text.replace(PLACE, f"127.0.0.1:{self.server.port}")

    def _in_shell(self, command: str) -> str:
        if "curl" in command:
            need("curl")
            command = re.sub(r"\bcurl\b", f"curl -sS --max-time {DEADLINE_S}", command)
        command = self._here(command)
        return (
            f"source {self._state}; {command}\nstatus=$?; export -p > {self._state}; exit $status"
        )

    def _environment(self) -> dict[str, str]:
        """Return the environment of a reader who has the package installed, and nothing else."""
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        programs = str(Path(sys.executable).parent)
        declared = dict(re.findall(r'^declare -x (\w+)="(.*)"$', self._state.read_text(), re.M))
        chosen = {name: value for name, value in declared.items() if name.isupper()}
        path = os.pathsep.join((programs, os.environ["PATH"]))
        return {**kept, **chosen, "PATH": path}

    def _alike(self, printed: str) -> str:
        """Return what was printed as the page has it."""
        if self.server is not None:
            printed = printed.replace(f"127.0.0.1:{self.server.port}", PLACE)
        return _PLACE_IN_LOG.sub(EPOCH, printed)
