"""wrk's report, read; and wrk against servers whose behaviour is known."""

from __future__ import annotations

import pytest

from loadtests.bench import wrk
from loadtests.bench.wrk import GeneratorFailed, Load
from tests.loadtests.fakes import Fake, needs_wrk

REPORT = (
    'REPORT {"requests":5000,"duration_us":2000000,"bytes":1,"connect":1,"read":2,"write":3,'
    '"status":1000,"timeout":4,"p50_us":1500.0,"p99_us":9000.5,"max_us":20000.0}'
)


def test_parse_reads_the_line_among_wrks_own_output() -> None:
    found = wrk.parse(f"Running 2s test\n  1 threads\n\n{REPORT}\n", generator_s=0.5)

    assert found.per_second == 2000
    assert found.failures == 1010
    assert (found.p50_ms, found.p99_ms, found.max_ms) == (1.5, 9.0005, 20.0)
    assert found.generator_share == 0.25


def test_parse_without_a_report_is_refused_with_what_wrk_said() -> None:
    with pytest.raises(GeneratorFailed, match="unable to connect"):
        wrk.parse("unable to connect to 127.0.0.1:1 Connection refused")


@needs_wrk
def test_wrk_against_a_slow_server_gives_the_known_answer(fake: Fake) -> None:
    fake.wait_s = 0.05

    found = wrk.run(f"{fake.url}/", Load(connections=8, seconds=1))

    # 8 connections that each wait 50 ms get at most 160 answers a second.
    assert found.failures == 0
    assert 80 < found.per_second <= 165
    assert 50 <= found.p50_ms < 100


@needs_wrk
def test_wrk_against_a_failing_server_reports_every_failure(fake: Fake) -> None:
    fake.status, fake.wait_s = 503, 0.01

    found = wrk.run(f"{fake.url}/", Load(connections=2, seconds=1))

    assert found.requests > 0
    assert found.refusals == found.failures == found.requests
    assert found.per_second == 0
