"""What `/-/metrics` says of a real server."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import flask
import pytest
import requests
import tornado.web
from prometheus_client.parser import text_string_to_metric_families

from flasknado import HTTPServer, WSGIContainer, ops
from flasknado.http.message import Finished
from flasknado.ops.metrics import exposition
from flasknado.ops.metrics.model import GAUGE, Family, single
from flasknado.ops.metrics.requests import NO_ROUTE, ROUTES_LIMIT, Requests
from flasknado.ops.metrics.sources import add_source
from flasknado.server import LAYERS
from tests.support.poll import poll
from tests.support.raw import converse
from tests.support.serving import Serving, serving

app = flask.Flask("counted")
released = threading.Event()


@app.get("/item/<int:number>")
def item(number: int) -> str:
    return str(number)


@app.get("/hang")
def hang() -> str:
    released.wait(30)
    return "released"


class Native(tornado.web.RequestHandler):
    def get(self, name: str) -> None:
        self.write(name)


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return the samples by name and labels, without the label that names the worker."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = {k: v for k, v in sample.labels.items() if k != "worker"}
            found[sample.name, frozenset(labels.items())] = sample.value
    return found


class Scraped:
    """The metrics of a server, asked for again each time."""

    def __init__(self, server: Serving) -> None:
        self.server = server

    def __call__(self, name: str, **labels: str) -> float | None:
        text = requests.get(self.server.url + "/-/metrics", timeout=5).text
        return samples(text).get((f"flasknado_{name}", frozenset(labels.items())))


@contextlib.contextmanager
def scraped(layer: str = "llhttp", **options: Any) -> Iterator[tuple[Serving, Scraped]]:
    def make() -> HTTPServer:
        server = HTTPServer(
            WSGIContainer(app, **options), handlers=[(r"/native/(\w+)", Native)], http=layer
        )
        ops.install(server)
        return server

    with serving(make) as server:
        yield server, Scraped(server)


@pytest.mark.parametrize("layer", LAYERS)
def test_requests_are_counted_by_half_route_and_status(layer: str) -> None:
    with scraped(layer) as (server, metric):
        for path in ("/item/1", "/item/2", "/nothing/1", "/nothing/2", "/native/a", "/native/b"):
            requests.get(server.url + path, timeout=5)
        converse(server.address, b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        rule = "/item/<int:number>"
        assert metric("requests_total", half="ordinary", route=rule, status="200") == 2
        assert metric("requests_total", half="ordinary", route=NO_ROUTE, status="404") == 2
        assert metric("requests_total", half="native", route=r"/native/(\w+)", status="200") == 2
        assert metric("requests_total", half="refused", route=NO_ROUTE, status="400") == 1
        labels = {"half": "ordinary", "route": rule}
        assert metric("request_duration_seconds_count", **labels) == 2
        assert metric("request_duration_seconds_bucket", le="+Inf", **labels) == 2
        assert 0 < (metric("request_duration_seconds_sum", **labels) or 0) < 5
        assert (metric("response_bytes_total", **labels) or 0) > 200


def test_routes_beyond_the_limit_are_counted_without_their_names() -> None:
    counted = Requests()
    for number in range(ROUTES_LIMIT + 50):
        finished = Finished(None, 200, 10, 0.1, "ordinary")
        finished.route = f"/{number}"
        counted.count(finished)
    found = counted.families()[0].samples
    assert len(found) == ROUTES_LIMIT + 1
    assert found["ordinary", NO_ROUTE, "200"] == 50


def test_pool_shows_busy_threads_queue_waits_and_sheds() -> None:
    released.clear()
    with scraped(threads=1, queue_limit=1) as (server, metric):
        clients = []
        try:
            for busy, queued in ((1, 0), (1, 1)):
                client = threading.Thread(target=requests.get, args=(server.url + "/hang",))
                client.start()
                clients.append(client)
                poll(lambda b=busy: metric("pool_threads_busy") == b)  # type: ignore[misc]
                poll(lambda q=queued: metric("pool_queue_requests") == q)  # type: ignore[misc]
            assert requests.get(server.url + "/item/1", timeout=5).status_code == 503
            assert metric("pool_shed_total", reason="queue_full") == 1
            assert metric("pool_threads") == 1
            assert metric("pool_queue_limit") == 1
            assert metric("requests_in_flight", half="ordinary") == 2
        finally:
            released.set()
            for client in clients:
                client.join(30)
        assert metric("pool_wait_seconds_count") == 2


def test_connections_are_counted_on_the_llhttp_layer() -> None:
    with scraped() as (server, metric):
        session = requests.Session()
        session.get(server.url + "/item/1", timeout=5)
        assert metric("connections") == 2
        assert (metric("connections_accepted_total") or 0) >= 2
        assert metric("connections_refused_total") == 0
        session.close()


def test_source_that_another_part_adds_is_shown() -> None:
    with scraped() as (server, metric):
        server.on_loop(
            lambda: add_source(server.server, lambda: [single(GAUGE, "extra", "More.", 7)])
        )
        assert metric("extra") == 7


def test_metrics_for_openmetrics_are_in_its_format() -> None:
    with scraped() as (server, _):
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        answer = requests.get(server.url + "/-/metrics", headers=accept, timeout=5)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_source_that_fails_is_said_to_fail_and_takes_no_other_along(
    caplog: pytest.LogCaptureFixture,
) -> None:
    works = threading.Event()

    def fickle() -> list[Family]:
        if not works.is_set():
            raise RuntimeError("its numbers are locked")
        return [single(GAUGE, "fickle", "Works now and then.", 5)]

    def make() -> HTTPServer:
        server = HTTPServer(WSGIContainer(app))
        ops.install(server)
        add_source(server, fickle)
        return server

    failing = ("flasknado_metrics_source_failing", frozenset({("source", fickle.__qualname__)}))
    with serving(make) as served:

        def scrape() -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
            return samples(requests.get(served.url + "/-/metrics", timeout=5).text)

        for _ in range(2):
            found = scrape()
            assert found[failing] == 1
            assert ("flasknado_connections", frozenset()) in found
            assert ("flasknado_fickle", frozenset()) not in found
        works.set()
        found = scrape()
        assert (found[failing], found["flasknado_fickle", frozenset()]) == (0, 5)
    assert caplog.text.count("their source failed") == 1


def test_metrics_that_take_too_long_are_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "TIMEOUT_S", 0.2)
    release = threading.Event()
    monkeypatch.setattr(exposition.Metrics, "_expose", lambda *_: release.wait(30))

    def make() -> HTTPServer:
        server = HTTPServer(WSGIContainer(app))
        ops.install(server)
        return server

    with serving(make) as served:
        try:
            answer = requests.get(served.url + "/-/metrics", timeout=10)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        finally:
            release.set()
