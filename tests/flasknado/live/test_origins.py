"""The policy for pages of other origins."""

from __future__ import annotations

from typing import Any

import pytest

from flasknado.errors import ConfigurationError
from flasknado.live import OriginPolicy

GOOD = "https://good.example"


@pytest.mark.parametrize(
    ("origins", "origin", "allowed", "with_credentials"),
    [
        ([], GOOD, False, False),
        ([GOOD], GOOD, True, True),
        (["HTTPS://Good.example"], GOOD, True, True),
        ([GOOD], "https://good.example.evil.test", False, False),
        ([GOOD], "http://good.example", False, False),
        ([GOOD], "https://good.example:8443", False, False),
        ([GOOD], "null", False, False),
        (["*"], GOOD, True, False),
        (["*"], "null", True, False),
        (["*"], "*", True, False),
        ([GOOD, "*"], GOOD, True, True),
        ([GOOD, "*"], "https://other.example", True, False),
        (GOOD, GOOD, True, True),
    ],
)
def test_origin_is_allowed_by_name_with_credentials_and_by_star_without(
    origins: Any, origin: str, allowed: bool, with_credentials: bool
) -> None:
    policy = OriginPolicy(origins)
    assert policy.allows(origin) is allowed
    assert policy.allows_credentials(origin) is with_credentials
    headers = policy.headers(origin)
    assert ("Access-Control-Allow-Origin" in headers) is allowed
    assert ("Access-Control-Allow-Credentials" in headers) is with_credentials
    assert headers.get("Access-Control-Allow-Origin") != "*" or not with_credentials


@pytest.mark.parametrize("origin", ["good.example", "https://good.example/", "", "null", None, 1])
def test_origin_that_is_none_is_refused_with_the_rule(origin: Any) -> None:
    with pytest.raises(ConfigurationError, match="is not an origin: write scheme, host and port"):
        OriginPolicy([origin])
