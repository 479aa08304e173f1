"""Locust's report, read; and locust against servers whose behaviour is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests import generator
from loadtests.generator import Delivery, GeneratorFailed
from loadtests.scenarios import SCENARIOS
from tests.loadtests.fakes import Fake, needs_locust

ENTRY = {
    "name": "/",
    "method": "GET",
    "num_requests": 100,
    "num_failures": 10,
    "start_time": 1000.0,
    "last_request_timestamp": 1009.5,
    "min_response_time": 500.0,
    "response_times": {"5": 90, "50": 9, "700": 1},
}


def test_parse_adds_up_all_urls() -> None:
    other = {**ENTRY, "num_failures": 0, "last_request_timestamp": 1019.5}

    found = generator.parse([ENTRY, other], share=0.2)

    assert (found.requests, found.failures) == (200, 10)
    assert found.per_second == pytest.approx(190 / 20)
    assert (found.p50_ms, found.p95_ms, found.p99_ms) == (5, 50, 50)
    assert found.generator_share == pytest.approx(0.2)
    assert not found.limited_by_generator


def test_parse_of_a_run_without_requests_is_refused() -> None:
    with pytest.raises(GeneratorFailed, match="made no request"):
        generator.parse([])


def test_parse_keeps_deliveries_apart_and_their_times_without_the_lost() -> None:
    delivery = {
        **ENTRY,
        "method": "SSE",
        "name": "delivery",
        "num_requests": 12,
        "num_failures": 2,
        "response_times": {"0": 2, "6": 9, "30": 1},
    }
    cut = {**delivery, "name": "connection", "num_requests": 1, "num_failures": 1}

    found = generator.parse([ENTRY, delivery, {**cut, "response_times": {"0": 1}}])

    assert (found.requests, found.failures, found.all_failures) == (100, 10, 13)
    assert found.delivery == Delivery(received=10, lost=3, p50_ms=6, p95_ms=30, p99_ms=30)


def test_parse_of_a_busy_generator_marks_the_run() -> None:
    assert generator.parse([ENTRY], share=0.95).limited_by_generator


@needs_locust
def test_locust_against_a_slow_server_gives_the_known_answer(fake: Fake, tmp_path: Path) -> None:
    fake.wait_s = 0.1

    found = generator.run(SCENARIOS["page"], 16, fake.url, 2, tmp_path)

    # 16 users who each wait 100 ms get at most 160 answers a second.
    assert found.failures == 0
    assert 80 < found.per_second <= 165
    assert 99 <= found.p50_ms < 200
    assert 0 < found.generator_share < 1


@needs_locust
def test_locust_against_a_failing_server_reports_every_failure(fake: Fake, tmp_path: Path) -> None:
    fake.status, fake.wait_s = 500, 0.02

    found = generator.run(SCENARIOS["page"], 16, fake.url, 2, tmp_path)

    assert found.requests > 0
    assert found.failures == found.requests
    assert found.per_second == 0
    assert "500" in found.errors[0]
