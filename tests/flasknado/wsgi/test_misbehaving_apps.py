"""Whatever an application does wrong, its client gets an answer or a closed connection at once."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.flasknado.wsgi.conftest import Serve
from tests.flasknado.wsgi.fixture_apps import APPS, FAILED, SECRET, application
from tests.flasknado.wsgi.wire import Answer, Truncated, Wire
from tests.support.serving import Serving


@pytest.fixture(scope="module")
def server(serve_module: Serve) -> Serving:
    return serve_module(application, threads=4)


def reason_of(answer: Answer) -> str:
    return answer.status_line.decode("latin-1").removeprefix("HTTP/1.1 ")


@pytest.mark.parametrize("name", APPS)
def test_application_that_misbehaves_still_ends_its_request(name: str, server: Serving) -> None:
    outcome = APPS[name][1]
    with Wire(server.address) as wire:
        if outcome.cut:
            with pytest.raises(Truncated):
                wire.get("/" + quote(name))
            assert wire.rest() == b""
            return
        answer = wire.get("/" + quote(name))
        assert reason_of(answer) == outcome.status
        if outcome.body is not None:
            assert answer.body == outcome.body
        assert wire.get("/fine").body == b"fine"


@pytest.mark.parametrize("name", APPS)
def test_head_of_an_application_that_misbehaves_has_no_body(name: str, server: Serving) -> None:
    outcome = APPS[name][1]
    with Wire(server.address) as wire:
        answer = wire.get("/" + quote(name), method="HEAD")
        if not outcome.cut and outcome is not FAILED:
            assert reason_of(answer) == outcome.status
        assert wire.get("/fine").body == b"fine"


@pytest.mark.parametrize("name", [name for name, (_, outcome) in APPS.items() if outcome is FAILED])
def test_error_answer_says_nothing_of_the_fault(name: str, server: Serving) -> None:
    with Wire(server.address) as wire:
        answer = wire.get("/" + quote(name))
    assert answer.header("Content-Type") == "text/plain; charset=utf-8"
    assert answer.text.startswith("Internal Server Error.")
    for telling in (SECRET, "Traceback", "Error:", ".py", "Injected"):
        assert telling not in answer.text
        assert not any(telling in value.decode("latin-1") for _, value in answer.fields)


def test_error_is_logged_with_its_traceback_and_the_id_that_the_client_was_told(
    server: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    with Wire(server.address) as wire:
        answer = wire.get("/raises_before_start")
    request_id = answer.text.rstrip(".\n").rpartition(" ")[2]
    records = [record for record in caplog.records if request_id in record.getMessage()]
    assert len(records) == 1
    assert records[0].exc_info is not None
    assert SECRET in str(records[0].exc_info[1])


@pytest.mark.parametrize("name", ["body_on_204", "endless_body_on_204", "writes_on_204"])
def test_204_has_neither_length_nor_coding(name: str, server: Serving) -> None:
    with Wire(server.address) as wire:
        answer = wire.get("/" + name)
    assert answer.all("Content-Length") == answer.all("Transfer-Encoding") == []


def test_304_keeps_the_length_of_what_was_not_sent(server: Serving) -> None:
    with Wire(server.address) as wire:
        assert wire.get("/length_on_304").header("Content-Length") == "1234"


@pytest.mark.parametrize("name", ["body_on_304", "length_on_304"])
def test_304_has_no_transfer_coding(name: str, server: Serving) -> None:
    with Wire(server.address) as wire:
        assert wire.get("/" + name).all("Transfer-Encoding") == []


def test_replaced_head_leaves_nothing_of_the_first(server: Serving) -> None:
    with Wire(server.address) as wire:
        answer = wire.get("/changes_its_mind")
    assert answer.all("X-First") == []
    assert answer.header("Content-Length") == "5"


@pytest.mark.parametrize(
    ("name", "length"),
    [("returns_an_empty_list", "0"), ("returns_a_list_of_one_empty_part", "0"), ("fine", "4")],
)
def test_body_that_is_whole_is_announced_with_its_length(
    name: str, length: str, server: Serving
) -> None:
    with Wire(server.address) as wire:
        answer = wire.get("/" + name)
    assert answer.header("Content-Length") == length
    assert answer.all("Transfer-Encoding") == []
