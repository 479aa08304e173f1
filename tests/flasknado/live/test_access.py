"""Who is let in, for how long, and how many: identity, expiry, revocation, tickets, limits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from flasknado.errors import FlasknadoError
from flasknado.live.errors import TooManySubscribers
from flasknado.live.hub.hub import Hub
from flasknado.live.tickets import Identity
from tests.flasknado.live.helpers import LiveApp
from tests.flasknado.live.hub_client import Client, joined_client, until, with_hub

MakeApp = Callable[..., LiveApp]
ANN = Identity("ann")


def admitted(hub: Hub, identity: Identity = ANN, address: str | None = None) -> Client:
    client = Client(hub, identity, address)
    hub.admit(client)
    return client


async def in_app(call: Callable[[], None]) -> None:
    await asyncio.to_thread(call)


def test_revoke_disconnects_that_user_only_when_it_commits(live_app: LiveApp) -> None:
    async def body(hub: Hub) -> None:
        ann, bob, nobody = admitted(hub), admitted(hub, Identity("bob")), admitted(hub, Identity())
        with live_app.app.app_context():
            live_app.live.revoke("ann")
            live_app.db.session.rollback()
            live_app.live.publish("a", "n")
            live_app.db.session.commit()
        head = live_app.cursor()
        await until(lambda: str(hub.cursor) == head)
        assert not ann.expelled
        live_app.revoke("ann")
        await until(lambda: ann.expelled, "ann to be disconnected")
        assert ann.gone
        assert not bob.gone
        assert not nobody.gone
        assert hub.stats()["gone"] == {"revoked": 1}

    with_hub(live_app, body)


def test_revocation_by_another_process_arrives(make_live_app: MakeApp) -> None:
    first, second = make_live_app(), make_live_app()

    async def body(hub: Hub) -> None:
        ann = admitted(hub)
        second.revoke("ann")
        await until(lambda: ann.expelled)

    with_hub(first, body)


def test_revocation_is_nobodys_event_and_captured_by_no_test(live_app: LiveApp) -> None:
    async def body(hub: Hub) -> None:
        client = await joined_client(hub, "a")
        with live_app.live.capture() as captured:
            live_app.revoke("ann")
            live_app.publish("a")
        await until(lambda: client.events() == [("a", 2)])
        assert [event.channel for event in captured] == ["a"]

    with_hub(live_app, body)


def test_access_ends_when_the_session_expires(make_live_app: MakeApp) -> None:
    live_app = make_live_app(LIVE_HEARTBEAT_S=0.1)

    async def body(hub: Hub) -> None:
        short = admitted(hub, Identity("ann", time.time() + 0.3))
        long = admitted(hub, Identity("ann", time.time() + 3600))
        await until(lambda: short.expelled, "the session to expire")
        assert time.time() >= short.expires_at  # type: ignore[operator]
        assert not long.gone
        assert hub.stats()["gone"] == {"expired": 1}

    with_hub(live_app, body)


def test_identity_that_comes_later_shortens_access_and_never_extends_it(
    make_live_app: MakeApp,
) -> None:
    live_app = make_live_app(LIVE_HEARTBEAT_S=0.1)

    async def body(hub: Hub) -> None:
        client = admitted(hub, Identity())
        hub.identify(client, Identity("ann", time.time() + 0.2))
        hub.identify(client, Identity("ann", time.time() + 3600))
        await until(lambda: client.expelled)

    with_hub(live_app, body)


def test_ticket_of_a_drained_client_admits_it_to_its_channels_on_another_hub(
    live_app: LiveApp,
) -> None:
    tickets: list[str] = []

    async def leave(hub: Hub) -> None:
        client = Client(hub, Identity("ann"))
        hub.admit(client)
        hub.subscribe(client, ["a", "b"], None)
        await until(lambda: hub.place_of(client))
        await hub.drain(0.0)
        assert str(client.notice.cursor) == live_app.cursor()
        assert client.notice.ticket is not None
        tickets.append(client.notice.ticket)

    async def come_back(hub: Hub) -> None:
        (ticket,) = tickets
        assert hub.gate.admits_by(ticket, ["a", "b"]) == Identity("ann")
        assert hub.gate.admits_by(ticket, ["b"]) == Identity("ann")
        assert hub.gate.admits_by(ticket, ["a", "c"]) is None
        assert hub.gate.admits_by(ticket + "x", ["a"]) is None

    with_hub(live_app, leave)
    with_hub(live_app, come_back)


@pytest.mark.parametrize("when", ["before the hub began", "while it runs"])
def test_ticket_issued_before_a_revocation_is_worthless(live_app: LiveApp, when: str) -> None:
    tickets = live_app.app.extensions["live"].tickets
    anns = tickets.issue(Identity("ann"), ["a"], time.time())
    bobs = tickets.issue(Identity("bob"), ["a"], time.time())
    if when == "before the hub began":
        live_app.revoke("ann")

    async def body(hub: Hub) -> None:
        if when == "while it runs":
            assert hub.gate.admits_by(anns, ["a"]) is not None
            live_app.revoke("ann")
            await until(lambda: hub.gate.admits_by(anns, ["a"]) is None)
        assert hub.gate.admits_by(anns, ["a"]) is None
        assert hub.gate.admits_by(bobs, ["a"]) is not None

    with_hub(live_app, body)


def test_user_has_a_limit_and_nobody_has_none(make_live_app: MakeApp) -> None:
    live_app = make_live_app(LIVE_MAX_PER_USER=2)

    async def body(hub: Hub) -> None:
        first, _ = admitted(hub), admitted(hub)
        with pytest.raises(TooManySubscribers, match="LIVE_MAX_PER_USER") as refused:
            admitted(hub)
        assert refused.value.status == 429
        unnamed = admitted(hub, Identity())
        with pytest.raises(TooManySubscribers):
            hub.identify(unnamed, ANN)
        for _ in range(3):
            admitted(hub, Identity())
        hub.remove(first)
        hub.remove(first)
        hub.identify(unnamed, ANN)
        with pytest.raises(TooManySubscribers):
            admitted(hub)

    with_hub(live_app, body)


def test_address_has_a_limit(make_live_app: MakeApp) -> None:
    live_app = make_live_app(LIVE_MAX_PER_ADDRESS=1, LIVE_MAX_PER_USER=1)

    async def body(hub: Hub) -> None:
        first = admitted(hub, address="10.0.0.1")
        with pytest.raises(TooManySubscribers, match=r"10\.0\.0\.1 has 1 live"):
            admitted(hub, Identity(), address="10.0.0.1")
        # Refused for its user, it counts for its address no more.
        for _ in range(2):
            with pytest.raises(TooManySubscribers, match="LIVE_MAX_PER_USER"):
                admitted(hub, address="10.0.0.2")
        hub.remove(first)
        admitted(hub, address="10.0.0.1")

    with_hub(live_app, body)


def test_census_is_empty_when_all_have_gone(live_app: LiveApp) -> None:
    async def body(hub: Hub) -> None:
        clients = [admitted(hub, Identity("ann", time.time() + 60), "10.0.0.1") for _ in range(3)]
        for client in clients:
            hub.remove(client)
        assert (hub._quota._of_user, hub._quota._of_address) == ({}, {})
        assert hub._expiring == set()

    with_hub(live_app, body)


def test_too_many_subscribers_is_one_of_flasknados_errors() -> None:
    assert issubclass(TooManySubscribers, FlasknadoError)
