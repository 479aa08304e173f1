"""How slowly clients may take their responses, beyond what each connection watches by itself.

A slow client is no attacker as long as nobody waits for what it holds. So a rate is asked of
it only while requests wait for a thread and its own response holds one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from flasknado.http.connection import Connection
    from flasknado.http.shared import Exchange, Shared

_TOO_SLOW: Final = "it takes its response too slowly while other requests wait for a thread"
_TOO_LONG: Final = "its response has taken too long"


class ResponsePace:
    """Watches the responses of a shared, once in each sweep; on the loop's thread."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._slow: dict[Connection, tuple[Exchange | None, float, int]] = {}
        """Since when, and at how many bytes, clients that hold threads are watched."""
        self._begun: dict[Connection, tuple[Exchange | None, float]] = {}
        """When responses were first seen to have begun."""

    def sweep(self, now: float) -> None:
        """Cut off who is too slow."""
        container = self._shared.container
        waiting = container.requests_waiting if container is not None else 0
        if waiting:
            self._judge(now, waiting)
        elif self._slow:
            self._slow = {}
        if self._shared.limits.response_timeout_s is not None:
            self._end_overlong(now, self._shared.limits.response_timeout_s)

    def _judge(self, now: float, waiting: int) -> None:
        limits = self._shared.limits
        watched, self._slow = self._slow, {}
        too_slow: list[tuple[float, Connection]] = []
        for connection in self._shared.connections:
            if not connection.holds_thread():
                continue
            taken_bytes = connection.taken_bytes()
            mark = watched.get(connection)
            if mark is None or mark[0] is not connection.active:
                mark = (connection.active, now, taken_bytes)
            elif now - mark[1] >= limits.busy_write_window_s:
                rate = (taken_bytes - mark[2]) / (now - mark[1])
                if rate < limits.busy_write_rate_bytes_s:
                    too_slow.append((rate, connection))
                else:
                    mark = (connection.active, now, taken_bytes)
            self._slow[connection] = mark
        too_slow.sort(key=_rate)
        for _, connection in too_slow[:waiting]:
            del self._slow[connection]
            connection.cut_off(_TOO_SLOW)

    def _end_overlong(self, now: float, timeout_s: float) -> None:
        known, self._begun = self._begun, {}
        for connection in list(self._shared.connections):
            active = connection.active
            if not (active.status if active is not None else connection.write_paused):
                continue
            mark = known.get(connection)
            if mark is None or (active is not None and mark[0] is not active):
                mark = (active, now)
            if now - mark[1] >= timeout_s:
                connection.cut_off(_TOO_LONG)
            else:
                self._begun[connection] = mark


def _rate(found: tuple[float, Connection]) -> float:
    return found[0]
