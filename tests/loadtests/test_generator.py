"""Locust's report, read; and locust against servers whose behaviour is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests import comparison, generator
from loadtests.comparison import Sample
from loadtests.generator import GeneratorFailed, Report
from loadtests.scenarios import SCENARIOS
from loadtests.servers import OURS
from tests.loadtests.fakes import Fake, needs_locust

ENTRY = {
    "name": "/",
    "num_requests": 100,
    "num_failures": 10,
    "start_time": 1000.0,
    "last_request_timestamp": 1009.5,
    "min_response_time": 500.0,
    "response_times": {"5": 90, "50": 9, "700": 1},
}


def report(per_second: float, failures: int = 0, share: float = 0.1) -> Report:
    return Report(1000, failures, per_second, 1, 2, 3, share)


def test_parse_adds_up_all_urls() -> None:
    other = {**ENTRY, "num_failures": 0, "last_request_timestamp": 1019.5}

    found = generator.parse([ENTRY, other], generator_s=4.0)

    assert (found.requests, found.failures) == (200, 10)
    assert found.per_second == pytest.approx(190 / 20)
    assert (found.p50_ms, found.p95_ms, found.p99_ms) == (5, 50, 50)
    assert found.generator_share == pytest.approx(0.2)
    assert not found.limited_by_generator


def test_parse_of_a_run_without_requests_is_refused() -> None:
    with pytest.raises(GeneratorFailed, match="made no request"):
        generator.parse([])


def test_comparison_table_shows_ratio_failures_and_a_limited_generator() -> None:
    samples = [
        Sample(0, "flask-dev", "page", report(100)),
        Sample(0, OURS, "page", report(300, failures=7, share=0.95)),
        Sample(1, OURS, "page", report(500)),
        Sample(1, "flask-dev", "page", report(100)),
    ]

    _, _, baseline, ours = comparison.as_table(
        samples, [SCENARIOS["page"]], "flask-dev"
    ).splitlines()

    assert "400 ± 25 %" in ours
    assert "4.00 (3.00 to 5.00)" in ours
    assert "(limit)" in ours
    assert " 7 |" in ours
    assert "(" not in baseline
    assert comparison.failures_of(samples) == {"flask-dev": 0, OURS: 7}


@needs_locust
def test_locust_against_a_slow_server_gives_the_known_answer(fake: Fake, tmp_path: Path) -> None:
    fake.wait_s = 0.1

    found = generator.run(SCENARIOS["page"], fake.url, 2, tmp_path)

    # 16 users who each wait 100 ms get at most 160 answers a second.
    assert found.failures == 0
    assert 80 < found.per_second <= 165
    assert 99 <= found.p50_ms < 200


@needs_locust
def test_locust_against_a_failing_server_reports_every_failure(fake: Fake, tmp_path: Path) -> None:
    fake.status, fake.wait_s = 500, 0.02

    found = generator.run(SCENARIOS["page"], fake.url, 2, tmp_path)

    assert found.requests > 0
    assert found.failures == found.requests
    assert found.per_second == 0
