"""The pulse: who may see it, and what it makes of the server's metrics."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

import async_handlers
from async_handlers.pulse.numbers import Pulse
from flasknado import Family, HTTPServer, WSGIContainer, read_metrics
from tests.support.serving import Serving, serving


class Hooks:
    """An application's answers: whoever asks may do what `may` says."""

    def __init__(self, **may: object) -> None:
        self.may = may
        self.published = 0

    def access(self) -> dict[str, object]:
        return self.may

    def publish(self, count: int) -> None:
        self.published += count


@pytest.fixture
def served() -> Iterator[Serving]:
    app = Flask("pulse_tests")
    with serving(lambda: HTTPServer(WSGIContainer(app), handlers=async_handlers.routes)) as served:
        yield served


def request(served: Serving, method: str, path: str, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(*served.address, timeout=20)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response.status, body


def hook(served: Serving, hooks: Hooks) -> Hooks:
    app: Any = served.server.native.application.settings["wsgi_app"]
    app.extensions["webapp.pulse"] = hooks
    return hooks


@pytest.mark.parametrize("see", [False, None, "yes", 1])
def test_pulse_is_hidden_from_whom_the_application_does_not_let_see_it(
    served: Serving, see: object
) -> None:
    hook(served, Hooks(see=see, act=True))

    status, page = request(served, "GET", "/pulse")
    assert status == 403
    assert "Only administrators" in page
    assert "data-do" not in page
    assert request(served, "GET", "/pulse/stream")[0] == 403
    assert request(served, "POST", "/pulse/publish", Origin=served.url)[0] == 403


def test_pulse_without_the_right_to_act_has_no_buttons(served: Serving) -> None:
    hooks = hook(served, Hooks(see=True, act=False))

    assert "data-do" not in request(served, "GET", "/pulse")[1]
    assert request(served, "POST", "/pulse/publish", Origin=served.url)[0] == 403
    assert hooks.published == 0


def test_action_that_fails_may_be_tried_again(served: Serving) -> None:
    class Failing(Hooks):
        def publish(self, count: int) -> None:
            raise OSError

    hook(served, Failing(see=True, act=True))
    assert request(served, "POST", "/pulse/publish", Origin=served.url)[0] == 500
    hooks = hook(served, Hooks(see=True, act=True))
    assert request(served, "POST", "/pulse/publish", Origin=served.url)[0] == 200
    assert hooks.published == 1_000


def test_metrics_of_a_server_that_counts_nothing_are_none(served: Serving) -> None:
    assert served.on_loop(lambda: read_metrics(served.server)) == []


def families(requests: float, took_s: float, native: float = 0) -> list[Family]:
    return [
        Family("gauge", "connections", "", (), {(): 7}),
        Family(
            "counter",
            "requests",
            "",
            ("half", "route", "status"),
            {("ordinary", "/", "200"): requests, ("native", "/live", "200"): native},
        ),
        Family(
            "histogram",
            "request_duration_seconds",
            "",
            ("half", "route"),
            {("ordinary", "/"): [requests, 0, took_s], ("native", "/live"): [native, 0, 1e6]},
        ),
    ]


def test_numbers_are_what_happened_since_the_last_beat() -> None:
    pulse = Pulse()

    first = pulse.beat(families(100, 5), 1, 0)
    second = pulse.beat(families(110, 6, native=4), 2, 0.003)
    third = pulse.beat(families(0, 0), 1, 0)

    assert (first["requests_flask"], first["latency_ms"]) == (0, 0)
    assert (second["requests_flask"], second["requests_native"]) == (5, 2)
    assert second["latency_ms"] == 100
    assert (second["lag_ms"], second["connections"]) == (3, 7)
    assert (third["requests_flask"], third["latency_ms"]) == (0, 0)
