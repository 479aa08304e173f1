"""What a Content-Security-Policy lets the script of development mode do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flasknado.debug.policy import Forbidden, nonce_for_script

HOST = "localhost:8000"


@pytest.mark.parametrize(
    ("policies", "nonce"),
    [
        ([], ""),
        ([""], ""),
        (["img-src 'none'"], ""),
        (["default-src 'self'"], ""),
        (["DEFAULT-SRC 'SELF'"], ""),
        (["default-src 'none'; script-src 'self'; connect-src 'self'"], ""),
        (["script-src *; connect-src http:"], ""),
        ([f"default-src http://{HOST}"], ""),
        (["script-src 'nonce-abc='"], "abc="),
        (["script-src 'nonce-abc=' 'strict-dynamic' 'self'"], "abc="),
        (["script-src 'none'; script-src-elem 'nonce-x'"], "x"),
        (["default-src 'self'", "script-src 'nonce-q'"], "q"),
        (["default-src 'self', script-src 'nonce-q'"], "q"),
        (["sandbox allow-scripts allow-same-origin"], ""),
        (["script-src 'self'; script-src 'none'"], ""),
    ],
)
def test_policy_that_allows_it_says_with_which_nonce(policies: list[str], nonce: str) -> None:
    assert nonce_for_script(policies, HOST) == nonce


@pytest.mark.parametrize(
    ("policies", "directive"),
    [
        (["default-src 'none'"], "default-src 'none'"),
        (["script-src"], "script-src"),
        (["script-src 'unsafe-inline'"], "script-src 'unsafe-inline'"),
        (["script-src https://cdn.example"], "script-src https://cdn.example"),
        (["script-src 'self' 'strict-dynamic'"], "script-src 'self' 'strict-dynamic'"),
        (["script-src 'self'; connect-src 'none'"], "connect-src 'none'"),
        (["default-src 'none'; script-src 'nonce-x'"], "default-src 'none'"),
        (["script-src 'nonce-x'", "script-src 'nonce-y'"], "script-src 'nonce-y'"),
        (["default-src 'self'", "script-src 'none'"], "script-src 'none'"),
        (["sandbox"], "sandbox"),
        (["sandbox allow-scripts"], "sandbox allow-scripts"),
    ],
)
def test_policy_that_forbids_it_is_named(policies: list[str], directive: str) -> None:
    with pytest.raises(Forbidden) as forbidden:
        nonce_for_script(policies, HOST)
    assert str(forbidden.value) == directive


@given(st.lists(st.text(alphabet="abs'-;, =noncerc*\"<>", max_size=60), max_size=3))
def test_nonce_of_any_policy_cannot_leave_its_attribute(policies: list[str]) -> None:
    try:
        nonce = nonce_for_script(policies, HOST)
    except Forbidden:
        return
    assert not set(nonce) & set("\"'<>& ")
