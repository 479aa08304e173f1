"""The same walk through a product under two servers, and what is compared of the answers."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import requests

from tests.support.process import PROJECT_ROOT, ServerProcess

TIMEOUT_S = 60
COMPARED = ("Content-Type", "Location", "Content-Disposition", "Cache-Control", "WWW-Authenticate")


class Answer(NamedTuple):
    """What an answer comes to, whichever server sends it."""

    step: str
    status: int
    fields: tuple[str | None, ...]
    content: bytes


class Walker(requests.Session):
    """A client that keeps what it was answered, without what differs from run to run.

    Of every answer, the address of the server and all that matches `varying` (regular
    expressions) is left out.
    """

    def __init__(self, url: str, *varying: str) -> None:
        super().__init__()
        self.url = url
        self.answers: list[Answer] = []
        address = re.escape(url.partition("//")[2])
        self._varying = re.compile("|".join((address, *varying)).encode())

    def step(self, method: str, path: str, **options: object) -> requests.Response:
        """Make a request, whose answer is compared later; redirects are not followed."""
        options = {"timeout": TIMEOUT_S, "allow_redirects": False, **options}
        answer = self.request(method, self.url + path, **options)  # type: ignore[arg-type]
        fields = (answer.headers.get(name) for name in COMPARED)
        self.answers.append(
            Answer(
                f"{method} {path}",
                answer.status_code,
                tuple(text and self._constant(text.encode()).decode() for text in fields),
                self._constant(answer.content),
            )
        )
        return answer

    def _constant(self, content: bytes) -> bytes:
        return self._varying.sub(b"~", content)


def assert_same(stock: list[Answer], ported: list[Answer]) -> None:
    """Fail with the first step whose answers differ."""
    for first, second in zip(stock, ported, strict=True):
        if second != first:
            lines = zip(_lines(first), _lines(second), strict=False)
            differing = [pair for pair in lines if pair[0] != pair[1]]
            raise AssertionError(f"{first.step}: {first[1:3]} and {second[1:3]}; {differing[:5]}")


def _lines(answer: Answer) -> list[bytes]:
    return re.split(rb"\n|(?=<)|(?=,)", answer.content)


def free_port() -> int:
    """Return a port for a product that cannot be told to take any."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_until_answering(server: ServerProcess, url: str, status: int = 200) -> None:
    """Wait until a product that does not say so is ready."""
    ends = time.monotonic() + TIMEOUT_S
    while True:
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(url, timeout=TIMEOUT_S, allow_redirects=False).status_code == status:
                return
        assert time.monotonic() < ends, f"{url} does not answer {status}:\n{server.output}"
        assert server.process.poll() is None, f"the server has ended:\n{server.output}"
        time.sleep(0.1)


def apply_diff(diff: str, root: Path) -> None:
    """Change files as a unified diff says; what it takes away must be there, and once."""
    for path, old, new in _hunks(diff):
        file = root / path
        text = file.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{path} does not have once:\n{old}"
        file.unlink()  # it may be a link to the original
        file.write_text(text.replace(old, new), encoding="utf-8")


def _hunks(diff: str) -> Iterator[tuple[str, str, str]]:
    path = ""
    old: list[str] = []
    new: list[str] = []
    for line in [*diff.splitlines(keepends=True), "@@ end"]:
        if line.startswith(("--- ", "+++ ", "@@")):
            if old or new:
                yield path, "".join(old), "".join(new)
                old, new = [], []
            if line.startswith("+++ "):
                path = line.split()[1].removeprefix("b/")
        else:
            if line[:1] != "+":
                old.append(line[1:])
            if line[:1] != "-":
                new.append(line[1:])


def linked_copy(package: Path, folder: Path, changed: Mapping[str, object] | set[str]) -> None:
    """Copy a package into a folder by links, but for the folders on the way to changed files."""
    target = folder / package.name
    target.mkdir(parents=True)
    inside = {path.partition("/")[2] for path in changed if path.startswith(package.name + "/")}
    for entry in package.iterdir():
        if entry.is_dir() and any(path.startswith(entry.name + "/") for path in inside):
            linked_copy(entry, target, inside)
        elif entry.name != "__pycache__":
            (target / entry.name).symlink_to(entry)


def diffs_of(page: str, path: str) -> str:
    """Return the diff of one file that a page of the documentation shows."""
    text = (PROJECT_ROOT / "docs" / page).read_text(encoding="utf-8")
    for block in re.findall(r"^```diff\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if f"+++ b/{path}\n" in block:
            return str(block)
    raise AssertionError(f"{page} shows no diff of {path}")
