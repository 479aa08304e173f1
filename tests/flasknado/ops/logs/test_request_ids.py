"""Lines of the loop carry the id of their own request, whatever else the connection has served."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import pytest
import tornado.web
import tornado.websocket
from websockets.sync.client import connect as open_socket

from flasknado import HTTPServer, WSGIContainer
from flasknado.ops.logs.error import RequestFilter
from flasknado.ops.logs.scrub import Scrubber
from flasknado.server import LAYERS
from tests.support.poll import poll
from tests.support.raw import connect, read_to_end, statuses
from tests.support.serving import Serving, serving

log = logging.getLogger("mine")


class Speaking(tornado.web.RequestHandler):
    """Says where it is, at each of its steps."""

    def prepare(self) -> None:
        log.warning("prepare %s", self.request.path)

    def get(self) -> None:
        log.warning("get %s", self.request.path)
        self.write("said")

    def on_finish(self) -> None:
        log.warning("finish %s", self.request.path)


@tornado.web.stream_request_body
class Reading(tornado.web.RequestHandler):
    def data_received(self, chunk: bytes) -> None:
        log.warning("data %s", self.request.path)

    def post(self) -> None:
        log.warning("post %s", self.request.path)

    def on_connection_close(self) -> None:
        log.warning("gone %s", self.request.path)


class Talking(tornado.websocket.WebSocketHandler):
    def on_message(self, message: str | bytes) -> None:
        log.warning("message %s", self.request.path)
        self.write_message("heard")

    def on_close(self) -> None:
        log.warning("closed %s", self.request.path)


def application(environ: object, start_response: object) -> list[bytes]:
    assert callable(start_response)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


class Ids(logging.Handler):
    """The ids that the error log would show, by message."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, str] = {}
        self.addFilter(RequestFilter(Scrubber()))

    def emit(self, record: logging.LogRecord) -> None:
        self.seen[record.getMessage()] = record.request_id  # type: ignore[attr-defined]

    def of(self, beginning: str) -> str:
        return next(name for message, name in self.seen.items() if message.startswith(beginning))


@pytest.fixture
def ids() -> Iterator[Ids]:
    handler = Ids()
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield handler
    root.setLevel(level)
    root.removeHandler(handler)


@contextlib.contextmanager
def speaking(layer: str) -> Iterator[Serving]:
    def make() -> HTTPServer:
        return HTTPServer(
            WSGIContainer(application),
            handlers=[(r"/read.*", Reading), (r"/talk.*", Talking), (r"/native.*", Speaking)],
            http=layer,
            trusted_proxies=["127.0.0.1"],
            trusted_fields=["request-id"],
        )

    with serving(make) as server:
        yield server


def request(path: str, name: str, *fields: str, method: str = "GET", body: str = "") -> bytes:
    head = [f"{method} {path} HTTP/1.1", "Host: a", f"X-Request-ID: {name}", *fields, "", body]
    return "\r\n".join(head).encode()


@pytest.mark.parametrize("layer", LAYERS)
def test_handlers_of_requests_sent_together_log_their_own_ids(layer: str, ids: Ids) -> None:
    with speaking(layer) as server, connect(server.address) as sock:
        sent = [request(f"/native{n}", f"name-{n}") for n in range(5)]
        sock.sendall(b"".join(sent) + request("/native5", "name-5", "Connection: close"))
        assert statuses(read_to_end(sock)) == [200] * 6
        poll(lambda: "finish /native5" in ids.seen)
    for step in ("prepare", "get", "finish"):
        assert [ids.seen[f"{step} /native{n}"] for n in range(6)] == [f"name-{n}" for n in range(6)]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("before", ["/native", "/ordinary"])
def test_refusal_behind_another_request_does_not_carry_its_id(
    layer: str, before: str, ids: Ids
) -> None:
    with speaking(layer) as server, connect(server.address) as sock:
        sock.sendall(request(before, "first"))
        while b"said" not in (data := sock.recv(4096)) and b"ok" not in data:
            pass
        sock.sendall(b"GET /x HTTP/1.1\r\nHost: a b\r\n\r\n")
        assert statuses(read_to_end(sock)) == [400]
        assert ids.of("Malformed HTTP message from 127.0.0.1: ") == "-"


@pytest.mark.parametrize("layer", LAYERS)
def test_body_and_close_of_a_streamed_request_carry_its_id(layer: str, ids: Ids) -> None:
    with speaking(layer) as server, connect(server.address) as sock:
        sock.sendall(request("/native-first", "first"))
        while b"said" not in sock.recv(4096):
            pass
        sock.sendall(request("/read", "second", "Content-Length: 9", method="POST", body="1234"))
        poll(lambda: "data /read" in ids.seen)
        sock.close()
        poll(lambda: "gone /read" in ids.seen)
    assert (ids.seen["data /read"], ids.seen["gone /read"]) == ("second", "second")


@pytest.mark.parametrize("layer", LAYERS)
def test_messages_of_a_web_socket_carry_its_id(layer: str, ids: Ids) -> None:
    with speaking(layer) as server:
        url = f"ws://127.0.0.1:{server.port}/talk"
        with open_socket(url, additional_headers={"X-Request-ID": "socket"}) as talking:
            talking.send("hello")
            assert talking.recv(20) == "heard"
        poll(lambda: "closed /talk" in ids.seen)
    assert ids.seen["message /talk"] == "socket"
    assert ids.seen["closed /talk"] == "socket"


@pytest.mark.parametrize("layer", LAYERS)
def test_refusal_is_told_with_the_address_of_the_client(layer: str) -> None:
    told: list[tuple[object, int]] = []
    with speaking(layer) as server:

        def set_hook() -> None:
            server.server.on_response = lambda finished: told.append(
                (finished.peer and finished.peer[0], finished.status)
            )

        server.on_loop(set_hook)
        with connect(server.address) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n")
            assert statuses(read_to_end(sock)) == [400]
        poll(lambda: told)
    assert told == [("127.0.0.1", 400)]
