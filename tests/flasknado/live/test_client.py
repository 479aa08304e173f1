"""The Python client at real servers."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from flasknado.live.client import AsyncClient, Client, LiveEvent, Reset, SubscriptionRefused
from flasknado.live.errors import LiveError
from tests.browser.servers import kill, running
from tests.flasknado.live.helpers import DEADLINE_S, LiveApp, wait_for
from tests.support.serving import Serving


@pytest.fixture
def url(served: Serving) -> str:
    return served.url + "/live"


def take(client: Client, count: int) -> list[Any]:
    return [event.data for event in islice(client, count)]


@contextmanager
def answering(*answers: bytes) -> Iterator[str]:
    """Answer one request after another with these bytes, each on a connection of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as thread:

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        served = thread.submit(serve)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/live"
        served.result(DEADLINE_S)


def test_client_iterates_over_what_was_missed_and_what_comes(live_app: LiveApp, url: str) -> None:
    cursor = live_app.cursor()
    live_app.publish("a", "b", "c", data={"n": 1})
    with Client(url, ["a", "b"], after=cursor) as client:
        first, second = islice(client, 2)
        live_app.publish("b", data="zwei", name="said")
        third = next(client)
    epoch = cursor.split(":")[0]
    assert first == LiveEvent(f"{epoch}:1", "a", "note", {"n": 1})
    assert second == LiveEvent(f"{epoch}:2", "b", "note", {"n": 1})
    assert third == LiveEvent(f"{epoch}:4", "b", "said", "zwei")
    assert client.cursor == third.id


def test_client_without_a_cursor_begins_with_what_comes(live_app: LiveApp, url: str) -> None:
    live_app.publish("a", data="before")
    with Client(url, "a") as client, ThreadPoolExecutor(1) as thread:
        event = thread.submit(next, client)
        wait_for(lambda: client.cursor)
        live_app.publish("a", data="after")
        assert event.result(DEADLINE_S).data == "after"


def test_client_begins_with_the_newest_events_of_each_channel(live_app: LiveApp, url: str) -> None:
    for number in range(4):
        live_app.publish("a", data=number)
    live_app.publish("b", data="b")
    with Client(url, ["a", "b", "c"], last=2) as client:
        assert take(client, 2) == [2, 3]
        assert client.cursor is None  # what is still to come would be missed from any
        assert take(client, 1) == ["b"]
        assert client.cursor == live_app.cursor()
        live_app.publish("a", data=4)
        assert take(client, 1) == [4]
    with Client(url, ["a"], last=2, after=live_app.cursor()) as client:
        live_app.publish("a", data=5)
        assert take(client, 1) == [5]
    with Client(url, ["c"], last=2) as client, ThreadPoolExecutor(1) as thread:
        event = thread.submit(next, client)
        wait_for(lambda: client.cursor)
        live_app.publish("c", data=6)
        assert event.result(DEADLINE_S).data == 6


def test_newest_events_come_once_though_the_connection_is_lost_among_them() -> None:
    line = b'{"id":"e:%d","channel":"a","event":"note","data":%d}\n'
    beat = b'{"id":"e:%d","channel":null,"event":"heartbeat","data":null}\n'
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    away = b'{"id":"e:2","channel":null,"event":"reconnect","data":{"retry_s":0.01,"ticket":"t"}}\n'
    answers = (
        head + line % (1, 1),
        head + line % (1, 1) + away,
        head + line % (1, 1) + line % (2, 2) + beat % 5,
        head + line % (6, 6),
    )
    with answering(*answers) as url, Client(url, ["a"], last=2, retry_s=0.01) as client:
        assert [(event.data, client.cursor) for event in islice(client, 3)] == [
            (1, None),
            (2, "e:5"),
            (6, "e:6"),
        ]
    answers = (head + (line % (1, 1)) * 3,)
    with (
        answering(*answers) as url,
        Client(url, ["a"], last=2, retry_s=0.01) as client,
        pytest.raises(LiveError, match="more than the last 2 events"),
    ):
        next(client)
    for last in (-1, True, "5"):
        with pytest.raises(ValueError, match="last is a number of events, not"):
            Client(url, ["a"], last=last)  # type: ignore[arg-type]


def test_client_goes_on_after_the_server_was_killed(
    make_live_app: Callable[..., LiveApp], tmp_path: Path
) -> None:
    publisher = make_live_app()
    cursor = publisher.cursor()
    publisher.publish("a", data=1)
    with running(tmp_path) as server:
        client = Client(server.url + "/live", ["a"], after=cursor, retry_s=0.05)
        assert take(client, 1) == [1]
        kill(server)
    publisher.publish("a", data=2)
    with running(tmp_path, server.port), client:
        publisher.publish("a", data=3)
        assert take(client, 2) == [2, 3]


def test_client_comes_back_by_ticket_after_a_deploy(
    make_live_app: Callable[..., LiveApp], tmp_path: Path
) -> None:
    publisher = make_live_app()
    cursor = publisher.cursor()

    def asked() -> int:
        return len((tmp_path / "asked").read_text().splitlines())

    with running(tmp_path) as server, ThreadPoolExecutor(1) as thread:
        client = Client(server.url + "/live", ["a", "b"], after=cursor)
        events = thread.submit(take, client, 3)
        publisher.publish("a", data=1)
        wait_for(lambda: client.cursor == publisher.cursor())
        server.stop()
        publisher.publish("b", data=2)
        with running(tmp_path, server.port), client:
            publisher.publish("a", data=3)
            assert events.result(DEADLINE_S) == [1, 2, 3]
            assert asked() == 2


def test_client_with_a_cursor_of_another_log_is_told_and_may_go_on(
    live_app: LiveApp, url: str
) -> None:
    live_app.publish("a", data="missed")
    with Client(url, ["a"], after="0ther:7") as client:
        with pytest.raises(Reset) as caught:
            next(client)
        assert caught.value.cursor == client.cursor == live_app.cursor()
        live_app.publish("a", data="after")
        assert take(client, 1) == ["after"]


def test_client_refused_by_the_application_says_why(url: str) -> None:
    with (
        Client(url, ["user:ann"]) as client,
        pytest.raises(SubscriptionRefused, match="'user:ann'") as caught,
    ):
        next(client)
    assert caught.value.status == 403


def test_client_sends_its_headers_and_a_fresh_token_each_time(live_app: LiveApp, url: str) -> None:
    cursor = live_app.cursor()
    live_app.publish("user:ann", data=1)
    with Client(url, ["user:ann"], after=cursor, headers={"X-User": "ann"}) as client:
        assert take(client, 1) == [1]
    asked: list[str] = []

    @live_app.live.authorize
    def may_read(channel: str) -> bool:
        from flask import request

        asked.append(request.headers["Authorization"])
        return True

    for token in ("fixed", lambda: "made"):
        with Client(url, ["a"], after=cursor, token=token) as client:  # type: ignore[arg-type]
            live_app.publish("a", data=2)
            take(client, 1)
    assert asked == ["Bearer fixed", "Bearer made"]


def test_client_closed_by_another_thread_stops_waiting(url: str) -> None:
    client = Client(url, ["a"])
    with ThreadPoolExecutor(1) as thread:
        events = thread.submit(list, client)
        wait_for(lambda: client.cursor)
        client.close()
        assert events.result(DEADLINE_S) == []
    assert list(client) == []


def test_client_closed_while_it_waits_to_connect_again_stops() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    client = Client(f"http://127.0.0.1:{port}/live", ["a"], retry_s=1000, max_retry_s=1000)
    with ThreadPoolExecutor(1) as thread:
        events = thread.submit(list, client)
        wait_for(lambda: client._failures)
        client.close()
        assert events.result(DEADLINE_S) == []


def test_client_tries_again_after_the_time_that_the_server_asks_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = b'{"id":"e:%d","channel":"a","event":"note","data":%d}\n'
    answers = (
        b"HTTP/1.1 503 Busy\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n<html>\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + line % (1, 7) + (line % (2, 8))[:20],
        b"HTTP/1.1 200 OK\r\n\r\n" + line % (2, 8),
    )
    waits: list[float] = []
    with answering(*answers) as url, Client(url, ["a"], retry_s=0.01) as client:
        monkeypatch.setattr(client._closed, "wait", waits.append)
        assert take(client, 2) == [7, 8]
    assert 3 <= waits[0] < 3.1
    assert all(wait < 1 for wait in waits[1:])


def test_client_takes_a_silent_connection_for_dead(
    make_live_app: Callable[..., LiveApp], serve: Callable[[LiveApp], Serving]
) -> None:
    live_app = make_live_app(LIVE_HEARTBEAT_S=1000)
    served = serve(live_app)
    cursor = live_app.cursor()
    with (
        Client(served.url + "/live", ["a"], after=cursor, timeout_s=0.2, retry_s=0.01) as client,
        ThreadPoolExecutor(1) as thread,
    ):
        event = thread.submit(next, client)
        first = wait_for(lambda: client._socket)
        wait_for(lambda: client._socket not in (None, first))
        live_app.publish("a", data=1)
        assert event.result(DEADLINE_S).data == 1


def test_client_does_not_go_on_without_a_valid_certificate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = Client("https://127.0.0.1/live", ["a"])

    def fail() -> None:
        raise ssl.SSLCertVerificationError("not that host")

    monkeypatch.setattr(client, "_connect", fail)
    with pytest.raises(ssl.SSLCertVerificationError):
        next(client)


@pytest.mark.parametrize("url", ["ftp://example.org", "example.org/live", "http://x:port/"])
def test_client_of_a_bad_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|[Pp]ort"):
        Client(url, ["a"])


def test_client_without_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="channels is empty"):
        Client("http://127.0.0.1/live", [])


def test_async_client_iterates_and_ends_when_closed(live_app: LiveApp, url: str) -> None:
    cursor = live_app.cursor()
    live_app.publish("a", "a", "a", data=1)

    async def read() -> list[str | None]:
        ids: list[str | None] = []
        async with AsyncClient(url, ["a"], after=cursor) as client:
            async for event in client:
                ids.append(event.id)
                if len(ids) == 3:
                    client.close()
            assert client.cursor == ids[-1]
        return ids

    ids = asyncio.run(asyncio.wait_for(read(), DEADLINE_S))
    assert [str(id_).split(":")[1] for id_ in ids] == ["1", "2", "3"]


def test_async_client_that_is_cancelled_lets_its_thread_go(live_app: LiveApp, url: str) -> None:
    async def read() -> None:
        client = AsyncClient(url, ["a"])
        waiting = asyncio.ensure_future(anext(client))
        while client.cursor is None:
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        with pytest.raises(StopAsyncIteration):
            await anext(client)

    asyncio.run(asyncio.wait_for(read(), DEADLINE_S))

    def threads() -> list[str]:
        return [thread.name for thread in threading.enumerate()]

    wait_for(lambda: not any(name.startswith("flasknado-live-client") for name in threads()))
