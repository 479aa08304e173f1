"""The examples, each run in the ways that its own words name."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path
from typing import Any

import requests

from tests.support.poll import poll
from tests.support.process import PROJECT_ROOT, ServerProcess, server_process

EXAMPLES = PROJECT_ROOT / "examples"
TIMEOUT_S = 20


def by_command(name: str, **env: str) -> AbstractContextManager[ServerProcess]:
    """Run the `flasknado` command that stands in an example."""
    match = re.search(r"flasknado (examples\.[^`\n]+)", (EXAMPLES / f"{name}.py").read_text())
    assert match is not None, f"{name}.py does not say how to run it"
    return server_process(
        ("-m", "flasknado.process.cli", "--bind", "127.0.0.1:0", *match[1].split()), env=env
    )


def by_python(name: str, cwd: Path, **env: str) -> AbstractContextManager[ServerProcess]:
    """Run `python examples/NAME.py`."""
    return server_process((str(EXAMPLES / f"{name}.py"),), cwd=cwd, env=env)


def get(url: str) -> requests.Response:
    return requests.get(url, timeout=TIMEOUT_S)


def test_hello_by_command() -> None:
    with by_command("hello") as server:
        assert get(server.url).text == "Hello, world!\n"
        assert server.stop() == 0


def test_hello_by_python(tmp_path: Path) -> None:
    with by_python("hello", tmp_path) as server:
        assert get(f"http://127.0.0.1:{server.port}").text == "Hello, world!\n"
        assert server.stop() == 0


def test_hello_is_ten_lines() -> None:
    lines = (EXAMPLES / "hello.py").read_text().partition('"""\n')[2].splitlines()
    assert len([line for line in lines if line]) <= 10


def look_at_ticks(url: str) -> None:
    """Log in at the Flask half, and be known at the native one, tick by tick."""
    with requests.Session() as session:
        before = session.get(url + "/ticks", timeout=TIMEOUT_S)
        assert before.text.splitlines()[0] == "tick 1, stranger"
        session.post(url + "/login", data={"name": "Ann"}, timeout=TIMEOUT_S)
        with session.get(url + "/ticks", stream=True, timeout=TIMEOUT_S) as ticks:
            came = [(time.monotonic(), line) for line in ticks.iter_lines(1)]
    assert [line.decode() for _, line in came] == [f"tick {n}, Ann" for n in range(1, 6)]
    assert came[-1][0] - came[0][0] > 0.2


def test_native_beside_flask_by_command() -> None:
    with by_command("native_beside_flask") as server:
        look_at_ticks(server.url)


def test_native_beside_flask_by_python(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = (str(EXAMPLES / "native_beside_flask.py"),)
    env = {"PORT": str(port)}
    with server_process(arguments, cwd=tmp_path, env=env, ready=False):
        poll(lambda: answers(port))
        look_at_ticks(f"http://127.0.0.1:{port}")


def answers(port: int) -> bool:
    with suppress(ConnectionError):
        socket.create_connection(("127.0.0.1", port)).close()
        return True
    return False


class Page:
    """The page of notes in one browser window, with its event stream."""

    def __init__(self, url: str) -> None:
        html = get(url).text
        self.notes = re.findall(r'<li id="note-[0-9]+">(.*?)</li>', html)
        match = re.search(r'EventSource\("(.+?)"\)', html)
        assert match is not None, html
        self.stream = requests.get(url + match[1], stream=True, timeout=TIMEOUT_S)
        assert self.stream.status_code == 200, self.stream.text

    def events(self) -> Iterator[dict[str, Any]]:
        name = ""
        for line in self.stream.iter_lines(1):
            if line.startswith(b"event: "):
                name = line.removeprefix(b"event: ").decode()
            elif line.startswith(b"data: ") and name == "note.created":
                yield json.loads(line.removeprefix(b"data: "))
                name = ""

    def close(self) -> None:
        self.stream.close()


def write(url: str, text: str) -> None:
    assert requests.post(url, data={"text": text}, timeout=TIMEOUT_S).ok


def watch_notes(url: str) -> None:
    write(url, "before")
    with closing(Page(url)) as page:
        assert page.notes == ["before"]
        write(url, "first")
        write(url, "second")
        events = page.events()
        assert [next(events)["data"]["text"] for _ in range(2)] == ["first", "second"]
    with closing(Page(url)) as page:
        assert page.notes == ["before", "first", "second"]


def test_live_updates_by_command(tmp_path: Path) -> None:
    with by_command("live_updates", DATABASE=str(tmp_path / "notes.db")) as server:
        watch_notes(server.url)
        assert requests.post(server.url, data={}, timeout=TIMEOUT_S).status_code == 400
        refused = get(server.url + "/live/events?channel=other")
        assert refused.status_code == 403


def test_live_updates_by_python(tmp_path: Path) -> None:
    with by_python("live_updates", tmp_path) as server:
        watch_notes(f"http://127.0.0.1:{server.port}")
    assert (tmp_path / "notes.db").exists()


def test_tokens_by_command(tmp_path: Path) -> None:
    with (
        by_command("tokens", DATABASE=str(tmp_path / "tokens.db")) as server,
        requests.Session() as visitor,
    ):
        page = visitor.get(server.url, timeout=TIMEOUT_S).text
        match = re.search(r'EventSource\("(.+?)"\)', page)
        assert match is not None, page
        url = server.url + match[1].replace("&amp;", "&")
        said = visitor.post(server.url + "/ask", data={"prompt": "why?"}, timeout=TIMEOUT_S).json()
        tokens: list[str] = []
        with visitor.get(url, stream=True, timeout=TIMEOUT_S) as stream:
            for line in stream.iter_lines(1):
                if line.startswith(b"data: "):
                    event = json.loads(line.removeprefix(b"data: "))
                    assert event["data"]["run"] == said["run"]
                    if event["event"] == "run.finished":
                        break
                    tokens.append(event["data"].get("data", ""))
        assert "".join(tokens).startswith("You asked: why? And this")
        assert get(url).status_code == 403  # who has not asked may not read
