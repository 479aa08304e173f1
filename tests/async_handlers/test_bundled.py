"""The native handlers beside the bundled application: search, chat, summary and pulse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.support.person import Person
from tests.support.poll import poll
from tests.support.process import ServerProcess, server_process

TIMEOUT_S = 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder: Path = tmp_path_factory.mktemp("bundled")
    env = {
        "DATABASE_URL": f"sqlite:///{folder}/app.db",
        "UPLOAD_DIR": f"{folder}/uploads",
        "SECRET_KEY": "a-secret-for-tests-that-is-long-enough-to-pass",
        "THREADS": "3",
    }
    with server_process(env=env) as server:
        yield server


@pytest.fixture(scope="module")
def ada(server: ServerProcess) -> Person:
    ada = Person(server.url, "ada")
    ada.register()
    ada.write("Two halves", "Both share one port. " * 12)
    return ada


def open_socket(server: ServerProcess, path: str, **headers: str) -> ClientConnection:
    """Return a connection, to be used in a `with` statement."""
    return connect(
        server.url.replace("http", "ws") + path, additional_headers=headers, open_timeout=TIMEOUT_S
    )


def ask(socket: ClientConnection, message: str) -> Any:
    socket.send(message)
    return json.loads(socket.recv(timeout=TIMEOUT_S))


def press(server: ServerProcess, button: str, **headers: str) -> requests.Response:
    fields = {"Origin": server.url} | headers
    return requests.post(f"{server.url}/pulse/{button}", headers=fields, timeout=TIMEOUT_S)


def beats(server: ServerProcess) -> Iterator[dict[str, float]]:
    """Yield what the pulse says, once a second."""
    with requests.get(f"{server.url}/pulse/stream", stream=True, timeout=TIMEOUT_S) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines(chunk_size=1):
            if line.startswith(b"data: "):
                yield json.loads(line.removeprefix(b"data: "))


# --- Search -------------------------------------------------------------------------------------


def test_search_answers_each_query_with_the_posts_that_the_api_finds(
    server: ServerProcess, ada: Person
) -> None:
    with open_socket(server, "/live/search") as socket:
        found = ask(socket, " two hal ")
        nothing = ask(socket, "missing")

    assert found["query"] == "two hal"
    assert [post["title"] for post in found["posts"]] == ["Two halves"]
    assert nothing == {"query": "missing", "posts": [], "people": []}
    api = ada.get("/api/v1/search?q=two hal").json()
    # Without the texts, which nobody reads while typing.
    assert found["posts"] == [
        {name: value for name, value in post.items() if name != "body"} for post in api["posts"]
    ]


def test_search_of_many_queries_at_once_answers_the_last(
    server: ServerProcess, ada: Person
) -> None:
    with open_socket(server, "/live/search") as socket:
        for number in range(200):
            socket.send(f"word{number}")
        socket.send("halves")
        answers = []
        while not answers or answers[-1]["query"] != "halves":
            answers.append(json.loads(socket.recv(timeout=TIMEOUT_S)))

    assert len(answers) < 50
    assert answers[-1]["posts"]


@pytest.mark.parametrize("message", [b"bytes", "x" * 1_001])
def test_search_for_what_is_no_query_is_closed(server: ServerProcess, message: str | bytes) -> None:
    with open_socket(server, "/live/search") as socket:
        socket.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=TIMEOUT_S)
    assert closed.value.rcvd is None or closed.value.rcvd.code in (1003, 1009)


# --- Chat ---------------------------------------------------------------------------------------


def test_chat_reaches_who_follows_its_channel(server: ServerProcess, ada: Person) -> None:
    with (
        open_socket(server, "/live/socket") as reader,
        open_socket(server, "/live/chat", **ada.token()) as writer,
    ):
        reader.send(json.dumps({"type": "subscribe", "channels": ["chat"]}))
        assert json.loads(reader.recv(timeout=TIMEOUT_S))["type"] == "subscribed"
        assert ask(writer, " Good\n<i>morning</i> ") == {}

        events = (json.loads(reader.recv(timeout=TIMEOUT_S)) for _ in range(10))
        said = next(event for event in events if event["event"] == "chat.said")
        assert said["data"]["author"] == "ada"
        assert said["data"]["text"] == "Good <i>morning</i>"


def test_chat_says_why_something_is_not_said(server: ServerProcess, ada: Person) -> None:
    with open_socket(server, "/live/chat") as nobody:
        assert "bearer token" in ask(nobody, "Hello")["error"]
    with open_socket(server, "/live/chat", **ada.token()) as writer:
        assert "cannot be empty" in ask(writer, "  ")["error"]
        assert "at most 500 characters" in ask(writer, "x" * 501)["error"]


def test_chat_of_who_says_too_much_at_once_is_closed(server: ServerProcess, ada: Person) -> None:
    with open_socket(server, "/live/chat", **ada.token()) as writer:

        def talk() -> None:
            for number in range(100):
                writer.send(f"Line {number}")
            while True:
                writer.recv(timeout=TIMEOUT_S)

        with pytest.raises(ConnectionClosed) as closed:
            talk()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


@pytest.mark.parametrize("path", ["/live/search", "/live/chat"])
def test_socket_of_another_sites_page_is_refused(server: ServerProcess, path: str) -> None:
    with (
        pytest.raises(InvalidStatus, match="403"),
        open_socket(server, path, Origin="https://evil.example"),
    ):
        pass


# --- Summary ------------------------------------------------------------------------------------


def test_summary_comes_word_by_word(server: ServerProcess, ada: Person) -> None:
    answer = ada.get("/live/summary?post=1", stream=True)
    assert answer.headers["Content-Type"] == "text/event-stream"
    lines = [line.decode() for line in answer.iter_lines(chunk_size=1) if line]

    words = [json.loads(line.removeprefix("data: ")) for line in lines[1:-2:2]]
    assert words[:4] == ["Both", "share", "one", "port."]
    assert len(" ".join(words)) <= 1_200
    assert lines[-2:] == ["event: done", "data: null"]


@pytest.mark.parametrize(("post", "status"), [("99", 404), ("x", 400), ("", 400), ("²", 400)])
def test_summary_of_nothing_is_refused(server: ServerProcess, post: str, status: int) -> None:
    answer = requests.get(f"{server.url}/live/summary", params={"post": post}, timeout=TIMEOUT_S)

    assert answer.status_code == status
    assert answer.json()["code"] == status


# --- Pulse --------------------------------------------------------------------------------------


def test_pulse_page_is_made_by_the_loop(server: ServerProcess) -> None:
    answer = requests.get(f"{server.url}/pulse", timeout=TIMEOUT_S)

    assert answer.status_code == 200
    assert "Hold 1,000 streams" in answer.text
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
    assert answer.text.count("data-chart=") == 9


def test_pulse_shows_busy_threads_while_they_are(server: ServerProcess) -> None:
    stream = beats(server)
    next(stream)
    answer = press(server, "busy-threads")
    assert answer.json() == {"message": "3 threads are busy for 3 seconds."}
    assert press(server, "busy-threads").status_code == 409

    while next(stream)["threads_busy"] != 3:
        pass
    # Native handlers answer meanwhile.
    assert requests.get(f"{server.url}/pulse", timeout=TIMEOUT_S).status_code == 200
    while (beat := next(stream))["requests_flask"] < 1:
        pass
    assert beat["latency_ms"] >= 2_900
    stream.close()
    poll(lambda: press(server, "busy-threads").status_code, (200).__eq__)


def test_pulse_holds_streams_and_delivers_events_to_them(server: ServerProcess) -> None:
    stream = beats(server)
    next(stream)
    held = press(server, "hold-streams").json()["message"]
    count = int(held.split()[0])
    assert 0 < count <= 1_000
    assert press(server, "publish").json() == {"message": "1000 events are published."}

    delivered = 0.0
    while delivered < count * 500:
        beat = next(stream)
        delivered += beat["events"]
    assert beat["subscribers"] >= count
    stream.close()


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}])
def test_pulse_buttons_are_for_its_own_page(server: ServerProcess, headers: dict[str, str]) -> None:
    assert press(server, "publish", **headers).status_code == 403
    bare = requests.post(f"{server.url}/pulse/publish", timeout=TIMEOUT_S)
    assert bare.status_code == 403


def test_busy_view_is_for_the_pulse_alone(server: ServerProcess) -> None:
    assert requests.get(f"{server.url}/busy/rubbish", timeout=TIMEOUT_S).status_code == 403
