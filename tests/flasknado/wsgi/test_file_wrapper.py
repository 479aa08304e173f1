"""`wsgi.file_wrapper` alone and under Werkzeug's `send_file`."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask, Response, send_file
from werkzeug.wsgi import wrap_file

from flasknado.wsgi.file_wrapper import FileWrapper
from tests.flasknado.wsgi.conftest import Serve
from tests.flasknado.wsgi.wire import Wire


class WatchedFile(io.BytesIO):
    """A file that counts what is read of it."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.read_bytes = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.read_bytes += len(data)
        return data


class OnlyReadable:
    """The least that PEP 3333 asks of a file."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int) -> bytes:
        return self._file.read(size)


def test_file_wrapper_gives_the_file_in_blocks() -> None:
    assert list(FileWrapper(io.BytesIO(b"0123456789"), 4)) == [b"0123", b"4567", b"89"]


def test_file_wrapper_begins_where_the_file_stands() -> None:
    file = io.BytesIO(b"0123456789")
    file.seek(7)
    assert b"".join(FileWrapper(file)) == b"789"


def test_file_wrapper_of_an_object_with_read_only_works_and_closes() -> None:
    wrapper = FileWrapper(OnlyReadable(b"data"))
    assert list(wrapper) == [b"data"]
    assert not wrapper.seekable()
    wrapper.close()


def test_file_wrapper_close_closes_the_file() -> None:
    file = io.BytesIO(b"data")
    FileWrapper(file).close()
    assert file.closed


def test_wrapped_range_seeks_and_closes_the_file() -> None:
    file = WatchedFile(bytes(1_000_000) + b"the end")
    response = Response(
        wrap_file({"wsgi.file_wrapper": FileWrapper}, file), direct_passthrough=True
    )
    response.make_conditional(
        {"HTTP_RANGE": "bytes=1000000-", "REQUEST_METHOD": "GET"},
        accept_ranges=True,
        complete_length=1_000_007,
    )
    assert b"".join(response.iter_encoded()) == b"the end"
    assert file.read_bytes == 7
    response.close()
    assert file.closed


@pytest.fixture
def files(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def write(name: str, data: bytes) -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write


def test_sent_file_is_closed_after_a_whole_a_ranged_and_a_head_request(
    serve: Serve, files: Callable[[str, bytes], Path]
) -> None:
    # An open file warns when it is collected, and a warning fails the test.
    path = files("data", b"0123456789" * 50_000)
    app = Flask(__name__)
    app.add_url_rule("/", view_func=lambda: send_file(path), endpoint="send")
    with Wire(serve(app).address) as wire:
        head = b" / HTTP/1.1\r\nHost: example.test\r\n"
        whole = wire.ask(b"GET" + head + b"\r\n")
        part = wire.ask(b"GET" + head + b"Range: bytes=499990-\r\n\r\n")
        nothing = wire.ask(b"HEAD" + head + b"Range: bytes=0-4\r\n\r\n")
    assert whole.body == path.read_bytes()
    assert (part.status, part.body) == (206, b"0123456789")
    assert (nothing.status, nothing.header("Content-Length")) == (206, "5")
