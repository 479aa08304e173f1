"""The Socket.IO v5 protocol, case by case as the protocol's public test suite has them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection

from tests.flasknado.live.helpers import wait_for
from tests.flasknado.socketio.clients import (
    OFTEN,
    PATIENT,
    Requests,
    check_handshake,
    parked,
    read_to_end,
    receive,
)
from tests.protocol_servers import socketio_echo
from tests.support.serving import serving


@pytest.fixture(scope="module")
def requests() -> Iterator[Requests]:
    with serving(lambda: socketio_echo.server(**PATIENT)) as served:
        yield Requests(served)


@pytest.fixture(scope="module")
def often() -> Iterator[Requests]:
    """Return a server whose heartbeats come soon, and may be answered late."""
    with serving(lambda: socketio_echo.server(**OFTEN)) as served:
        yield Requests(served)


@pytest.fixture(scope="module")
def suites() -> Iterator[Requests]:
    """Return a server with the heartbeats of the public suite."""
    with serving(socketio_echo.server) as served:
        yield Requests(served)


@pytest.fixture
def websocket(requests: Requests) -> Iterator[ClientConnection]:
    """Return a connection that has shaken hands with Engine.IO."""
    with requests.websocket() as websocket:
        receive(websocket)
        yield websocket


@pytest.fixture
def connected(websocket: ClientConnection) -> ClientConnection:
    """Return a connection to the main namespace."""
    websocket.send("40")
    assert str(receive(websocket)).startswith("40{")
    assert receive(websocket) == '42["auth",{}]'
    return websocket


def test_handshake_on_either_transport_opens_a_session(suites: Requests) -> None:
    answer = suites.send(EIO="4", transport="polling")
    assert answer.status == 200
    check_handshake(answer.text, ["websocket"])
    with suites.websocket() as websocket:
        check_handshake(receive(websocket), [])


@pytest.mark.parametrize(
    "query", [{"EIO": ""}, {"EIO": "abc"}, {"transport": ""}, {"transport": "abc"}]
)
def test_handshake_with_a_bad_query_is_refused(requests: Requests, query: dict[str, str]) -> None:
    assert requests.send(**({"EIO": "4", "transport": "polling"} | query)).status == 400
    with pytest.raises(InvalidStatus):
        requests.websocket(**query)


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_handshake_with_another_method_is_refused(requests: Requests, method: str) -> None:
    assert requests.send(method, EIO="4", transport="polling").status == 400


def test_heartbeat_on_polling_keeps_the_session(often: Requests) -> None:
    session = often.open()
    for _ in range(3):
        assert session.poll().text == "2"
        assert session.post("3").status == 200


def test_heartbeat_that_is_not_answered_ends_the_session(suites: Requests) -> None:
    session = suites.open()
    wait_for(lambda: session.poll().status == 400, "the session has ended")
    with suites.websocket() as websocket:
        receive(websocket)
        assert read_to_end(websocket) == ["2"]


def test_heartbeat_on_websocket_keeps_the_session(often: Requests) -> None:
    with often.websocket() as websocket:
        receive(websocket)
        for _ in range(3):
            assert receive(websocket) == "2"
            websocket.send("3")


def test_close_packet_ends_the_session(requests: Requests, websocket: ClientConnection) -> None:
    session = requests.open()
    poll = parked(session)
    assert session.post("1").status == 200
    assert (poll().status, poll().text) == (200, "6")
    assert session.poll().status == 400
    websocket.send("1")
    read_to_end(websocket)


def test_upgrade_leaves_polling_for_websocket(requests: Requests) -> None:
    session = requests.open()
    with session.upgrade() as websocket:
        websocket.send("2probe")
        assert receive(websocket) == "3probe"
        websocket.send("5")
        websocket.send("40")
        assert str(receive(websocket)).startswith("40{")
        assert session.poll().status == 400
        with pytest.raises(InvalidStatus):
            session.upgrade()


@pytest.mark.parametrize(
    ("packet", "prefix", "auth"),
    [
        ("40", "40", {}),
        ('40{"token":"123"}', "40", {"token": "123"}),
        ("40/custom,", "40/custom,", {}),
        ("40/custom", "40/custom,", {}),
        ("40/custom?a=1,", "40/custom,", {}),
        ('40/custom,{"token":"abc"}', "40/custom,", {"token": "abc"}),
    ],
)
def test_connect_to_a_namespace_is_allowed(
    websocket: ClientConnection, packet: str, prefix: str, auth: dict[str, str]
) -> None:
    websocket.send(packet)
    answer = str(receive(websocket))
    assert answer.startswith(prefix)
    handshake = json.loads(answer.removeprefix(prefix))
    assert handshake.keys() == {"sid"}
    assert isinstance(handshake["sid"], str)
    said = json.dumps(["auth", auth], separators=(",", ":"))
    assert receive(websocket) == prefix.replace("40", "42", 1) + said


def test_connect_to_an_unknown_namespace_is_refused(websocket: ClientConnection) -> None:
    websocket.send("40/random")
    assert receive(websocket) == '44/random,{"message":"Invalid namespace"}'


def test_connect_that_is_none_closes_the_connection(websocket: ClientConnection) -> None:
    websocket.send("4abc")
    read_to_end(websocket)


def test_connection_without_a_connect_packet_is_closed(suites: Requests) -> None:
    with suites.websocket() as websocket:
        assert read_to_end(websocket)[1:] == ["2"]


def test_disconnect_from_the_main_namespace_keeps_the_connection(
    connected: ClientConnection,
) -> None:
    connected.send("41")
    connected.send("40/custom")
    assert str(receive(connected)).startswith("40/custom,")


def test_disconnect_from_a_namespace_keeps_the_others(connected: ClientConnection) -> None:
    connected.send("40/custom")
    assert str(receive(connected)).startswith("40/custom,")
    assert receive(connected) == '42/custom,["auth",{}]'
    connected.send("41/custom")
    connected.send('42["message","message to main namespace"]')
    assert receive(connected) == '42["message-back","message to main namespace"]'


def test_message_is_sent_back(connected: ClientConnection) -> None:
    connected.send('42["message",1,"2",{"3":[true]}]')
    assert receive(connected) == '42["message-back",1,"2",{"3":[true]}]'


def test_message_with_attachments_is_sent_back(connected: ClientConnection) -> None:
    two = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}'
    connected.send(f'452-["message",{two}]')
    connected.send(b"\x01\x02\x03")
    connected.send(b"\x04\x05\x06")
    assert receive(connected) == f'452-["message-back",{two}]'
    assert receive(connected) == b"\x01\x02\x03"
    assert receive(connected) == b"\x04\x05\x06"


def test_message_with_an_ack_is_acknowledged(connected: ClientConnection) -> None:
    connected.send('42456["message-with-ack",1,"2",{"3":[false]}]')
    assert receive(connected) == '43456[1,"2",{"3":[false]}]'


def test_message_with_attachments_and_an_ack_is_acknowledged(connected: ClientConnection) -> None:
    two = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}'
    connected.send(f'452-789["message-with-ack",{two}]')
    connected.send(b"\x01\x02\x03")
    connected.send(b"\x04\x05\x06")
    assert receive(connected) == f"462-789[{two}]"
    assert receive(connected) == b"\x01\x02\x03"
    assert receive(connected) == b"\x04\x05\x06"


@pytest.mark.parametrize(
    "packet",
    [
        "4abc",
        "42{}",
        "42[]",
        '42[1,"message"]',
        '42abc["message-with-ack",1,"2",{"3":[false]}]',
        "4",
        '44{"message":"no"}',
        '451-["message"]',
        '45["message"]',
        '421-["message"]',
        "43[]",
        "40",
        "42[" * 5000,
    ],
)
def test_packet_that_is_none_closes_the_connection(
    connected: ClientConnection, packet: str
) -> None:
    connected.send(packet)
    if packet.startswith("451"):
        connected.send("4text")
    read_to_end(connected)
