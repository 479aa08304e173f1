"""Who is let in, for how long, and how many: identity, expiry, revocation, tickets, limits."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from flasknado.errors import FlasknadoError
from flasknado.live.errors import AccessChanged, LogUnavailable, TooManySubscribers
from flasknado.live.event import REVOCATIONS, Cursor, parse_cursor
from flasknado.live.hub import revocations
from flasknado.live.hub.hub import Hub
from flasknado.live.log import reader, tables
from flasknado.live.tickets import Access, Identity
from tests.flasknado.live.helpers import LiveApp
from tests.flasknado.live.hub_client import Client, joined_client, until, with_hub

MakeApp = Callable[..., LiveApp]
ANN = Identity("ann")


def admitted(hub: Hub, identity: Identity = ANN, address: str | None = None) -> Client:
    client = Client(hub, identity, address)
    hub.admit(client)
    return client


def now(identity: Identity) -> Access:
    return Access(identity, time.monotonic())


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
        assert hub.identify(client, now(Identity("ann", time.time() + 0.2)))
        assert hub.identify(client, now(Identity("ann", time.time() + 3600)))
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
        for channels in (["a", "b"], ["b"]):
            access = hub.revocations.admits_by(ticket, channels)
            assert access is not None
            assert access.identity == Identity("ann")
        assert hub.revocations.admits_by(ticket, ["a", "c"]) is None
        assert hub.revocations.admits_by(ticket + "x", ["a"]) is None

    with_hub(live_app, leave)
    with_hub(live_app, come_back)


@pytest.mark.parametrize("when", ["before the hub began", "while it runs"])
def test_ticket_issued_before_a_revocation_is_worthless(live_app: LiveApp, when: str) -> None:
    tickets = live_app.app.extensions["live"].tickets
    place = parse_cursor(live_app.cursor())
    anns = tickets.issue(Identity("ann"), ["a"], place, time.time())
    bobs = tickets.issue(Identity("bob"), ["a"], place, time.time())
    if when == "before the hub began":
        live_app.revoke("ann")

    async def body(hub: Hub) -> None:
        if when == "while it runs":
            assert hub.revocations.admits_by(anns, ["a"]) is not None
            live_app.revoke("ann")
            await until(lambda: hub.revocations.admits_by(anns, ["a"]) is None)
        assert hub.revocations.admits_by(anns, ["a"]) is None
        assert hub.revocations.admits_by(bobs, ["a"]) is not None

    with_hub(live_app, body)


def test_ticket_issued_after_a_revocation_is_good_at_once_whatever_the_clocks_say(
    live_app: LiveApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    tickets = live_app.app.extensions["live"].tickets
    before = parse_cursor(live_app.cursor())
    live_app.revoke("ann")
    after = parse_cursor(live_app.cursor())
    clock = time.time

    async def body(hub: Hub) -> None:
        for offset_s in (-3600, 0, 3600):
            monkeypatch.setattr(time, "time", lambda offset_s=offset_s: clock() + offset_s)
            # A machine whose clock is ahead, or behind.
            for skew_s in (-30, 30):
                issued_at = time.time() + skew_s
                old = tickets.issue(ANN, ["a"], before, issued_at)
                new = tickets.issue(ANN, ["a"], after, issued_at)
                assert hub.revocations.admits_by(old, ["a"]) is None
                assert hub.revocations.admits_by(new, ["a"]) is not None

    with_hub(live_app, body)


def test_ticket_of_another_log_or_of_before_what_is_known_is_not_taken(
    live_app: LiveApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "REVOCATIONS_LIMIT", 3)
    monkeypatch.setattr(revocations, "REVOCATIONS_LIMIT", 3)
    tickets = live_app.app.extensions["live"].tickets
    places = [parse_cursor(live_app.cursor())]
    for n in range(5):
        live_app.revoke(f"user {n}")
        places.append(parse_cursor(live_app.cursor()))

    def good(hub: Hub, place: Cursor, user: str | None = "ann") -> bool:
        ticket = tickets.issue(Identity(user), ["a"], place, time.time())
        return hub.revocations.admits_by(ticket, ["a"]) is not None

    async def body(hub: Hub) -> None:
        assert [good(hub, place) for place in places] == [False] * 2 + [True] * 4
        assert good(hub, places[0], user=None)
        assert not good(hub, Cursor("other", 5))
        live_app.revoke("user 5")
        await until(lambda: not good(hub, places[2]))
        assert good(hub, places[3])
        # Access of which it is not known any more whether it was revoked.
        assert not hub.revocations.upholds(Access(ANN, 0.0))

    with_hub(live_app, body)


def test_revocation_of_a_generation_ends_clients_and_tickets_of_others(live_app: LiveApp) -> None:
    tickets = live_app.app.extensions["live"].tickets
    place = parse_cursor(live_app.cursor())
    asked_at = time.monotonic()

    def ticket(generation: int | None) -> str:
        text: str = tickets.issue(Identity("ann", None, generation), ["a"], place, time.time())
        return text

    def revoke(generation: int | None) -> None:
        with live_app.app.app_context():
            live_app.live.revoke("ann", generation=generation)
            live_app.db.session.commit()

    async def body(hub: Hub) -> None:
        old, new, none = (
            admitted(hub, Identity("ann", None, generation)) for generation in (1, 2, None)
        )
        revoke(2)
        await until(lambda: old.expelled and none.expelled)
        assert not new.gone
        assert hub.revocations.admits_by(ticket(2), ["a"])
        for generation in (1, None):
            assert hub.revocations.admits_by(ticket(generation), ["a"]) is None
            with pytest.raises(AccessChanged):
                hub.check(Access(Identity("ann", None, generation), asked_at))
        hub.check(Access(Identity("ann", None, 2), asked_at))
        revoke(None)
        await until(lambda: new.expelled)
        revoke(2)  # what all lost stays lost
        head = live_app.cursor()
        await until(lambda: str(hub.cursor) == head)
        assert hub.revocations.admits_by(ticket(2), ["a"]) is None
        with pytest.raises(AccessChanged):
            hub.check(Access(Identity("ann", None, 2), asked_at))
        again = tickets.issue(Identity("ann", None, 2), ["a"], parse_cursor(head), time.time())
        assert hub.revocations.admits_by(again, ["a"])
        assert hub.revocations.admits_by(
            tickets.issue(Identity("bob"), ["a"], place, time.time()), ["a"]
        )

    with_hub(live_app, body)


def test_client_is_not_counted_in_after_a_revocation_of_its_user(live_app: LiveApp) -> None:
    async def body(hub: Hub) -> None:
        asked_at = time.monotonic()
        unnamed = admitted(hub, Identity())
        live_app.revoke("ann")
        head = live_app.cursor()
        await until(lambda: str(hub.cursor) == head)
        with pytest.raises(AccessChanged, match="try again"):
            hub.admit(Client(hub, ANN), asked_at)
        with pytest.raises(AccessChanged):
            hub.identify(unnamed, Access(ANN, asked_at))
        hub.admit(Client(hub, Identity("bob")), asked_at)
        hub.admit(Client(hub, Identity()), asked_at)
        hub.admit(Client(hub, ANN), time.monotonic())
        assert hub.identify(unnamed, now(ANN))
        assert hub.stats()["subscribers"] == 4

    with_hub(live_app, body)


def test_client_that_says_it_is_somebody_else_is_not_identified(live_app: LiveApp) -> None:
    async def body(hub: Hub) -> None:
        ann = admitted(hub, Identity("ann", None, 1))
        assert hub.identify(ann, now(Identity("ann", None, 1)))
        for other in (Identity("bob", None, 1), Identity(), Identity("ann", None, 2), ANN):
            assert not hub.identify(ann, now(other))
        assert ann.identity == Identity("ann", None, 1)

    with_hub(live_app, body)


def test_hub_that_is_draining_counts_nobody_in(live_app: LiveApp) -> None:
    async def body(hub: Hub) -> None:
        await hub.drain(0.0)
        client = Client(hub, ANN)
        with pytest.raises(LogUnavailable, match="restarting"):
            hub.admit(client, time.monotonic())
        hub.remove(client)
        assert hub._quota._of_user == {}

    with_hub(live_app, body)


def test_log_that_was_replaced_ends_the_access_of_whoever_may_have_been_revoked(
    live_app: LiveApp,
) -> None:
    async def body(hub: Hub) -> None:
        nobody = await joined_client(hub, "a")
        ann = admitted(hub)
        asked_at = time.monotonic()
        with live_app.engine().begin() as connection:
            connection.execute(sa.update(tables.live_log).values(epoch="renewed"))
        await until(lambda: nobody.control("reset"))
        assert ann.expelled
        assert not nobody.gone
        with pytest.raises(AccessChanged):
            hub.admit(Client(hub, ANN), asked_at)
        hub.admit(Client(hub, ANN), time.monotonic())
        assert hub.stats()["gone"] == {"log_replaced": 1}

    with_hub(live_app, body)


@pytest.mark.parametrize("data", ["nonsense", "[]", "{}", '{"user": ""}', '{"user": null}'])
def test_revocation_that_says_nothing_is_logged_and_delivery_goes_on(
    live_app: LiveApp, data: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(hub: Hub) -> None:
        client = await joined_client(hub, "a")
        for _ in range(2 * reader.REPORTS_UNDERWAY):
            with live_app.app.app_context():
                live_app.log.append([tables.Draft(REVOCATIONS, "revoke", data)])
        live_app.publish("a")
        await until(lambda: client.events())

    with_hub(live_app, body)
    assert "is not a revocation" in caplog.text


def test_user_has_a_limit_and_nobody_has_none(make_live_app: MakeApp) -> None:
    live_app = make_live_app(LIVE_MAX_PER_USER=2)

    async def body(hub: Hub) -> None:
        first, _ = admitted(hub), admitted(hub)
        with pytest.raises(TooManySubscribers, match="LIVE_MAX_PER_USER") as refused:
            admitted(hub)
        assert refused.value.status == 429
        unnamed = admitted(hub, Identity())
        with pytest.raises(TooManySubscribers):
            hub.identify(unnamed, now(ANN))
        for _ in range(3):
            admitted(hub, Identity())
        hub.remove(first)
        hub.remove(first)
        hub.identify(unnamed, now(ANN))
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
        assert hub._heartbeats._expiring == set()

    with_hub(live_app, body)


def test_too_many_subscribers_is_one_of_flasknados_errors() -> None:
    assert issubclass(TooManySubscribers, FlasknadoError)
