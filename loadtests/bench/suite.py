"""The benchmarks, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from loadtests.bench import (
    blocking,
    deploy,
    held,
    hello,
    idle,
    latency_computing,
    latency_waiting,
    live_append,
    live_channels,
    live_commit,
    live_fanout,
    live_latency,
    live_resume,
    native,
    small_json,
    socketio,
    static_files,
)
from loadtests.bench.benchmark import Benchmark
from loadtests.servers import Server

_MODULES = (hello, small_json, native, latency_waiting, latency_computing, blocking, idle)

BENCHMARKS: Mapping[str, Benchmark] = {
    module.BENCHMARK.name: module.BENCHMARK for module in _MODULES
}

LIVE: Mapping[str, tuple[Benchmark, Callable[[], dict[str, Server]]]] = {
    module.BENCHMARK.name: (module.BENCHMARK, module.servers)
    for module in (
        held,
        deploy,
        live_fanout,
        live_channels,
        live_latency,
        live_append,
        live_commit,
        live_resume,
        socketio,
        static_files,
    )
}
"""The benchmarks that have servers of their own: held answers, deploys, live events, static files
and Socket.IO."""
