"""The Engine.IO v4 protocol, case by case as the protocol's public test suite has them."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.flasknado.live.helpers import wait_for
from tests.flasknado.socketio.clients import (
    DEADLINE_S,
    OFTEN,
    PATIENT,
    Requests,
    check_handshake,
    parked,
    read_to_end,
    receive,
)
from tests.protocol_servers import engineio_echo
from tests.protocol_servers.engineio_echo import PING_INTERVAL_S, PING_TIMEOUT_S
from tests.support.serving import serving


@pytest.fixture(scope="module", params=["llhttp", "tornado"])
def layer(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def requests(layer: str) -> Iterator[Requests]:
    with serving(lambda: engineio_echo.server(layer, **PATIENT)) as served:
        yield Requests(served, "/engine.io/")


@pytest.fixture(scope="module")
def often(layer: str) -> Iterator[Requests]:
    """Return a server whose heartbeats come soon, and may be answered late."""
    with serving(lambda: engineio_echo.server(layer, **OFTEN)) as served:
        yield Requests(served, "/engine.io/")


@pytest.fixture(scope="module")
def suites(layer: str) -> Iterator[Requests]:
    """Return a server with the heartbeats of the public suite."""
    with serving(lambda: engineio_echo.server(layer)) as served:
        yield Requests(served, "/engine.io/")


def test_handshake_on_polling_opens_a_session(suites: Requests) -> None:
    answer = suites.send(EIO="4", transport="polling")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; charset=UTF-8"
    assert answer.headers["Cache-Control"] == "no-store"
    check_handshake(answer.text, ["websocket"])


@pytest.mark.parametrize(
    "query",
    [
        {"transport": "polling"},
        {"transport": "polling", "EIO": "abc"},
        {"transport": "polling", "EIO": "3"},
        {"EIO": "4"},
        {"EIO": "4", "transport": "abc"},
        {"EIO": "4", "transport": "polling", "sid": "unknown"},
    ],
)
def test_handshake_on_polling_with_a_bad_query_is_refused(
    requests: Requests, query: dict[str, str]
) -> None:
    answer = requests.send(**query)
    assert answer.status == 400
    assert isinstance(answer.json["code"], int)
    assert answer.json["message"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "HEAD"])
def test_handshake_on_polling_with_another_method_is_refused(
    requests: Requests, method: str
) -> None:
    assert requests.send(method, EIO="4", transport="polling").status == 400


def test_handshake_on_websocket_opens_a_session(suites: Requests) -> None:
    with suites.websocket() as websocket:
        data = websocket.recv(DEADLINE_S)
    assert isinstance(data, str)
    check_handshake(data, [])


@pytest.mark.parametrize(
    "query", [{"EIO": ""}, {"EIO": "abc"}, {"transport": ""}, {"transport": "abc"}]
)
def test_handshake_on_websocket_with_a_bad_query_is_refused(
    requests: Requests, query: dict[str, str]
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        requests.websocket(**query)
    assert refused.value.response.status_code == 400


@pytest.mark.parametrize(
    "payload", ["4hello", "4test1\x1e4test2\x1e4test3", "4hello\x1ebAQIDBA==", "4€\x1e4"]
)
def test_message_on_polling_is_echoed(requests: Requests, payload: str) -> None:
    session = requests.open()
    answer = session.post(payload)
    assert (answer.status, answer.text) == (200, "ok")
    answer = session.poll()
    assert (answer.status, answer.text) == (200, payload)


@pytest.mark.parametrize("payload", ["abc", "", "4hello\x1e", "b!", "bA", "2", "0", "5", b"4\xff"])
def test_packet_on_polling_that_is_none_closes_the_session(
    requests: Requests, payload: str | bytes
) -> None:
    session = requests.open()
    assert session.post(payload).status == 400
    assert session.poll().status == 400


def test_second_poll_closes_the_session(requests: Requests) -> None:
    session = requests.open()
    first = parked(session)
    assert session.poll().status == 400
    assert (first().status, first().text) == (200, "1")
    assert session.poll().status == 400


def test_poll_that_is_cancelled_closes_the_session(requests: Requests) -> None:
    session = requests.open()
    connection = http.client.HTTPConnection(*requests.serving.address, timeout=DEADLINE_S)
    target = requests.target(EIO="4", transport="polling", sid=session.sid)
    connection.request("GET", target)
    wait_for(lambda: requests.serving.server.counters.in_flight, "the poll waits")
    connection.close()
    wait_for(lambda: not requests.serving.server.counters.in_flight, "the poll has gone")
    assert session.poll().status == 400


def test_message_on_websocket_is_echoed(requests: Requests) -> None:
    with requests.websocket() as websocket:
        receive(websocket)
        websocket.send("4hello")
        assert receive(websocket) == "4hello"
        websocket.send(b"\x01\x02\x03\x04")
        assert receive(websocket) == b"\x01\x02\x03\x04"


@pytest.mark.parametrize("data", ["abc", "", "2", "5", "0", "bAQIDBA=="])
def test_packet_on_websocket_that_is_none_closes_it(requests: Requests, data: str) -> None:
    with requests.websocket() as websocket:
        receive(websocket)
        websocket.send(data)
        read_to_end(websocket)
    assert websocket.close_code == 1000 or websocket.close_code == 1008


def test_heartbeat_on_polling_keeps_the_session(often: Requests) -> None:
    session = often.open()
    for _ in range(3):
        answer = session.poll()
        assert (answer.status, answer.text) == (200, "2")
        assert session.post("3").status == 200


def test_heartbeat_on_polling_that_is_not_answered_closes_the_session(suites: Requests) -> None:
    session = suites.open()
    time.sleep(PING_INTERVAL_S + PING_TIMEOUT_S)
    # On a machine that is very busy the ping was late, and its answer may be.
    wait_for(lambda: session.poll().status == 400, "the session has ended")


def test_heartbeat_on_websocket_keeps_the_session(often: Requests) -> None:
    with often.websocket() as websocket:
        receive(websocket)
        for _ in range(3):
            assert receive(websocket) == "2"
            websocket.send("3")


def test_heartbeat_on_websocket_that_is_not_answered_closes_it(suites: Requests) -> None:
    with suites.websocket() as websocket:
        receive(websocket)
        assert read_to_end(websocket) == ["2"]


def test_close_on_polling_ends_the_poll_and_the_session(requests: Requests) -> None:
    session = requests.open()
    poll = parked(session)
    assert session.post("1").status == 200
    assert (poll().status, poll().text) == (200, "6")
    assert session.poll().status == 400


def test_close_on_websocket_closes_it(requests: Requests) -> None:
    with requests.websocket() as websocket:
        receive(websocket)
        websocket.send("1")
        assert read_to_end(websocket) == []


def test_upgrade_ends_the_poll_and_goes_on_over_websocket(requests: Requests) -> None:
    session = requests.open()
    with session.upgrade() as websocket:
        websocket.send("2probe")
        assert receive(websocket) == "3probe"
        answer = session.poll()
        assert (answer.status, answer.text) == (200, "6")
        websocket.send("5")
        websocket.send("4hello")
        assert receive(websocket) == "4hello"


def test_upgrade_ends_a_poll_that_waits(requests: Requests) -> None:
    session = requests.open()
    poll = parked(session)
    with session.upgrade() as websocket:
        websocket.send("2probe")
        assert receive(websocket) == "3probe"
        assert poll().text == "6"


def test_upgrade_takes_what_waits_along(requests: Requests) -> None:
    session = requests.open()
    with session.upgrade() as websocket:
        session.post("4waits")
        websocket.send("2probe")
        assert receive(websocket) == "3probe"
        websocket.send("5")
        assert receive(websocket) == "4waits"


def test_polling_after_the_upgrade_is_refused(requests: Requests) -> None:
    session = requests.open()
    with session.upgrade() as websocket:
        websocket.send("2probe")
        assert receive(websocket) == "3probe"
        websocket.send("5")
        websocket.send("4first")
        assert receive(websocket) == "4first"
        assert session.poll().status == 400
        assert session.post("4no").status == 400
        websocket.send("4hello")
        assert receive(websocket) == "4hello"


def test_websocket_after_the_upgrade_is_refused(requests: Requests) -> None:
    session = requests.open()
    with session.upgrade() as websocket:
        websocket.send("2probe")
        assert receive(websocket) == "3probe"
        with session.upgrade() as second:  # while the first may still become the transport
            assert read_to_end(second) == []
        websocket.send("5")
        websocket.send("4first")
        assert receive(websocket) == "4first"
        with pytest.raises(InvalidStatus):
            session.upgrade()
        websocket.send("4hello")
        assert receive(websocket) == "4hello"


@pytest.mark.parametrize("data", ["5", "4hello", "2other", b"\x01"])
def test_candidate_that_is_not_probed_is_closed_and_the_session_stays(
    requests: Requests, data: str | bytes
) -> None:
    session = requests.open()
    with session.upgrade() as websocket:
        websocket.send(data)
        with pytest.raises(ConnectionClosed):
            websocket.recv(DEADLINE_S)
    assert session.post("4hello").status == 200
    assert session.poll().text == "4hello"
