"""`wsgi.input` on a real server: whole, readable in every way, and ended."""

from __future__ import annotations

import io
from typing import Any

import pytest
from flask import Flask, request

from flasknado.http.body import MEMORY_LIMIT_BYTES
from tests.flasknado.wsgi.conftest import Serve
from tests.flasknado.wsgi.wire import Wire
from tests.support.poll import poll
from tests.support.serving import Serving

DATA = b"first line\nsecond line\r\nthird"

READERS = {
    "/read": lambda file: [file.read()],
    "/read-none": lambda file: [file.read(None)],
    "/read-minus": lambda file: [file.read(-1)],
    "/read-much": lambda file: [file.read(10**9)],
    "/read-past": lambda file: [file.read(4), file.read(), file.read(), file.read(5)],
    "/read-nothing": lambda file: [file.read(0), file.read()],
    "/readline": lambda file: [file.readline(), file.readline(), file.readline(), file.readline()],
    "/readline-size": lambda file: [file.readline(3), file.readline(100)],
    "/readlines": lambda file: file.readlines(),
    "/readlines-hint": lambda file: file.readlines(1),
    "/iterate": list,
    "/mixed": lambda file: [file.readline(), file.read(3), *file],
}


def reading(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Read the body in the way that the path names."""
    result = READERS[environ["PATH_INFO"]](environ["wsgi.input"])
    start_response("200 OK", [])
    return [repr((result, environ.get("CONTENT_LENGTH"))).encode()]


@pytest.fixture(scope="module")
def reader(serve_module: Serve) -> Serving:
    return serve_module(reading, threads=2)


def announced(path: str, data: bytes) -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (
        path.encode(),
        len(data),
        data,
    )


def chunked(path: str, data: bytes, chunk_bytes: int = 7) -> bytes:
    chunks = [data[at : at + chunk_bytes] for at in range(0, len(data), chunk_bytes)]
    return (
        b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" % path.encode()
        + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
        + b"0\r\n\r\n"
    )


@pytest.mark.parametrize("encode", [announced, chunked])
@pytest.mark.parametrize("path", READERS)
def test_body_reads_as_a_file_does(path: str, encode: Any, reader: Serving) -> None:
    with Wire(reader.address) as wire:
        for data in (DATA, b"", DATA * 2):
            answer = wire.ask(encode(path, data))
            assert answer.text == repr((READERS[path](io.BytesIO(data)), str(len(data))))


def test_body_that_the_application_does_not_read_is_not_taken_for_a_request(
    serve: Serve,
) -> None:
    def deaf(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    with Wire(serve(deaf).address) as wire:
        for encode in (announced, chunked):
            assert wire.ask(encode("/outer", smuggled)).text == "/outer"
        assert wire.get("/next").text == "/next"


def test_body_that_comes_byte_by_byte_arrives_whole(reader: Serving) -> None:
    with Wire(reader.address) as wire:
        for byte in chunked("/read", DATA, 1):
            wire.send(bytes([byte]))
        assert wire.answer().text == repr(([DATA], str(len(DATA))))


@pytest.mark.parametrize("encode", [announced, chunked])
@pytest.mark.parametrize("beyond", [0, 1])
def test_body_around_the_memory_limit_is_in_memory_or_in_a_file_and_closed_after(
    beyond: int, encode: Any, serve: Serve
) -> None:
    seen: list[Any] = []

    def keep(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"]
        seen.append(body)
        start_response("200 OK", [])
        return [b"%d %d" % (isinstance(body, io.BytesIO), sum(map(len, body)))]

    size = MEMORY_LIMIT_BYTES + beyond
    with Wire(serve(keep).address) as wire:
        answer = wire.ask(encode("/", b"x" * size, *([65536] if encode is chunked else [])))
        assert answer.text == f"{1 - beyond} {size}"
        assert wire.get("/").status == 200
    poll(lambda: seen[0].closed)


def test_body_of_an_application_that_fails_is_closed(serve: Serve) -> None:
    seen: list[Any] = []

    def fail(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ["wsgi.input"])
        raise RuntimeError

    with Wire(serve(fail).address) as wire:
        assert wire.ask(announced("/", b"x" * (MEMORY_LIMIT_BYTES + 1))).status == 500
        assert wire.get("/").status == 500
    poll(lambda: seen[0].closed)


def test_flask_reads_chunked_form_json_and_file(serve: Serve) -> None:
    app = Flask(__name__)

    @app.post("/")
    def index() -> dict[str, Any]:
        return {
            "form": request.form.to_dict(),
            "json": request.get_json(silent=True),
            "files": {name: file.read().decode() for name, file in request.files.items()},
        }

    def typed(kind: str, data: bytes) -> bytes:
        head = f"POST / HTTP/1.1\r\nContent-Type: {kind}".encode()
        return chunked("/", data).replace(b"POST / HTTP/1.1", head)

    part = b'--e\r\nContent-Disposition: form-data; name="f"; filename="n"\r\n\r\nfile\r\n--e--\r\n'
    with Wire(serve(app).address) as wire:
        form = wire.ask(typed("application/x-www-form-urlencoded", b"a=1&b=2"))
        json = wire.ask(typed("application/json", b'{"a": [1]}'))
        file = wire.ask(typed("multipart/form-data; boundary=e", part))
    assert form.text == '{"files":{},"form":{"a":"1","b":"2"},"json":null}\n'
    assert json.text == '{"files":{},"form":{},"json":{"a":[1]}}\n'
    assert file.text == '{"files":{"f":"file"},"form":{},"json":null}\n'


def test_client_that_leaves_in_the_middle_of_its_body_runs_nothing(serve: Serve) -> None:
    ran: list[str] = []

    def note(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        ran.append(environ["PATH_INFO"])
        start_response("200 OK", [])
        return [b""]

    server = serve(note)
    with Wire(server.address) as wire:
        wire.send(announced("/half", DATA)[:-5])
    with Wire(server.address) as wire:
        wire.send(chunked("/half", DATA)[:-9])
    with Wire(server.address) as wire:
        assert wire.get("/whole").status == 200
    assert ran == ["/whole"]
    poll(lambda: server.server.counters.in_flight == 0)
