"""The steady client, against servers whose latency is known."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from loadtests.bench import probe as probing
from loadtests.bench.probe import Probed, probe
from tests.loadtests.fakes import Fake


def test_probe_measures_the_servers_latency(fake: Fake) -> None:
    fake.wait_s = 0.03

    probed = probe(("127.0.0.1", fake.port), "/", seconds=0.5)

    assert probed.failures == 0
    assert len(probed.latencies_ms) == 50
    assert 30 <= probed.percentile_ms(50) < 80


def test_probe_charges_a_standstill_to_every_request_that_was_due(fake: Fake) -> None:
    fake.wait_s = 0.6

    probed = probe(("127.0.0.1", fake.port), "/", seconds=0.5)

    assert len(probed.latencies_ms) == 50, "also those that were never sent"
    assert probed.percentile_ms(99) >= 600
    assert probed.percentile_ms(50) > 100


@pytest.mark.parametrize("begins_at", [0.0, 1500.0, 1_234_567.9])
def test_probe_asks_as_often_whatever_the_clock_says(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, begins_at: float
) -> None:
    clock = SimpleNamespace(perf_counter=lambda: begins_at, sleep=lambda seconds: None)
    monkeypatch.setattr(probing, "time", clock)

    assert len(probe(("127.0.0.1", fake.port), "/", seconds=0.5).latencies_ms) == 50


def test_probe_counts_failures(fake: Fake) -> None:
    fake.status = 500

    probed = probe(("127.0.0.1", fake.port), "/", seconds=0.2)

    assert probed == Probed([], 20)
    assert probed.percentile_ms(50) == float("inf")


@pytest.mark.parametrize(("percent", "latency_ms"), [(50, 5.0), (99, 10.0), (100, 10.0), (1, 1.0)])
def test_percentile_is_the_nearest_rank(percent: float, latency_ms: float) -> None:
    probed = Probed([float(number) for number in range(1, 11)], 0)

    assert probed.percentile_ms(percent) == latency_ms
