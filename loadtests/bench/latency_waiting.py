"""Native latency while the pool is full of views that wait."""

from loadtests.bench import saturated

BENCHMARK = saturated.benchmark("latency-waiting", "wait 50 ms", "/wait", bound_ms=5)
