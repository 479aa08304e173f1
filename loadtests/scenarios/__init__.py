"""The scenarios, as data: one small file each has the locust user of that name.

This file imports nothing but the standard library: locust reads it in its own environment, and
`loadtests.compare` in the server's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    """`user` is the locust class, `users` how many of them ask without pause."""

    name: str
    user: str
    users: int
    what: str


_TABLE = (
    Scenario("page", "PageReader", 16, "HTML pages from templates and the database"),
    Scenario("json", "ApiReader", 16, "JSON from the database"),
    Scenario("wait", "Waiter", 32, "a view that waits 50 ms for something else"),
)

SCENARIOS: Mapping[str, Scenario] = {scenario.name: scenario for scenario in _TABLE}
