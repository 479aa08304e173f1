"""`healthz`: the loop turns. `readyz`: the server takes requests and what it needs answers.

Both are answered on the loop, so a saturated pool or a database that hangs does not take
them along. Readiness checks run on a thread of their own and their results are kept.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tornado.web import RequestHandler

if TYPE_CHECKING:
    from flasknado.server import HTTPServer

log = logging.getLogger("flasknado.ops")

CHECK_INTERVAL_S = 2.0
CHECK_TIMEOUT_S = 10.0

ReadinessCheck = Callable[[], object]
"""Returns when all is well and raises when it is not; runs on the readiness thread."""


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
    """The cached results of readiness checks, renewed on a thread of their own.

    What a check says is never shown to a client beyond `ok`, `failing` and `checking` (not
    known yet); the reason goes to the log. All methods may be called on any thread.
    """

    def __init__(self, checks: Mapping[str, ReadinessCheck]) -> None:
        self._checks = dict(checks)
        self._results: dict[str, tuple[float, str]] = {}
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin to check, if there is anything to check."""
        if self._checks:
            threading.Thread(target=self._run, name="flasknado-readiness", daemon=True).start()

    def stop(self) -> None:
        """End the thread; does not wait for a check that hangs."""
        self._stopped.set()

    def results(self) -> dict[str, str]:
        """Return `ok`, `failing` or `checking` by the name of each check; never waits."""
        now = time.monotonic()
        return {name: self._result(name, now) for name in self._checks}

    def _result(self, name: str, now: float) -> str:
        checked_at, result = self._results.get(name, (now, "checking"))
        # A check that has not come back is failing, whatever it said last.
        return result if now - checked_at <= CHECK_TIMEOUT_S else "failing"

    def _run(self) -> None:
        while not self._stopped.is_set():
            for name, check in self._checks.items():
                result = self._run_check(name, check)
                self._results[name] = (time.monotonic(), result)
            self._stopped.wait(CHECK_INTERVAL_S)

    def _run_check(self, name: str, check: ReadinessCheck) -> str:
        known = self._results.get(name, (0.0, ""))[1]
        try:
            check()
        except Exception as error:
            if known != "failing":
                log.warning("readiness check %s fails: %s", name, error)
            return "failing"
        if known == "failing":
            log.info("readiness check %s is well again", name)
        return "ok"
