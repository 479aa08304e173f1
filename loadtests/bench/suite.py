"""The benchmarks, in the order in which they run."""

from __future__ import annotations

from collections.abc import Mapping

from loadtests.bench import (
    blocking,
    hello,
    idle,
    latency_computing,
    latency_waiting,
    native,
    small_json,
)
from loadtests.bench.benchmark import Benchmark

_MODULES = (hello, small_json, native, latency_waiting, latency_computing, blocking, idle)

BENCHMARKS: Mapping[str, Benchmark] = {
    module.BENCHMARK.name: module.BENCHMARK for module in _MODULES
}
