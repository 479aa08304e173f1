"""Who reads, and reconnect tickets: what they say, and every way in which one is not good."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flasknado.live.errors import InvalidIdentity
from flasknado.live.event import Cursor
from flasknado.live.tickets import (
    ANONYMOUS,
    LIFETIME_S,
    MAX_USER_CHARS,
    Identity,
    Ticket,
    Tickets,
)
from flasknado.ops.logs.scrub import without_ticket

NOW = 1_000_000.0
PLACE = Cursor("3f2a9c01", 42)
IDS = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=30)
TICKETS = Tickets("a secret")
ANN = Identity("ann", NOW + 3600)


@given(
    st.none() | IDS,
    st.none() | st.floats(NOW + 100, NOW + 10**6),
    st.none() | IDS,
    st.sets(st.text("abc:/1", min_size=1, max_size=9), max_size=5),
)
def test_ticket_says_what_was_issued(
    user: str | None, expires_at: float | None, generation: str | None, channels: set[str]
) -> None:
    text = TICKETS.issue(Identity(user, expires_at, generation), channels, PLACE, NOW)
    expected = Ticket(Identity(user, expires_at, generation), frozenset(channels), PLACE)
    assert TICKETS.check(text, NOW + 59) == expected
    assert text.replace("-", "").replace("_", "").replace(".", "").isalnum()


@pytest.mark.parametrize("later_s", [LIFETIME_S + 1, -LIFETIME_S - 1])
def test_ticket_of_another_time_is_not_good(later_s: float) -> None:
    assert TICKETS.check(TICKETS.issue(ANN, ["a"], PLACE, NOW), NOW + later_s) is None


def test_ticket_whose_session_has_expired_is_not_good() -> None:
    text = TICKETS.issue(Identity("ann", NOW + 10), ["a"], PLACE, NOW)
    assert TICKETS.check(text, NOW + 9) is not None
    assert TICKETS.check(text, NOW + 10) is None


def test_ticket_signed_with_another_key_is_not_good() -> None:
    assert Tickets("another").check(TICKETS.issue(ANN, ["a"], PLACE, NOW), NOW) is None


def test_ticket_signed_with_an_older_key_is_good_and_a_new_one_has_the_newest() -> None:
    rotated = Tickets([b"oldest", b"a secret", b"the newest"])
    assert rotated.check(TICKETS.issue(ANN, ["a"], PLACE, NOW), NOW) is not None
    new = rotated.issue(ANN, ["a"], PLACE, NOW)
    assert TICKETS.check(new, NOW) is None
    assert Tickets("the newest").check(new, NOW) == rotated.check(new, NOW)


def test_ticket_of_many_channels_is_found_in_a_log_and_hidden() -> None:
    channels = [f"room:{n}" for n in range(64)]
    ticket = TICKETS.issue(ANN, channels, PLACE, NOW)
    assert TICKETS.check(ticket, NOW) == Ticket(ANN, frozenset(channels), PLACE)
    assert ticket not in without_ticket(f"GET /live/events?after={PLACE}~{ticket} HTTP/1.1")
    assert without_ticket(f"last id {PLACE}~{ticket}.") == f"last id {PLACE}~***"


@pytest.mark.parametrize("said", [["ann"], ["ann", None, None, "3f2a9c01:42", "soon", "a"], "x", 7])
def test_ticket_that_says_something_else_is_not_good(said: Any) -> None:
    assert TICKETS.check(TICKETS._serializer.dumps(said), NOW) is None


@given(st.integers(0, 200), st.sampled_from("AZaz09_-."))
def test_ticket_with_any_character_changed_says_nothing_else(place: int, character: str) -> None:
    text = TICKETS.issue(ANN, ["a"], PLACE, NOW)
    place %= len(text)
    changed = text[:place] + character + text[place + 1 :]
    # The last character of a signature has bits that say nothing.
    assert TICKETS.check(changed, NOW) in (None, TICKETS.check(text, NOW))


@given(st.text(max_size=60))
def test_text_that_is_no_ticket_is_not_good(text: str) -> None:
    assert TICKETS.check(text, NOW) is None


@pytest.mark.parametrize("user", ["7", 7])
def test_identity_of_a_number_is_that_of_its_text(user: str | int) -> None:
    assert Identity(user, generation=user) == Identity("7", generation="7")
    assert Identity(user).user == "7"


@pytest.mark.parametrize(
    "user",
    [
        "",
        "x" * (MAX_USER_CHARS + 1),
        "ann\n",
        "ann\0",
        "an\x7fn",
        "\x85",
        "\u2028",
        "\ud800",
        10**200,
        True,
        1.5,
        b"ann",
        ["ann"],
        object(),
    ],
)
@pytest.mark.parametrize("field", ["user", "generation"])
def test_identity_with_a_bad_id_is_refused_with_the_rule(field: str, user: Any) -> None:
    with pytest.raises(InvalidIdentity, match=rf"{field} must (be|have) ") as refused:
        Identity(**{field: user})
    assert isinstance(refused.value, ValueError)
    assert len(str(refused.value)) < 700


@pytest.mark.parametrize("end", [math.nan, math.inf, True, "1", datetime.now(UTC)])
def test_identity_with_an_end_that_is_no_time_is_refused(end: Any) -> None:
    with pytest.raises(InvalidIdentity, match=r"expires_at must be a number of seconds since 1970"):
        Identity("ann", end)


def test_identity_with_the_longest_id_is_taken() -> None:
    assert Identity("ü" * MAX_USER_CHARS).user == "ü" * MAX_USER_CHARS


def test_ticket_of_another_release_is_not_good() -> None:
    """One whose user has broken the rule since, for example."""
    identity = Identity("ann")
    object.__setattr__(identity, "user", "")
    assert TICKETS.check(TICKETS.issue(identity, ["a"], PLACE, NOW), NOW) is None


def test_page_key_names_a_user_to_the_same_application_only() -> None:
    keys = [TICKETS.page_key(user) for user in ("ann", "bob", None)]
    assert len(set(keys)) == 3
    assert keys[2] == ANONYMOUS
    assert keys[0] == Tickets("a secret").page_key("ann")
    assert keys[0] != Tickets("another").page_key("ann")
    assert keys[0].replace("-", "").replace("_", "").isalnum()
    assert "ann" not in keys[0]
