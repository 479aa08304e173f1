"""The newest events of a channel, with which a subscription may begin."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flasknado.live.hub.hub import Hub
from flasknado.live.log import base
from tests.flasknado.live.helpers import LiveApp
from tests.flasknado.live.hub_client import Client, joined, joined_client, until, with_hub

MakeApp = Callable[..., LiveApp]
KINDS = ("sqlite", "postgresql", "memory")


@pytest.mark.parametrize("kind", KINDS)
def test_last_events_then_live_ones_come_without_a_gap_or_a_double(
    make: MakeApp, kind: str
) -> None:
    live_app = make(kind)

    async def joins(hub: Hub, watching: Client, n: int) -> None:
        client = Client(hub)
        hub.admit(client)
        hub.subscribe(client, ["a"], None, 3)
        live_app.publish("a", data=n)
        await joined(hub, client)
        live_app.publish("a", data=n)
        await until(lambda: len(watching.events()) == 4 + 3 * n, "the events")
        await until(lambda: client.events()[-1:] == watching.events()[-1:], "the last of them")
        assert len(client.events()) >= 3
        assert client.events() == watching.events()[-len(client.events()) :]
        hub.remove(client)

    async def body(hub: Hub) -> None:
        watching = await joined_client(hub, "a")
        live_app.publish("a", data=-1)
        for n in range(8):
            live_app.publish("a", "b", data=n)
            await joins(hub, watching, n)

    with_hub(live_app, body)


@pytest.mark.parametrize("kind", KINDS)
def test_last_events_have_buffered_ones_and_no_signals(make: MakeApp, kind: str) -> None:
    live_app = make(kind)

    async def body(hub: Hub) -> None:
        live_app.publish("a", data=1)
        with live_app.app.app_context():
            live_app.live.publish("a", "token", 2, buffered=True)
        live_app.log.flush()
        live_app.signal("a")
        live_app.settle()
        watching = await joined_client(hub, "a")
        client = Client(hub)
        hub.admit(client)
        hub.subscribe(client, ["a"], None, 5)
        await joined(hub, client)
        assert [m["data"] for m in client.received if m["channel"]] == [1, 2]
        assert watching.control("reset") == []

    with_hub(live_app, body)


def test_last_events_are_bounded_in_bytes_but_never_none(
    live_app: LiveApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "HISTORY_BYTES", 100)
    live_app.publish(*["a"] * 5, data="x" * 30)
    live_app.publish(*["b"] * 5, data="x" * 300)
    with live_app.app.app_context():
        history = live_app.log.history({"a": 5, "b": 5}, 10)
        assert [(e.channel, e.offset) for e in history] == [("a", 4), ("a", 5), ("b", 10)]
        assert [e.offset for e in live_app.log.history({"a": 5, "b": 5}, 4)] == [3, 4]
