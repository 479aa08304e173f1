"""Hooks of the application that hang: whoever they are asked for waits, and nobody else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flasknado.native import lane
from tests.flasknado.live.endpoints.test_websocket import opened
from tests.flasknado.live.helpers import LiveApp, SseClient, get, wait_for
from tests.support.serving import Serving

MakeApp = Callable[..., LiveApp]
Serve = Callable[[LiveApp], Serving]
HANGING = 4


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "HANGS_AFTER_S", 0.2)
    monkeypatch.setattr(lane, "LOOK_INTERVAL_S", 0.05)


class Hanging:
    """Hooks that hang for the channel `hang` until `release` is set."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.entered = threading.Semaphore(0)

    def install(self, live_app: LiveApp) -> None:
        @live_app.live.authorize
        def may_read(channel: str) -> bool:
            self._perhaps(channel)
            return True

        @live_app.live.on_message
        def on_message(channel: str, data: Any) -> Any:
            self._perhaps(data)
            return data

    def _perhaps(self, said: Any) -> None:
        if said == "hang":
            self.entered.release()
            self.release.wait(30)

    def wait_for(self, count: int) -> None:
        for _ in range(count):
            assert self.entered.acquire(timeout=15)


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    hanging = Hanging()
    yield hanging
    hanging.release.set()


def test_authorisations_that_hang_do_not_shut_out_others(
    make_live_app: MakeApp, serve: Serve, hanging: Hanging
) -> None:
    live_app = make_live_app(LIVE_AUTHORIZE_TIMEOUT_S=30)
    hanging.install(live_app)
    served = serve(live_app)
    with ThreadPoolExecutor(HANGING) as clients:
        asked = [
            clients.submit(get, served, "/live/poll", channel="hang", timeout_s=0)
            for _ in range(HANGING)
        ]
        hanging.wait_for(HANGING)
        for _ in range(3):
            with SseClient(served, "a").opened() as client:
                live_app.publish("a")
                client.read(1)
        assert not any(answer.done() for answer in asked)
        hanging.release.set()
        assert [answer.result()[0] for answer in asked] == [200] * HANGING


def test_authorisation_that_hangs_is_answered_503_with_retry(
    make_live_app: MakeApp, serve: Serve, hanging: Hanging
) -> None:
    live_app = make_live_app(LIVE_AUTHORIZE_TIMEOUT_S=0.5)
    hanging.install(live_app)
    served = serve(live_app)
    status, headers, body = get(served, "/live/events", channel="hang")
    assert (status, headers["Retry-After"]) == (503, "2")
    assert body["message"] == "the application did not answer within 0.5 s: try again later"
    with opened(served) as client:
        client.say(type="subscribe", channels=["hang"])
        error = client.hear()
        assert (error["type"], error["code"], error["channels"]) == ("error", 503, ["hang"])
        client.follow("a")


def test_messages_that_hang_do_not_hold_up_those_of_others(
    make_live_app: MakeApp, serve: Serve, hanging: Hanging
) -> None:
    live_app = make_live_app(LIVE_MESSAGE_THREADS=1, LIVE_MESSAGE_TIMEOUT_S=30)
    hanging.install(live_app)
    served = serve(live_app)
    with opened(served) as stuck, opened(served) as client:
        for each in (stuck, client):
            each.follow("a")
        stuck.say(type="message", channel="a", data="hang")
        hanging.wait_for(1)
        client.say(type="message", channel="a", data="hello", ref=1)
        assert client.hear_until(lambda m: m.get("type") == "reply")[-1]["data"] == "hello"


def test_authorisations_beyond_the_queue_are_answered_503_at_once(
    make_live_app: MakeApp, serve: Serve, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "HANGS_AFTER_S", 60)
    live_app = make_live_app(
        LIVE_AUTHORIZE_THREADS=1, LIVE_AUTHORIZE_QUEUE=1, LIVE_AUTHORIZE_TIMEOUT_S=30
    )
    hanging.install(live_app)
    served = serve(live_app)
    with ThreadPoolExecutor(4) as clients:
        hangs = clients.submit(get, served, "/live/poll", channel="hang", timeout_s=0)
        hanging.wait_for(1)
        others = [
            clients.submit(get, served, "/live/poll", channel="a", timeout_s=0) for _ in range(3)
        ]
        wait_for(lambda: [other.done() for other in others].count(True) == 2, "two to be refused")
        hanging.release.set()
        assert sorted(other.result()[0] for other in others) == [200, 503, 503]
        assert hangs.result()[0] == 200
