"""Revocations of a part of a user's access: one session, one channel."""

from __future__ import annotations

import time
from typing import Any

import pytest

from flasknado.live.errors import AccessChanged, InvalidEvent
from flasknado.live.event import Cursor, Event, parse_cursor
from flasknado.live.hub import revocations as revocations_module
from flasknado.live.hub.hub import Hub
from flasknado.live.hub.revocations import Revocations
from flasknado.live.revocation import Revocation, revocation_of
from flasknado.live.state import state_of
from flasknado.live.tickets import Access, Identity, Tickets
from tests.flasknado.live.helpers import LiveApp
from tests.flasknado.live.hub_client import Client, joined, until, with_hub

PHONE, LAPTOP = Identity("ann", session_id="phone"), Identity("ann", session_id="laptop")


async def following(hub: Hub, identity: Identity, *channels: str) -> Client:
    client = Client(hub, identity)
    hub.admit(client)
    hub.subscribe(client, channels, None)
    await joined(hub, client)
    return client


def revoke(live_app: LiveApp, user: str, **part: Any) -> None:
    with live_app.app.app_context():
        live_app.live.revoke(user, **part)
        live_app.db.session.commit()


def test_revocation_of_a_session_ends_that_session_only(live_app: LiveApp) -> None:
    tickets = state_of(live_app.app).tickets
    assert tickets is not None
    place = parse_cursor(live_app.cursor())

    async def body(hub: Hub) -> None:
        phone, laptop = [await following(hub, who, "a") for who in (PHONE, LAPTOP)]
        bob = await following(hub, Identity("bob", session_id="phone"), "a")
        asked_at = time.monotonic()
        revoke(live_app, "ann", session_id="phone")
        await until(lambda: phone.expelled)
        assert not laptop.gone
        assert not bob.gone
        with pytest.raises(AccessChanged):
            hub.check(Access(PHONE, asked_at))
        hub.check(Access(LAPTOP, asked_at))
        hub.check(Access(PHONE, time.monotonic()))
        texts = [tickets.issue(who, ["a"], place, time.time()) for who in (PHONE, LAPTOP)]
        admitted = [hub.revocations.admits_by(text, ["a"]) is not None for text in texts]
        assert admitted == [False, True]

    with_hub(live_app, body)


def test_revocation_of_a_channel_ends_who_follows_it(live_app: LiveApp) -> None:
    tickets = state_of(live_app.app).tickets
    assert tickets is not None
    place = parse_cursor(live_app.cursor())

    async def body(hub: Hub) -> None:
        ann = Identity("ann")
        both, other = await following(hub, ann, "a", "b"), await following(hub, ann, "b")
        bob = await following(hub, Identity("bob"), "a")
        asked_at = time.monotonic()
        revoke(live_app, "ann", channel="a")
        await until(lambda: both.expelled)
        assert not other.gone
        assert not bob.gone
        with pytest.raises(AccessChanged):
            hub.admit(Client(hub, ann), asked_at, frozenset(("a", "b")))
        hub.admit(Client(hub, ann), asked_at, frozenset("b"))
        text = tickets.issue(ann, ["a", "b"], place, time.time())
        assert hub.revocations.admits_by(text, ["a"]) is None
        assert hub.revocations.admits_by(text, ["b"]) is not None

    with_hub(live_app, body)


def test_channel_that_is_none_is_refused(live_app: LiveApp) -> None:
    with pytest.raises(InvalidEvent, match="is not a channel"):
        revoke(live_app, "ann", channel="post:*")


def test_many_parts_of_one_user_become_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocations_module, "MAX_OF_ONE_USER", 3)
    known = Revocations(Tickets("a secret of the tests"))
    known.begin(Cursor("e", 0), 0, ())
    asked_at = time.monotonic()
    for n in range(3):
        known.revoke(Revocation("ann", channel=f"c{n}"), n)
        known.revoke(Revocation("ann", channel=f"c{n}"), n)
    assert known.upholds(Access(Identity("ann"), asked_at, frozenset(("other",))))
    known.revoke(Revocation("ann", channel="c3"), 9)
    assert not known.upholds(Access(Identity("ann"), asked_at, frozenset(("other",))))
    assert known._count == 1


def test_oldest_revocations_are_forgotten_and_doubted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocations_module, "REVOCATIONS_LIMIT", 4)
    known = Revocations(Tickets("a secret of the tests"))
    known.begin(Cursor("e", 0), 0, ())
    asked_at = time.monotonic()
    for n in range(4):
        known.revoke(Revocation("ann" if n < 2 else f"user {n}", channel=f"c{n}"), n + 1)
    bob = Identity("bob")
    assert known.upholds(Access(bob, asked_at))
    known.revoke(Revocation("cid"), 5)
    assert not known.upholds(Access(bob, asked_at))
    assert not known.is_since(bob, ["a"], Cursor("e", 1))
    assert known.is_since(bob, ["a"], Cursor("e", 2))


def test_revocation_of_an_earlier_version_is_of_everything() -> None:
    event = Event(1, "!revoke", "revoke", '{"user":"ann"}')
    assert revocation_of(event) == Revocation("ann")
