"""How slowly clients may take their responses, beyond what each connection watches by itself.

A slow client is no attacker as long as nobody waits for what it holds. So a rate is asked of
it only while requests wait for a thread and its own response holds one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from flasknado.http.exchange import Exchange
from flasknado.http.limits import Limits
from flasknado.http.watched import Watched

_TOO_SLOW: Final = "it takes its response too slowly while other requests wait for a thread"
_TOO_LONG: Final = "its response has taken too long"


class ResponsePace:
    """Watches the responses of a server, once in each sweep; on the loop's thread.

    requests_waiting: how many requests wait for a thread.
    """

    def __init__(
        self, limits: Limits, connections: set[Watched], requests_waiting: Callable[[], int]
    ) -> None:
        self._limits = limits
        self._connections = connections
        self._requests_waiting = requests_waiting
        self._slow: dict[Watched, tuple[Exchange | None, float, int]] = {}
        """Since when, and at how many bytes, clients that hold threads are watched."""
        self._begun: dict[Watched, tuple[Exchange | None, float]] = {}
        """When responses were first seen to have begun."""

    def sweep(self, now: float) -> None:
        """Cut off who is too slow."""
        waiting = self._requests_waiting()
        if waiting:
            self._judge(now, waiting)
        elif self._slow:
            self._slow = {}
        if self._limits.response_timeout_s is not None:
            self._end_overlong(now, self._limits.response_timeout_s)

    def _judge(self, now: float, waiting: int) -> None:
        limits = self._limits
        watched, self._slow = self._slow, {}
        too_slow: list[tuple[float, Watched]] = []
        for connection in self._connections:
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
        for connection in list(self._connections):
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


def _rate(found: tuple[float, Watched]) -> float:
    return found[0]
