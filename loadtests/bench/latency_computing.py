"""Native latency while the pool is full of views that compute."""

from loadtests.bench import saturated

BENCHMARK = saturated.benchmark("latency-computing", "compute 3 ms", "/compute", bound_ms=20)
