"""Results made up for tests."""

from __future__ import annotations

from loadtests.generator import Delivery, Report
from loadtests.results import Results, Sample
from loadtests.servers import OURS

MACHINE = {
    "date": "2026-01-01 12:00 UTC",
    "processor": "A processor <of> tests",
    "cores": 2,
    "system": "Linux 6",
    "python": "3.11.0",
    "server_core": 0,
    "generator_core": 1,
    "load_average_at_start": 0.5,
}
DELIVERY = Delivery(received=90, lost=2, p50_ms=4, p95_ms=8, p99_ms=20)


def report(
    per_second: float,
    failures: int = 0,
    share: float = 0.1,
    delivery: Delivery | None = None,
    others_share: float | None = None,
) -> Report:
    errors = (f"{failures} times GET /: HTTP 500",) if failures else ()
    return Report(
        1000, failures, per_second, 1, 2, 3, share, delivery, errors, others_share=others_share
    )


def made_up(ours: float = 400.0, failures: int = 0, share: float = 0.1) -> Results:
    """Two rounds of `page` with 1 and 8 users on two servers, and live clients on ours alone."""
    samples = [
        Sample(number, server, "page", users, report(rate + number * 20, failing, share))
        for number in range(2)
        for users in (1, 8)
        for server, rate, failing in (("flask-dev", 100.0, 0), (OURS, ours, failures))
    ]
    samples.append(Sample(0, OURS, "sse", 50, report(50, delivery=DELIVERY)))
    return Results(
        machine=MACHINE,
        seconds=3.0,
        rounds=2,
        servers={"flask-dev": "3.1", OURS: "0.1"},
        scenarios={"page": "HTML pages", "sse": "event streams"},
        samples=tuple(samples),
        impossible=(("flask-dev", "sse", "it has one thread"),),
        skipped={"waitress": "make it so"},
        failed={},
    )
