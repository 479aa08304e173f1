"""The examples of `docs/live.md`: read from the page, and run against its own application."""

from __future__ import annotations

import os
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support.process import PROJECT_ROOT, ServerProcess, server_process
from tests.support.programs import need

PAGE = PROJECT_ROOT / "docs" / "live.md"
EPOCH = "3f2a9c01"
PLACE = "127.0.0.1:8000"
DEADLINE_S = 30

_FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)


class Example(NamedTuple):
    """One fenced block of the page."""

    language: str
    text: str


def examples() -> list[Example]:
    return [Example(*match) for match in _FENCED.findall(PAGE.read_text())]


def application() -> str:
    """Return the page's first example in Python, which is the application of all the others."""
    return next(example.text for example in examples() if example.language == "python")


@contextmanager
def running_shop(directory: Path) -> Iterator[ServerProcess]:
    """Serve the page's application by the page's command, with the page's epoch."""
    (directory / "shop.py").write_text(application())
    [command] = re.findall(r"^\$ flasknado (.*)$", PAGE.read_text(), re.M)
    arguments = shlex.split(command.replace(PLACE, "127.0.0.1:0"))
    env = {"PYTHONPATH": str(PROJECT_ROOT)}
    run([sys.executable, "-c", "import shop"], directory)  # which makes the tables
    with sqlite3.connect(directory / "instance" / "shop.db") as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(live_log)")]
        values = {"id": 1, "epoch": EPOCH, "head": 0}
        given = {name: values.get(name, 0) for name in columns}
        database.execute(
            f"INSERT INTO live_log ({', '.join(given)}) VALUES ({', '.join('?' * len(given))})",
            list(given.values()),
        )
    database.close()
    with server_process(
        ("-m", "flasknado.process.cli", *arguments), cwd=directory, env=env
    ) as server:
        yield server


def commands(example: Example) -> list[tuple[str, list[str]]]:
    """Return each command of a console example with the lines that it is said to print."""
    parts = re.split(r"^\$ (.*)$", example.text, flags=re.M)[1:]
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return [(command, printed.strip().splitlines()) for command, printed in pairs]


def curl(server: ServerProcess, command: str, count: int, directory: Path) -> list[str]:
    """Run a command of curl in a directory and return the first `count` lines that it prints."""
    program, *arguments = shlex.split(command.replace(PLACE, f"127.0.0.1:{server.port}"))
    limits = ["-sS", "--max-time", str(DEADLINE_S)]
    with subprocess.Popen(
        [need(program), *limits, *arguments], cwd=directory, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().rstrip("\n") for _ in range(count)]
        if "-N" in arguments:
            process.kill()  # an endless answer; the others end by themselves, cookies written
    return lines


def flask(command: str, directory: Path) -> list[str]:
    """Run a command of flask beside the application and return the lines that it prints."""
    return run([sys.executable, "-m", *shlex.split(command)], directory).splitlines()


def python(server: ServerProcess, example: Example, directory: Path) -> str:
    """Run an example in Python beside the application and return what it prints."""
    source = example.text.replace(PLACE, f"127.0.0.1:{server.port}")
    return run([sys.executable, "-c", source], directory)


def run(arguments: list[str], directory: Path) -> str:
    """Run a program that imports the application in a directory; returns what it prints."""
    done = subprocess.run(
        arguments,
        cwd=directory,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(directory), str(PROJECT_ROOT)))},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
