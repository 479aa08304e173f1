"""A database that says nothing while clients ask for what is in it."""

from __future__ import annotations

import http.client
import time

from tests.siege.attack import Attack, Report, Target
from tests.siege.sockets import nothing, swarm

READY = "/-/readyz"


def silent_database(target: Target, seconds: float) -> Report:
    """Ask for the timeline on many connections while the database is silent."""
    request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    report, _senders = swarm(target, seconds, lambda: (request, nothing), count=32, most=2_000)
    if seconds > 10:
        connection = http.client.HTTPConnection(*target.address, timeout=10)
        began = time.monotonic()
        connection.request("GET", READY)
        status = connection.getresponse().status
        connection.close()
        report.expect(status == 503, f"the server says that it is not ready, not {status}")
        report.expect(time.monotonic() - began < 5, "readiness is answered at once")
    return report


ATTACKS = (
    Attack(
        "silent-database",
        "a database that says nothing",
        silent_database,
        ("silent database",),
        judged_s=14.0,
        page_ms=None,
        logs_tracebacks=True,
    ),
)
