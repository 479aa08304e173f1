"""`wsgiref.validate` around an application: the server's half of PEP 3333, request by request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from wsgiref.validate import validator

import pytest

from tests.flasknado.wsgi.conftest import Serve
from tests.flasknado.wsgi.differential.requests import REQUESTS
from tests.flasknado.wsgi.wire import Wire
from tests.support.serving import Serving


def application(environ: dict[str, Any], start_response: Any) -> Any:
    """Answer in the way that the path names, after reading the body in several ways."""
    body = environ["wsgi.input"]
    size = len(body.read(3)) + len(body.readline()) + sum(map(len, body)) + len(body.read(1))
    path = environ["PATH_INFO"]
    if path == "/empty":
        start_response("204 No Content", [])
        return []
    if path == "/write":
        start_response("200 OK", [("Content-Type", "text/plain")])(b"written ")
        return [b"returned"]
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Size", str(size))])
    return _parts() if path == "/parts" else [b"whole"]


def _parts() -> Iterator[bytes]:
    yield b"in "
    yield b"parts"


@pytest.fixture(scope="module")
def server(serve_module: Serve) -> Serving:
    return serve_module(validator(application), threads=2)


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/", 200, "whole"),
        ("/parts", 200, "in parts"),
        ("/write", 200, "written returned"),
        ("/empty", 204, ""),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
def test_validator_finds_no_fault_with_any_way_to_answer(
    method: str, path: str, status: int, text: str, server: Serving
) -> None:
    with Wire(server.address) as wire:
        for _ in range(3):
            answer = wire.get(path, method=method)
            assert answer.status == status
            assert answer.text == ("" if method == "HEAD" else text)


VALIDATED = {
    name: data
    for name, data in REQUESTS.items()
    # The validator warns of methods that it does not know, and knows no path but of slashes.
    if not name.startswith(("BREW", "get")) and name != "OPTIONS of everything"
}


def test_validator_finds_no_fault_with_any_request_of_the_battery(
    server: Serving, layer: str, caplog: pytest.LogCaptureFixture
) -> None:
    refused = [name for name, request in VALIDATED.items() if not _is_taken(server, request)]
    faults = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert faults == []
    assert all("raw" in name for name in refused)


def _is_taken(server: Serving, request: bytes) -> bool:
    with Wire(server.address) as wire:
        answer = wire.ask(request)
    assert answer.status in (200, 204, 400)
    return answer.status != 400


def test_validator_reports_an_application_that_breaks_the_rules(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    def rude(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", {})
        return [b"body"]

    with Wire(serve(validator(rude)).address) as wire:
        assert wire.get("/").status == 500
    assert "must be of type list" in caplog.text
