"""Benchmarks with wrk, one small file each; `loadtests.bench.suite` lists them."""
