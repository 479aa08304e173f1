"""Reconnect tickets: what they say, and every way in which one is not good."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flasknado.live.tickets import LIFETIME_S, Identity, Ticket, Tickets

NOW = 1_000_000.0
TICKETS = Tickets("a secret")
ANN = Identity("ann", NOW + 3600)


@given(
    st.none() | st.text(max_size=30),
    st.none() | st.floats(NOW + 100, NOW + 10**6),
    st.sets(st.text("abc:/1", min_size=1, max_size=9), max_size=5),
)
def test_ticket_says_what_was_issued(
    user: str | None, expires_at: float | None, channels: set[str]
) -> None:
    text = TICKETS.issue(Identity(user, expires_at), channels, NOW)
    expected = Ticket(Identity(user, expires_at), frozenset(channels), NOW)
    assert TICKETS.check(text, NOW + 59) == expected
    assert text.replace("-", "").replace("_", "").replace(".", "").isalnum()


@pytest.mark.parametrize("later_s", [LIFETIME_S + 1, -LIFETIME_S - 1])
def test_ticket_of_another_time_is_not_good(later_s: float) -> None:
    assert TICKETS.check(TICKETS.issue(ANN, ["a"], NOW), NOW + later_s) is None


def test_ticket_whose_session_has_expired_is_not_good() -> None:
    text = TICKETS.issue(Identity("ann", NOW + 10), ["a"], NOW)
    assert TICKETS.check(text, NOW + 9) is not None
    assert TICKETS.check(text, NOW + 10) is None


def test_ticket_signed_with_another_key_is_not_good() -> None:
    assert Tickets("another").check(TICKETS.issue(ANN, ["a"], NOW), NOW) is None


@given(st.integers(0, 200), st.sampled_from("AZaz09_-."))
def test_ticket_with_any_character_changed_is_not_good(place: int, character: str) -> None:
    text = TICKETS.issue(ANN, ["a"], NOW)
    place %= len(text)
    changed = text[:place] + character + text[place + 1 :]
    if changed != text:
        assert TICKETS.check(changed, NOW) is None


@given(st.text(max_size=60))
def test_text_that_is_no_ticket_is_not_good(text: str) -> None:
    assert TICKETS.check(text, NOW) is None
