"""How large bodies may be, on both halves: the table, and what is refused unread."""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from tornado.web import RequestHandler, stream_request_body

import async_handlers
from flasknado import HTTPServer, WSGIContainer, ops
from flasknado.errors import ConfigurationError
from flasknado.http.body_limits import BodyLimits, split_rule
from flasknado.http.limits import Limits
from flasknado.live import Live
from flasknado.sizes import MIB, size_bytes
from tests.flasknado.site import LOOPS
from tests.flasknado.wsgi.wire import Wire
from tests.support.raw import connect, read_to_end, statuses
from tests.support.serving import Serving, serving


@pytest.mark.parametrize(
    ("text", "size"),
    [(7, 7), ("0", 0), ("65536", 65536), ("64K", 65536), ("1 m", MIB), ("2GiB", 2048 * MIB)],
)
def test_size_is_read_in_bytes_or_units(text: int | str, size: int) -> None:
    assert size_bytes(text, "a size") == size


@pytest.mark.parametrize("text", ["", "x", "-1", -1, "1.5M", "10T", "M", "1e3", True, None])
def test_size_that_is_none_is_refused_with_its_name(text: object) -> None:
    with pytest.raises(ConfigurationError, match="a size must be a whole number of bytes"):
        size_bytes(text, "a size")


@pytest.mark.parametrize(
    ("method", "path", "limit"),
    [
        ("POST", "/", 100),
        ("POST", "/upload", 1024),
        ("PUT", "/upload", 5),
        ("POST", "/upload/a/b", 1024),
        ("POST", "/uploads", 100),
        ("POST", "/upload/small/x", 10),
        ("POST", "/%75pload", 1024),
        ("POST", "/api/7/photo", 77),
        ("POST", "/api/7/8/photo", 100),
        ("POST", "/api/photo", 100),
        ("POST", "/dir/x", 3),
        ("POST", "/dir", 100),
    ],
)
def test_limit_is_that_of_the_longest_rule_and_of_the_method(
    method: str, path: str, limit: int
) -> None:
    rules: dict[str, int | str] = {
        "/upload": 5,
        "post /upload": "1K",
        "/upload/small": 10,
        "POST /api/*/photo": 77,
        "/dir/": 3,
    }

    assert BodyLimits(100, rules).limit_bytes(method, path) == limit


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("upload", "a path that begins with a slash"),
        ("POST", "a path that begins with a slash"),
        ("A B /c", "a path that begins with a slash"),
        ("", "a path that begins with a slash"),
    ],
)
def test_rule_that_is_none_is_refused(rule: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        BodyLimits(1, {rule: 1})


def test_rule_of_the_command_line_is_split_at_its_size() -> None:
    assert split_rule("POST /a=b = 10M") == ("POST /a=b", "10M")
    with pytest.raises(ConfigurationError, match=r"has no size: write \[METHOD \]/path=SIZE"):
        split_rule("/upload")


segments = st.text("ab", max_size=5)


@given(
    st.lists(st.text("ab*", max_size=6), min_size=1, max_size=3),
    st.lists(segments, min_size=1, max_size=4),
)
def test_stars_stand_for_any_text_of_one_segment(rule: list[str], path: list[str]) -> None:
    matched = len(rule) <= len(path) and all(map(fnmatch.fnmatchcase, path, rule))
    if rule[-1] == "":  # it ends with a slash
        matched = len(rule) <= len(path) and all(map(fnmatch.fnmatchcase, path, rule[:-1]))
    limits = BodyLimits(100, {"/" + "/".join(rule): 7})
    assert limits.limit_bytes("GET", "/" + "/".join(path)) == (7 if matched else 100)


def test_path_of_any_length_is_matched_once_however_many_stars_a_rule_has() -> None:
    limits = BodyLimits(100, {"/" + "*a" * 20 + "*b": 7})  # in all ways it would take for ever
    assert limits.limit_bytes("GET", "/" + "a" * 16_000) == 100
    assert limits.limit_bytes("GET", "/" + "a" * 16_000 + "b") == 7


TOKEN = "a-token-of-enough-length"
LARGE = 200 * MIB
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"


class Form(RequestHandler):
    """Answers with what a form says, when asked to read it."""

    def post(self) -> None:
        arguments = {} if self.get_query_argument("unread", "") else self.request.body_arguments
        text = {name: values[0].decode() for name, values in arguments.items()}
        self.write({"form": text, "body_bytes": len(self.request.body)})


class Own(Form):
    """Takes a body of its own size."""

    max_body_bytes = 10
    max_form_bytes = 5


class NoBody(Form):
    """Takes none, although it could."""

    max_body_bytes = 0


@stream_request_body
class Streams(RequestHandler):
    """Takes a body part by part."""

    def prepare(self) -> None:
        self.size_bytes = 0
        connection: Any = self.request.connection
        if self.get_query_argument("more", ""):
            connection.set_max_body_size(3000)

    def data_received(self, chunk: bytes) -> None:
        self.size_bytes += len(chunk)

    def post(self) -> None:
        self.write({"body_bytes": self.size_bytes})


def application() -> Flask:
    app = Flask(__name__)
    app.config["LIVE_PUBLISH_TOKEN"] = TOKEN
    Live().init_app(app, database_url="memory://")
    app.add_url_rule("/<path:path>", "echo", lambda path: path, methods=["POST"])
    return app


def make_server(layer: str) -> HTTPServer:
    limits = Limits(
        max_body_bytes=2000,
        body_limits={"POST /echo/small": 10, "/own/more": "1K", "/streams/less": 9, "/none/x": 99},
    )
    handlers = [
        (r"/form", Form),
        (r"/own(?:/.*)?", Own),
        (r"/none(?:/.*)?", NoBody),
        (r"/streams(?:/.*)?", Streams),
        *async_handlers.routes,
    ]
    server = HTTPServer(
        WSGIContainer(application(), threads=2, max_body_bytes=5),
        handlers=handlers,
        http=layer.partition("-")[0],
        limits=limits,
    )
    ops.install(server)
    return server


@pytest.fixture(scope="module")
def served(layer: str) -> Iterator[Serving]:
    with serving(lambda: make_server(layer), new_loop=LOOPS[layer]) as running:
        yield running


def test_every_native_route_refuses_a_large_body_unread(served: Serving) -> None:
    patterns = [spec.regex.pattern for spec in served.server.native.specs]
    paths = [p.removesuffix("$").removesuffix("(?:/.*)?").replace("\\", "") for p in patterns]
    assert {"/-/healthz", "/-/metrics", "/live/events", "/live/live.js", "/live/whoami"} < set(
        paths
    )

    for path in paths:
        for method in ("POST", "GET", "PUT"):
            for framing in (b"Content-Length: %d" % LARGE, b"Transfer-Encoding: chunked"):
                head = (
                    b"%b %b HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\n"
                    b"Content-Type: application/json\r\n%b\r\n\r\n"
                ) % (
                    method.encode(),
                    path.encode(),
                    TOKEN.encode(),
                    framing,
                )
                with connect(served.address) as sock:
                    sock.sendall(head)
                    if framing.endswith(b"chunked"):
                        with contextlib.suppress(ConnectionError):
                            for _ in range(100):
                                sock.sendall(b"10000\r\n%b\r\n" % (b"x" * 65536))
                    said = statuses(read_to_end(sock))
                reset = said == [] and framing.endswith(b"chunked")
                assert said == [413] or reset, (method, path, framing, said)


def post(path: str, body: bytes, fields: bytes = b"") -> bytes:
    head = b"POST %b HTTP/1.1\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n"
    return head % (path.encode(), fields, len(body)) + body


@pytest.mark.parametrize(
    ("path", "size_bytes", "status"),
    [
        ("/echo", 2000, 200),
        ("/echo", 2001, 413),
        ("/echo/small", 10, 200),
        ("/echo/small", 11, 413),
        ("/form", 2000, 200),
        ("/form", 2001, 413),
        ("/own", 10, 200),
        ("/own", 11, 413),
        ("/own/more", 1024, 200),
        ("/own/more", 1025, 413),
        ("/none", 0, 200),
        ("/none", 1, 413),
        ("/none/x", 1, 413),
        ("/streams", 2000, 200),
        ("/streams", 2001, 413),
        ("/streams?more=1", 3000, 200),
        ("/streams?more=1", 3001, 413),
        ("/streams/less", 9, 200),
        ("/streams/less", 10, 413),
    ],
)
@pytest.mark.parametrize("framing", ["announced", "chunked"])
def test_body_is_taken_up_to_its_limit(
    served: Serving, path: str, size_bytes: int, status: int, framing: str
) -> None:
    body = b"x" * size_bytes
    request = post(path, body)
    if framing == "chunked":
        chunks = b"%x\r\n%b\r\n" % (size_bytes, body) if body else b""
        request = (
            b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" % path.encode()
        )
        request += chunks + b"0\r\n\r\n"
    with Wire(served.address) as wire:
        assert wire.ask(request).status == status


def test_form_of_an_unmodified_handler_is_there_when_asked_for(served: Serving) -> None:
    with Wire(served.address) as wire:
        asked = wire.ask(post("/form", b"a=1&b=2", FORM))
        unread = wire.ask(post("/form?unread=1", b"a=1;%zz" * 9, FORM))

    assert b'"a": "1", "b": "2"' in asked.body
    assert b'"form": {}' in unread.body


def test_multipart_form_of_an_unmodified_handler_is_there_when_asked_for(served: Serving) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n'
    kind = b"Content-Type: multipart/form-data; boundary=x\r\n"
    with Wire(served.address) as wire:
        assert b'"a": "1"' in wire.ask(post("/form", body, kind)).body
        assert wire.ask(post("/form?unread=1", b"--x--", kind)).status == 200
        assert wire.ask(post("/form", b"--y", kind)).status == 400


def test_form_too_large_to_be_parsed_on_the_loop_is_refused_when_asked_for(
    served: Serving,
) -> None:
    with Wire(served.address) as wire:
        assert wire.ask(post("/own", b"a=1", FORM)).status == 200
        assert wire.ask(post("/own", b"a=12345", FORM)).status == 413
        assert wire.ask(post("/own?unread=1", b"a=12345", FORM)).status == 200


def test_native_handler_gathers_no_more_than_16_mib_where_nobody_says_more() -> None:
    assert BodyLimits().gathered_bytes == 16 * MIB
    assert BodyLimits("1M").gathered_bytes == MIB
    assert HTTPServer(lambda _: None, max_body_size=7).body_limits.gathered_bytes == 7
