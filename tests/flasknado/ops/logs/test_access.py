"""The access log of a real server, on both layers and both halves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import pytest
import requests
import tornado.web
import tornado.websocket

from flasknado import HTTPServer, WSGIContainer, in_flask, ops
from flasknado.environ import REQUEST_ID_KEY
from flasknado.http import spool
from flasknado.http.limits import Limits
from flasknado.ops.logs.access_lines import template
from flasknado.ops.logs.scrub import Scrubber
from flasknado.server import LAYERS, LLHTTP
from tests.support.poll import poll
from tests.support.raw import connect, converse
from tests.support.serving import Serving, serving

app = flask.Flask("logged")


@app.get("/item/<int:number>")
def item(number: int) -> str:
    return str(number)


@app.get("/stream")
def stream() -> Any:
    return flask.Response((b"x" * 1000 for _ in range(50)), mimetype="text/plain")


@app.get("/long")
def long() -> Any:
    return flask.Response((b"x" * 10_000 for _ in range(5000)), mimetype="text/plain")


@app.get("/file")
def file() -> Any:
    file = tempfile.TemporaryFile()  # noqa: SIM115 (send_file closes it)
    file.truncate(50_000_000)
    return flask.send_file(file, mimetype="text/plain")


@app.get("/named")
def named() -> Any:
    return "named", 200, {"X-Request-ID": "the-app-says"}


@app.get("/name")
def name_of_the_request() -> str:
    return str(flask.request.environ[REQUEST_ID_KEY])


class InFlask(tornado.web.RequestHandler):
    async def get(self) -> None:
        self.write(await in_flask(self, name_of_the_request))


class Native(tornado.web.RequestHandler):
    def get(self, name: str) -> None:
        logging.getLogger("native").warning("in native %s", name)
        self.write(name)

    post = get


class NativeLong(tornado.web.RequestHandler):
    async def get(self) -> None:
        for _ in range(5000):
            self.write(b"x" * 10_000)
            await self.flush()


class Echo(tornado.websocket.WebSocketHandler):
    def on_message(self, message: str | bytes) -> None:
        self.write_message(message)


ROUTES = [
    (r"/native/(\w+)", Native),
    (r"/native-long", NativeLong),
    (r"/echo", Echo),
    (r"/in-flask", InFlask),
]


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.entries: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.entries.append(json.loads(record.getMessage()))


@contextlib.contextmanager
def logged(
    layer: str = LLHTTP, trusted: tuple[str, ...] = (), limits: Limits | None = None
) -> Iterator[tuple[Serving, Lines]]:
    lines = Lines()
    logger = logging.Logger("access")  # noqa: LOG001 (the test's own)
    logger.addHandler(lines)

    def make() -> HTTPServer:
        server = HTTPServer(
            WSGIContainer(app),
            handlers=ROUTES,
            http=layer,
            trusted_proxies=trusted,
            trusted_fields=["request-id"],
            limits=limits,
        )
        operations = ops.install(
            server, access_template=template("json", Scrubber()), access_logger=logger
        )
        server.add_close_callback(lambda: operations.close("shutdown"))
        return server

    with serving(make) as server:
        yield server, lines


@pytest.mark.parametrize("layer", LAYERS)
def test_request_on_either_half_is_logged_once_with_id_and_route(layer: str) -> None:
    with logged(layer) as (server, lines):
        ordinary = requests.get(server.url + "/item/7?token=hush", timeout=5)
        native = requests.get(server.url + "/native/x?jwt=hush", timeout=5)
        poll(lambda: len(lines.entries) >= 2)
    first, second = lines.entries
    assert first["request_id"] == ordinary.headers["X-Request-ID"]
    assert (first["half"], first["route"]) == ("ordinary", "/item/<int:number>")
    assert first["target"] == "/item/7?token=***"
    assert second["request_id"] == native.headers["X-Request-ID"] != first["request_id"]
    assert (second["half"], second["route"]) == ("native", r"/native/(\w+)")
    assert second["target"] == "/native/x?jwt=***"
    assert (first["client"], first["status"], first["method"]) == ("127.0.0.1", 200, "GET")
    assert first["sent_bytes"] > 100
    assert 0 < first["duration_s"] < 5


@pytest.mark.parametrize("layer", LAYERS)
def test_native_request_leaves_no_line_of_tornado_with_its_target(
    layer: str, caplog: pytest.LogCaptureFixture
) -> None:
    with logged(layer) as (server, lines), caplog.at_level(logging.DEBUG):
        requests.get(server.url + "/native/x?jwt=hush", timeout=5)
        requests.get(server.url + "/-/healthz?token=hush", timeout=5)
        poll(lambda: len(lines.entries) >= 2)
    assert "hush" not in "".join(
        record.getMessage() for record in caplog.records if "urllib3" not in record.name
    )


@pytest.mark.parametrize("layer", LAYERS)
def test_application_that_names_the_request_itself_is_left_its_name(layer: str) -> None:
    with logged(layer) as (server, _):
        answer = requests.get(server.url + "/named", timeout=5)
    assert answer.headers["X-Request-ID"] == "the-app-says"


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("path", ["/name", "/in-flask"])
def test_request_has_one_name_everywhere(layer: str, path: str) -> None:
    with logged(layer) as (server, lines):
        answer = requests.get(server.url + path, headers={"X-Request-ID": "mine"}, timeout=5)
        entry = poll(lambda: lines.entries)[0]
    assert answer.text == answer.headers["X-Request-ID"] == entry["request_id"] != "mine"


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("path", ["/name", "/native/x"])
def test_request_that_a_trusted_proxy_has_named_keeps_its_name(layer: str, path: str) -> None:
    with logged(layer, trusted=("127.0.0.1",)) as (server, lines):
        answer = requests.get(server.url + path, headers={"X-Request-ID": "proxy-7"}, timeout=5)
        entry = poll(lambda: lines.entries)[0]
    assert answer.headers["X-Request-ID"] == entry["request_id"] == "proxy-7"


def test_lines_that_are_lost_are_in_the_metrics() -> None:
    with logged() as (server, _):
        text = requests.get(server.url + "/-/metrics", timeout=5).text
    assert "flasknado_access_log_lines_dropped_total 0.0\n" in text


def test_stream_is_logged_at_its_end_with_all_its_bytes() -> None:
    with logged() as (server, lines):
        requests.get(server.url + "/stream", timeout=5)
        entry = poll(lambda: lines.entries)[0]
    assert entry["sent_bytes"] > 50_000


def test_malformed_request_is_logged_as_refused() -> None:
    with logged() as (server, lines):
        converse(server.address, b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        entry = poll(lambda: lines.entries)[0]
    assert (entry["half"], entry["status"]) == ("refused", 400)


def test_client_that_leaves_before_the_answer_is_logged_as_499() -> None:
    with logged() as (server, lines):
        with socket.create_connection(server.address) as client:
            client.sendall(b"POST /native/x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
            poll(lambda: server.server.counters.requests["native"])
        entry = poll(lambda: lines.entries)[0]
    assert (entry["status"], entry["target"]) == (499, "/native/x")


@pytest.mark.parametrize("path", ["/long", "/native-long", "/file"])
def test_client_that_does_not_take_its_answer_in_time_is_logged_as_408(path: str) -> None:
    with (
        logged(limits=Limits(write_timeout_s=0.3)) as (server, lines),
        connect(server.address, receive_buffer_bytes=4096) as client,
    ):
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        entry = poll(lambda: lines.entries)[0]
    assert (entry["status"], entry["target"]) == (408, path)
    assert entry["sent_bytes"] > 0


@pytest.mark.parametrize("layer", LAYERS)
def test_full_disk_is_logged_as_the_servers_own_fault(
    layer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(**_options: Any) -> Any:
        return Path("/dev/full").open("wb")

    monkeypatch.setattr(spool.tempfile, "TemporaryFile", full_disk)
    with logged(layer) as (server, lines):
        answer = requests.post(server.url + "/item/7", data=b"x" * 3_000_000, timeout=20)
        assert answer.status_code == 507
        entry = poll(lambda: lines.entries)[0]
        metrics = requests.get(server.url + "/-/metrics", timeout=20).text
    assert entry["status"] == 507
    assert entry["client"] == "127.0.0.1"
    assert re.search(r'requests_total\{[^}]*status="507"\} 1.0', metrics)
    assert 'status="499"' not in metrics


def test_websocket_is_logged_once_at_its_end() -> None:
    async def talk(port: int, lines: Lines) -> None:
        client = await tornado.websocket.websocket_connect(
            f"ws://127.0.0.1:{port}/echo?ticket=hush"
        )
        await client.write_message("a" * 500)
        assert await client.read_message() == "a" * 500
        assert lines.entries == []
        client.close()
        assert await client.read_message() is None, "its socket would be left to the collector"

    with logged() as (server, lines):
        asyncio.run(talk(server.port, lines))
        entry = poll(lambda: lines.entries)[0]
    assert len(lines.entries) == 1
    assert (entry["status"], entry["route"], entry["target"]) == (101, "/echo", "/echo?ticket=***")
    assert entry["sent_bytes"] > 600


def test_websocket_that_is_open_when_the_server_ends_is_logged_then() -> None:
    handshake = (
        b"GET /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    with contextlib.ExitStack() as stack:
        with logged() as (server, lines):
            client = stack.enter_context(socket.create_connection(server.address))
            client.sendall(handshake)
            assert client.recv(12) == b"HTTP/1.1 101"
            assert lines.entries == []
        assert [entry["status"] for entry in lines.entries] == [101]


@pytest.mark.parametrize("layer", LAYERS)
def test_request_that_is_refused_is_logged_with_the_address_of_the_client(layer: str) -> None:
    with logged(layer) as (server, lines):
        converse(server.address, b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n")
        poll(lambda: lines.entries)
    (entry,) = lines.entries
    assert (entry["client"], entry["status"], entry["half"]) == ("127.0.0.1", 400, "refused")
