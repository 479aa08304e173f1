"""A client of the hub in memory, and running a body beside a hub on a loop of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from flasknado.live.event import Cursor, parse_cursor
from flasknado.live.formats import NDJSON, GoAway
from flasknado.live.hub.hub import Hub, hub_of
from flasknado.live.hub.subscriber import Subscriber
from flasknado.live.state import state_of
from flasknado.live.tickets import NOBODY, Identity
from tests.flasknado.live.helpers import DEADLINE_S, LiveApp


class Client(Subscriber):
    """A client in memory, which keeps what it is sent."""

    def __init__(self, hub: Hub, identity: Identity = NOBODY, address: str | None = None) -> None:
        super().__init__(NDJSON, identity, address)
        self.hub = hub
        self.stalled = False
        self.received: list[dict[str, Any]] = []
        self.writes = 0
        self.beats: list[bytes | None] = []
        self.dismissed = self.aborted = self.expelled = False

    @property
    def idle(self) -> bool:
        return not self.stalled

    def send(self, data: bytes, cursor: Cursor) -> None:
        assert not self.gone
        self.writes += 1
        self.received.extend(json.loads(line) for line in data.splitlines())

    def beat(self, data: bytes | None) -> None:
        self.beats.append(data)

    def go_away(self, notice: GoAway) -> None:
        self.dismissed = True
        self.notice = notice

    def kick(self) -> None:
        self.expelled = True

    def abort(self) -> None:
        self.aborted = True

    def read_again(self) -> None:
        self.stalled = False
        self.hub.drained(self)

    def events(self) -> list[tuple[str, int]]:
        return [
            (message["channel"], parse_cursor(message["id"]).offset)
            for message in self.received
            if message["channel"] is not None
        ]

    def control(self, name: str) -> list[str]:
        return [m["id"] for m in self.received if m["channel"] is None and m["event"] == name]


async def until(condition: Callable[[], Any], what: str = "") -> Any:
    """Wait on the loop for the first true value of `condition()`."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + DEADLINE_S
    while True:
        value = condition()
        if value:
            return value
        assert loop.time() < ends, f"did not happen: {what}"
        await asyncio.sleep(0.001)


def with_hub(live_app: LiveApp, body: Callable[[Hub], Awaitable[None]]) -> None:
    """Run `body(hub)` on a loop of its own with a hub that has begun."""

    async def main() -> None:
        hub = hub_of(state_of(live_app.app))
        try:
            await hub.ready()
            await body(hub)
        finally:
            hub.close()

    asyncio.run(main())


def joined(hub: Hub, client: Client) -> Any:
    return until(lambda: hub.place_of(client) is not None, "the client to join")


async def joined_client(hub: Hub, *channels: str, after: Cursor | None = None) -> Client:
    client = Client(hub)
    hub.admit(client)
    hub.subscribe(client, channels, after)
    await joined(hub, client)
    return client
