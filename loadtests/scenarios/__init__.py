"""The scenarios, as data: one small file each has the locust user of that name.

This file imports nothing but the standard library: locust reads it in its own environment, and
`loadtests.loadtest` in the server's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

LIVE_METHODS = {"poll": "POLL", "sse": "SSE", "websocket": "WS"}
"""What locust calls the deliveries of a live scenario, by the scenario's name."""
PROCESSOR_FOLDER = "FLASKNADO_LOADTEST_FOLDER"
"""The environment variable with the folder where each process of locust tells its use."""
_BROWSING = {"PageReader": 4, "Publisher": 1}
_LIVE_PROBE = "/live/poll?channel=posts&timeout_s=0"


@dataclass(frozen=True)
class Scenario:
    """`user` is the locust class; `levels` are the numbers of them that are tried in turn.

    `usual` are the levels of a run that is not full; without any the scenario is not part of one.
    `beside` are other users who are there at every level. `probe` must be answered with 200 by a
    server that can do it; `live` says that clients hold on to connections of Tornado's.
    """

    name: str
    user: str
    what: str
    levels: tuple[int, ...]
    usual: tuple[int, ...] = ()
    probe: str = "/"
    beside: Mapping[str, int] = field(default_factory=dict)
    live: bool = False

    def crowd(self, level: int) -> dict[str, int]:
        """Return how many users there are of each class."""
        return {self.user: level, **self.beside}


_TABLE = (
    Scenario(
        "page",
        "PageReader",
        "HTML pages from templates and the database",
        levels=(1, 4, 16, 64),
        usual=(1, 8, 32),
    ),
    Scenario(
        "json",
        "JsonReader",
        "a small JSON answer without the database",
        levels=(1, 4, 16, 64),
        usual=(16,),
        probe="/loadtest/json",
    ),
    Scenario(
        "read",
        "ApiReader",
        "JSON from the database",
        levels=(1, 4, 16, 64),
        usual=(16,),
        probe="/api/v1/posts",
    ),
    Scenario(
        "write",
        "Writer",
        "a logged-in person writes a post, with a CSRF token",
        levels=(1, 4, 16),
        usual=(8,),
        probe="/login",
    ),
    Scenario(
        "wait",
        "Waiter",
        "a view that waits 50 ms for something else",
        levels=(1, 4, 16, 64),
        usual=(1, 8, 32),
        probe="/loadtest/wait",
    ),
    Scenario(
        "compute",
        "Computer",
        "a view that computes for 3 ms",
        levels=(1, 4, 16),
        probe="/loadtest/compute",
    ),
    Scenario(
        "upload",
        "Uploader",
        "a form with a file of 256 KiB",
        levels=(1, 4, 16),
        probe="/loadtest/json",
    ),
    Scenario(
        "mix",
        "Visitor",
        "people who browse, think, search, wait and write",
        levels=(50, 150, 300, 600),
        usual=(50, 300),
        probe="/loadtest/wait",
    ),
    Scenario(
        "poll",
        "LongPoller",
        "long-polls held open while 4 users browse",
        levels=(10, 50, 200),
        usual=(10, 50),
        probe=_LIVE_PROBE,
        beside=_BROWSING,
        live=True,
    ),
    Scenario(
        "sse",
        "SseListener",
        "event streams held open while 4 users browse",
        levels=(10, 50, 200),
        usual=(10, 50),
        probe=_LIVE_PROBE,
        beside=_BROWSING,
        live=True,
    ),
    Scenario(
        "websocket",
        "WebSocketClient",
        "WebSockets held open while 4 users browse",
        levels=(10, 50, 200),
        usual=(10, 50),
        probe=_LIVE_PROBE,
        beside=_BROWSING,
        live=True,
    ),
)

SCENARIOS: Mapping[str, Scenario] = {scenario.name: scenario for scenario in _TABLE}
