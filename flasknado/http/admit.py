"""The front door of both connection layers: what every request passes before a half takes it.

Memory for its body, what trusted proxies say of its client, the host that it asks for, its
name, and its route: all of it is said on the head, so that nobody looks again.
"""

from __future__ import annotations

import os
from typing import Final, Protocol

from flasknado.http.counters import NATIVE, ORDINARY
from flasknado.http.forwarded import TrustedProxies
from flasknado.http.hosts import TrustedHosts
from flasknado.http.memory import MemoryBudget
from flasknado.http.message import RequestHead, Route


class Routes(Protocol):
    """The native routes of a server, as far as the front door knows them."""

    segments: set[str] | None
    """The first segments of all their paths, with the slash; `None` if they are not known."""

    def find(self, path: str) -> Route | None:
        """Return the route of a path (percent-encoded, no query), or `None`."""


_ORDINARY: Final = ORDINARY  # a name of another module is looked up at each use
_NATIVE: Final = NATIVE


_LAST_DIGITS: Final = tuple(f"{number:02x}" for number in range(256))


class RequestIds:
    """Request ids of one process: random prefix, rising number. Belongs to one thread."""

    __slots__ = ("_beginning", "_last", "_prefix", "_rounds")

    def __init__(self) -> None:
        self._prefix = os.urandom(6).hex()
        self._rounds = 0
        self._last = 0
        self._beginning = f"{self._prefix}-0"

    def new(self) -> str:
        """Return an id that no other request of any process has."""
        # Most numbers differ from the last in two digits, and formatting is slow.
        self._last += 1
        if self._last == len(_LAST_DIGITS):
            self._last = 0
            self._rounds += 1
            self._beginning = f"{self._prefix}-{self._rounds:x}"
        return self._beginning + _LAST_DIGITS[self._last]


class FrontDoor:
    """Admits the requests of one server; belongs to the loop's thread.

    has_container: whether anybody takes requests that no native route matches.
    """

    __slots__ = (
        "_budget",
        "_checks_origin",
        "_has_container",
        "_ids",
        "_routes",
        "_trusted_hosts",
        "_trusted_proxies",
    )

    def __init__(
        self,
        routes: Routes,
        *,
        has_container: bool,
        request_ids: RequestIds,
        budget: MemoryBudget,
        trusted_proxies: TrustedProxies,
        trusted_hosts: TrustedHosts,
    ) -> None:
        self._routes = routes
        self._has_container = has_container
        self._ids = request_ids
        self._budget = budget
        self._trusted_proxies = trusted_proxies
        self._trusted_hosts = trusted_hosts
        self._checks_origin = bool(trusted_proxies) or bool(trusted_hosts)

    def admit(self, head: RequestHead) -> str:
        """Complete a head that has just been read, and return the half that serves it.

        Raises `RequestError` for a request that is refused.
        """
        if self._budget.full and (head.content_length or head.chunked):
            raise self._budget.refusal()
        if self._checks_origin:
            self._trusted_proxies.apply(head)
            self._trusted_hosts.check(head)
        if head.request_id is None:
            head.request_id = self._ids.new()
        native: Route | None = None
        path = head.path
        segments = self._routes.segments
        end = path.find("/", 1)
        if segments is None or (path if end < 0 else path[:end]) in segments:
            native = self._routes.find(path)
        if native is None:
            return _ORDINARY if self._has_container else _NATIVE
        head.native = native
        head.route = native.label
        return _NATIVE
