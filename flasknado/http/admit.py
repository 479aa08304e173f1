"""The front door of both connection layers: what every request passes before a half takes it.

Memory for its body, what trusted proxies say of its client, the host that it asks for, its
name, and its route: all of it is said on the head, so that nobody looks again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from flasknado.http.counters import NATIVE, ORDINARY
from flasknado.http.forwarded import TrustedProxies
from flasknado.http.hosts import TrustedHosts
from flasknado.http.memory import MemoryBudget
from flasknado.http.message import RequestHead, Route
from flasknado.http.request_id import RequestIds

FindRoute = Callable[[str], Route | None]
"""Returns the native route of a path (percent-encoded, no query), or `None`."""

_ORDINARY: Final = ORDINARY  # a name of another module is looked up at each use
_NATIVE: Final = NATIVE


class FrontDoor:
    """Admits the requests of one server; belongs to the loop's thread.

    has_container: whether anybody takes requests that no native route matches.
    """

    __slots__ = (
        "_budget",
        "_checks_origin",
        "_find",
        "_has_container",
        "_ids",
        "_trusted_hosts",
        "_trusted_proxies",
    )

    def __init__(
        self,
        find: FindRoute,
        *,
        has_container: bool,
        request_ids: RequestIds,
        budget: MemoryBudget,
        trusted_proxies: TrustedProxies,
        trusted_hosts: TrustedHosts,
    ) -> None:
        self._find = find
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
        native = self._find(head.path)
        if native is None:
            return _ORDINARY if self._has_container else _NATIVE
        head.native = native
        head.route = native.label
        return _NATIVE
