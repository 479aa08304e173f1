"""`healthz`: the loop turns. `readyz`: the server takes requests and what it needs answers.

Both are answered on the loop, so a saturated pool or a database that hangs does not take
them along. Readiness checks run on threads of their own and their results are kept.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tornado.web import RequestHandler

from flasknado.threads import LastingThread

if TYPE_CHECKING:
    from flasknado.server import HTTPServer

log = logging.getLogger("flasknado.ops")

CHECK_INTERVAL_S = 2.0
CHECK_TIMEOUT_S = 10.0

HUNG_LIMIT = 3
"""How many calls of one check may hang with another in their place."""

ReadinessCheck = Callable[[], object]
"""Returns when all is well and raises when it is not; runs on a thread of its own."""

QuickCheck = Callable[[], bool | None]
"""Says whether all is well, without waiting, on the loop; `None`: there is nothing to say."""


class OpsHandler(RequestHandler):
    """What the endpoints of operations have in common: no caching, plain answers."""

    SUPPORTED_METHODS = ("GET", "HEAD")

    def set_default_headers(self) -> None:
        self.set_header("Cache-Control", "no-store")
        self.set_header("Server", "flasknado")

    def head(self) -> Any:
        return self.get()


class HealthHandler(OpsHandler):
    """200 as long as the loop turns."""

    def get(self) -> None:
        self.write({"status": "ok"})


class ReadinessHandler(OpsHandler):
    """200 when requests are welcome; 503 while draining or while a check fails."""

    def initialize(self, readiness: Readiness, server: HTTPServer) -> None:
        self.readiness = readiness
        self.server = server

    def get(self) -> None:
        draining = self.server.draining
        results = {"server": "draining" if draining else "ok", **self.readiness.results()}
        ready = all(result == "ok" for result in results.values())
        self.set_status(200 if ready else 503)
        self.write({"status": "ready" if ready else "not ready", "checks": results})


class Readiness:
    """The cached results of readiness checks, each renewed on a thread of its own.

    checks: what may block. One that does not come back is failing, and after a while another
    thread asks again, a few times: so readiness comes back when what it needs does.
    quick: what only looks, on the loop; `None` says that there is nothing to look at.

    What a check says is never shown to a client beyond `ok`, `failing` and `checking` (not
    known yet); the reason goes to the log. Belongs to the loop's thread.
    """

    def __init__(
        self,
        checks: Mapping[str, ReadinessCheck],
        quick: Mapping[str, QuickCheck] | None = None,
    ) -> None:
        self._checks = {name: _Checking(name, check) for name, check in checks.items()}
        self._quick = dict(quick or {})

    def start(self) -> None:
        """Begin to check, as far as threads can be had; `results()` tries again."""
        for checking in self._checks.values():
            checking.ensure()

    def stop(self) -> None:
        """End the threads; does not wait for a check that hangs."""
        for checking in self._checks.values():
            checking.stopped.set()

    def results(self) -> dict[str, str]:
        """Return `ok`, `failing` or `checking` by the name of each check; never waits."""
        self.start()
        results = {name: checking.result() for name, checking in self._checks.items()}
        for name, check in self._quick.items():
            well = check()
            if well is not None:
                results[name] = "ok" if well else "failing"
        return results


class _Checking:
    """One check, and its threads: one, and those of calls that have not come back."""

    def __init__(self, name: str, check: ReadinessCheck) -> None:
        self.stopped = threading.Event()
        self._name = name
        self._check = check
        self._thread: LastingThread | None = None
        self._hung: list[LastingThread] = []
        self._asked_at = time.monotonic()
        """When the present call began, or the last one ended."""
        self._known = "checking"

    def ensure(self) -> None:
        """Have a thread check that is not waiting for a call that hangs."""
        if self.stopped.is_set():
            return
        if self._thread is not None and time.monotonic() - self._asked_at > CHECK_TIMEOUT_S:
            self._hung = [thread for thread in self._hung if thread.is_alive()]
            if len(self._hung) >= HUNG_LIMIT:
                return
            if self._known != "failing":
                log.warning("readiness check %s has not returned", self._name)
            self._known = "failing"
            self._hung.append(self._thread)
            self._thread = None
        if self._thread is None:
            self._asked_at = time.monotonic()
            self._thread = LastingThread(
                f"flasknado-readiness-{self._name}", lambda: self._run(thread)
            )
        thread = self._thread
        thread.ensure()

    def result(self) -> str:
        """Return what is known by now."""
        # A check that has not come back is failing, whatever it said last.
        late = time.monotonic() - self._asked_at > CHECK_TIMEOUT_S
        return "failing" if late else self._known

    def _run(self, thread: LastingThread) -> None:
        while not self.stopped.is_set():
            error = self._call()
            if thread is not self._thread:
                return  # another has taken over meanwhile
            self._note(error)
            self._asked_at = time.monotonic()
            self.stopped.wait(CHECK_INTERVAL_S)
            self._asked_at = time.monotonic()

    def _call(self) -> Exception | None:
        try:
            self._check()
        except Exception as error:
            return error
        return None

    def _note(self, error: Exception | None) -> None:
        if error is not None:
            if self._known != "failing":
                log.warning("readiness check %s failed: %s", self._name, error)
            self._known = "failing"
        else:
            if self._known == "failing":
                log.info("readiness check %s has recovered", self._name)
            self._known = "ok"
