"""Long-poll over real sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from flasknado.live.hub.hub import hub_of
from flasknado.live.state import state_of
from tests.flasknado.live.helpers import LiveApp, StreamClient, get, wait_for
from tests.support.serving import Serving, serving

POLL = "/live/poll"


def following(served: Serving, live_app: LiveApp) -> int:
    """Return how many channels are followed."""
    count: int = served.on_loop(
        lambda: hub_of(state_of(live_app.app), served.server).stats()["channels"]
    )
    return count


class Asking:
    """A poll that waits on a thread of its own."""

    def __init__(self, served: Serving, **query: Any) -> None:
        self.answer: tuple[int, Any, Any] | None = None
        self._thread = threading.Thread(target=self._ask, args=(served, query))
        self._thread.start()

    def _ask(self, served: Serving, query: dict[str, Any]) -> None:
        self.answer = get(served, POLL, **query)

    def result(self) -> Any:
        self._thread.join()
        assert self.answer is not None
        status, _, body = self.answer
        assert status == 200
        return body


def test_poll_with_events_waiting_is_answered_at_once(live_app: LiveApp, served: Serving) -> None:
    cursor = live_app.cursor()
    live_app.publish("a", data=1)
    live_app.publish("b", "a", data=2)
    status, headers, body = get(served, POLL, channel="a", after=cursor, timeout_s=30)
    assert status == 200
    assert headers["Cache-Control"] == "no-store"
    epoch = cursor.partition(":")[0]
    assert body == {
        "events": [
            {"id": f"{epoch}:1", "channel": "a", "event": "note", "data": 1},
            {"id": f"{epoch}:3", "channel": "a", "event": "note", "data": 2},
        ],
        "cursor": live_app.cursor(),
    }


def test_poll_with_nothing_waiting_is_answered_by_the_next_event(
    live_app: LiveApp, served: Serving
) -> None:
    asking = Asking(served, channel="a", after=live_app.cursor(), timeout_s=30)
    wait_for(lambda: following(served, live_app), "the poll to wait")
    live_app.publish("b")
    live_app.publish("a", data="here")
    body = asking.result()
    assert [event["data"] for event in body["events"]] == ["here"]
    assert body["cursor"] == live_app.cursor()
    wait_for(lambda: following(served, live_app) == 0, "the poll to be forgotten")


def test_poll_without_a_cursor_waits_for_what_comes_from_now(
    live_app: LiveApp, served: Serving
) -> None:
    live_app.publish("a", data="old")
    asking = Asking(served, channel="a", timeout_s=30)
    wait_for(lambda: following(served, live_app), "the poll to wait")
    live_app.publish("a", data="new")
    assert [event["data"] for event in asking.result()["events"]] == ["new"]


def test_poll_that_times_out_is_empty_with_the_present_cursor(
    live_app: LiveApp, served: Serving
) -> None:
    live_app.publish("b")
    _, _, body = get(served, POLL, channel="a", after=live_app.cursor(), timeout_s=0.05)
    assert body == {"events": [], "cursor": live_app.cursor()}


def test_poll_that_may_not_wait_still_gets_what_is_there(
    live_app: LiveApp, served: Serving
) -> None:
    cursor = live_app.cursor()
    live_app.publish("a")
    assert len(get(served, POLL, channel="a", after=cursor, timeout_s=0)[2]["events"]) == 1
    quiet = get(served, POLL, channel="quiet", after=cursor, timeout_s=0)[2]
    assert quiet == {"events": [], "cursor": live_app.cursor()}


def test_polls_one_after_another_miss_nothing(live_app: LiveApp, served: Serving) -> None:
    received: list[int] = []
    cursor = live_app.cursor()

    def publish() -> None:
        for number in range(60):
            live_app.publish("a", data=number)

    publisher = threading.Thread(target=publish)
    publisher.start()
    while len(received) < 60:
        _, _, body = get(served, POLL, channel="a", after=cursor, timeout_s=5)
        received += [event["data"] for event in body["events"]]
        cursor = body["cursor"]
    publisher.join()
    assert received == list(range(60))


def test_poll_of_a_long_log_comes_in_parts_that_miss_nothing(
    live_app: LiveApp, served: Serving
) -> None:
    cursor = live_app.cursor()
    live_app.publish(*["a"] * 450)
    sizes = []
    while sum(sizes) < 450:
        _, _, body = get(served, POLL, channel="a", after=cursor)
        sizes.append(len(body["events"]))
        cursor = body["cursor"]
        assert body["events"][-1]["id"] == cursor
    assert sizes == [200, 200, 50]


def test_poll_with_a_cursor_of_another_log_is_reset_at_once(
    live_app: LiveApp, served: Serving
) -> None:
    live_app.publish("a")
    _, _, body = get(served, POLL, channel="a", after="other:1", timeout_s=30)
    head = live_app.cursor()
    reset = {"id": head, "channel": None, "event": "reset", "data": None}
    assert body == {"events": [reset], "cursor": head}


@pytest.mark.parametrize("timeout_s", ["-1", "61", "nan", "soon", "inf", ""])
def test_poll_with_a_bad_timeout_is_refused(served: Serving, timeout_s: str) -> None:
    status, _, body = get(served, POLL, channel="a", timeout_s=timeout_s)
    assert (status, body["code"]) == (400, 400)
    assert "from 0 to 60" in body["message"]


def test_poll_of_a_forbidden_channel_is_refused(served: Serving) -> None:
    assert get(served, POLL, channel="user:bob", timeout_s=0)[0] == 403


def test_poll_whose_client_leaves_is_forgotten(live_app: LiveApp, served: Serving) -> None:
    with socket.create_connection(served.address) as client:
        client.sendall(b"GET /live/poll?channel=a HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for(lambda: following(served, live_app), "the poll to wait")
    wait_for(lambda: following(served, live_app) == 0, "the poll to be forgotten")


def test_drain_answers_waiting_polls_at_once(live_app: LiveApp) -> None:
    began_at = time.monotonic()
    with serving(live_app.server) as served:
        asking = Asking(served, channel="a", timeout_s=60)
        wait_for(lambda: following(served, live_app), "the poll to wait")
    assert asking.result() == {"events": [], "cursor": live_app.cursor()}
    assert time.monotonic() - began_at < 20


def test_poll_during_an_outage_that_begins_after_it_gives_503_in_time(
    make_live_app: Callable[..., LiveApp],
    serve: Callable[[LiveApp], Serving],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    live_app = make_live_app()
    served = serve(live_app)
    with StreamClient(served, "/live/ndjson", channel="a") as client:
        next(client.lines())
        monkeypatch.setattr("flasknado.live.endpoints.poll.READY_TIMEOUT_S", 0.1)
        monkeypatch.setattr("flasknado.live.log.tables.read_bounds", lambda connection: 1 / 0)
        status, _, body = get(served, POLL, channel="a", timeout_s=0)
    assert (status, body["code"]) == (503, 503)
