"""Families of numbers that workers tell each other, and their sums. Pure.

A family has a name, a meaning and labels; a sample is a number, or for a histogram
`Durations.values()`. Counters and histograms of several workers are added up; gauges are
each worker's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any, NamedTuple

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from flasknado.durations import BOUNDS_S

COUNTER = "counter"
GAUGE = "gauge"
HISTOGRAM = "histogram"

PREFIX = "flasknado_"

Value = float | list[float]


class Family(NamedTuple):
    """One metric of one worker, or of several together."""

    kind: str
    """`counter`, `gauge` or `histogram`."""
    name: str
    """Without the prefix `flasknado_`, and for a counter without the suffix `_total`."""
    meaning: str
    labels: tuple[str, ...]
    samples: dict[tuple[str, ...], Value]


def single(kind: str, name: str, meaning: str, value: float) -> Family:
    """Return a family of one number without labels."""
    return Family(kind, name, meaning, (), {(): value})


def labelled(kind: str, name: str, meaning: str, label: str, values: Mapping[str, float]) -> Family:
    """Return a family of numbers with one label."""
    return Family(kind, name, meaning, (label,), {(text,): n for text, n in values.items()})


def to_json(families: Iterable[Family]) -> list[Any]:
    """Return families as lists and texts, for `from_json`."""
    return [
        [f.kind, f.name, f.meaning, f.labels, [[list(k), v] for k, v in f.samples.items()]]
        for f in families
    ]


def from_json(data: Iterable[Any]) -> list[Family]:
    """Return the families that `to_json` was given."""
    return [
        Family(kind, name, meaning, tuple(labels), {tuple(k): v for k, v in samples})
        for kind, name, meaning, labels, samples in data
    ]


def added(total: dict[str, Family], families: Iterable[Family]) -> None:
    """Add counters and histograms to those in `total`, by name; gauges are left out."""
    for family in families:
        if family.kind == GAUGE:
            continue
        known = total.get(family.name)
        if known is None or known.labels != family.labels:
            total[family.name] = family._replace(samples=dict(family.samples))
            continue
        for key, value in family.samples.items():
            known.samples[key] = _sum(known.samples.get(key), value)


def with_worker(total: dict[str, Family], families: Iterable[Family], worker: str) -> None:
    """Put the gauges of a worker into `total`, with one more label that names it."""
    for family in families:
        if family.kind != GAUGE:
            continue
        samples = {(*key, worker): value for key, value in family.samples.items()}
        known = total.get(family.name)
        if known is None:
            total[family.name] = family._replace(labels=(*family.labels, "worker"), samples=samples)
        else:
            known.samples.update(samples)


def exposed(family: Family) -> Metric:
    """Return a family as the Prometheus client's own."""
    name = PREFIX + family.name
    if family.kind == HISTOGRAM:
        return _histogram(name, family)
    make = CounterMetricFamily if family.kind == COUNTER else GaugeMetricFamily
    metric = make(name, family.meaning, labels=family.labels)
    for key, value in family.samples.items():
        assert not isinstance(value, list)
        metric.add_metric(key, value)
    return metric


def _histogram(name: str, family: Family) -> Metric:
    metric = HistogramMetricFamily(name, family.meaning, labels=family.labels)
    bounds = [*map(str, BOUNDS_S), "+Inf"]
    for key, value in family.samples.items():
        assert isinstance(value, list)
        buckets = list(zip(bounds, accumulate(value[:-1]), strict=True))
        metric.add_metric(key, buckets, sum_value=value[-1])
    return metric


def _sum(one: Value | None, other: Value) -> Value:
    if one is None:
        return other
    if isinstance(one, list) and isinstance(other, list):
        return [a + b for a, b in zip(one, other, strict=True)]
    assert not isinstance(one, list)
    assert not isinstance(other, list)
    return one + other
