"""Uploads written to files, on every layer: what the view finds, what is refused, what remains."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, abort, request

from flasknado import HTTPServer, Limits, UploadHandler, WSGIContainer, in_flask
from flasknado.errors import RequestError
from flasknado.uploads.receivers import MAX_FIELDS_BYTES, MAX_UPLOADS, receiver_of
from tests.support.poll import poll
from tests.support.raw import connect, statuses
from tests.support.serving import Serving, serving

EDGE = "edge-of-a-part"
FORM = f"multipart/form-data; boundary={EDGE}"
MIB = 1024 * 1024
BLOB = bytes(range(256)) * 4096 + f"\r\n--{EDGE}no end".encode() * 100


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    head = f'--{EDGE}\r\nContent-Disposition: form-data; name="{name}"'
    if filename is not None:
        head += f'; filename="{filename}"\r\nContent-Type: text/x-test'
    return head.encode() + b"\r\n\r\n" + content + b"\r\n"


END = f"--{EDGE}--\r\n".encode()


def make_app(kept: Path) -> Flask:
    app = Flask("uploads")

    @app.route("/files", methods=["GET", "POST", "PUT", "DELETE"])
    def files() -> Any:
        uploads = request.environ["flasknado.uploads"]
        found = [
            [upload.name, upload.filename, upload.content_type, upload.size_bytes]
            for upload in uploads
        ]
        same = [upload.path.read_bytes() == BLOB for upload in uploads]
        if request.args.get("keep"):
            uploads[0].move_to(kept / "kept")
        body_bytes = len(request.get_data()) if not request.form else 0
        form = [*request.form.items(multi=True)]
        return {"files": found, "same": same, "form": form, "body_bytes": body_bytes}

    @app.post("/fails")
    def fails() -> str:
        raise RuntimeError("as expected")

    return app


class Guarded(UploadHandler):
    async def prepare(self) -> None:
        await in_flask(self, self.check)

    def check(self) -> None:
        if request.headers.get("Authorization") != "yes":
            abort(401)


@pytest.fixture(scope="module", params=("llhttp", "tornado"))
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Serving, Path]]:
    folder = tmp_path_factory.mktemp("uploads")
    (folder / "incoming").mkdir()
    app = make_app(folder)
    options = {"directory": folder / "incoming"}
    limits = Limits(max_body_bytes="8M", body_limits={"POST /small": "1K"})

    def make() -> HTTPServer:
        handlers = [
            (r"/(?:files|fails|small)", UploadHandler, options),
            (r"/guarded", Guarded, options),
        ]
        container = WSGIContainer(app, threads=2)
        return HTTPServer(container, handlers=handlers, http=request.param, limits=limits)

    with serving(make) as server:
        yield server, folder
        assert list((folder / "incoming").iterdir()) == []


def ask(
    served: tuple[Serving, Path], method: str, path: str, body: Any = None, **fields: str
) -> tuple[int, str]:
    connection = http.client.HTTPConnection(*served[0].address, timeout=20)
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def told(answer: tuple[int, str]) -> Any:
    assert answer[0] == 200, answer
    return json.loads(answer[1])


def nothing_is_left(served: tuple[Serving, Path]) -> None:
    poll(lambda: not list((served[1] / "incoming").iterdir()))


def test_files_of_a_form_are_found_by_their_paths_and_its_fields_as_ever(
    served: tuple[Serving, Path],
) -> None:
    body = b"".join(
        (
            part("text", "a snowman: \N{SNOWMAN} & more".encode()),
            part("first", BLOB, "../a b.bin"),
            part("text", b""),
            part("second", b"", ""),
            END,
        )
    )

    said = told(ask(served, "POST", "/files", body, Content_Type=FORM))

    assert said["form"] == [["text", "a snowman: \N{SNOWMAN} & more"], ["text", ""]]
    assert said["files"] == [
        ["first", "../a b.bin", "text/x-test", len(BLOB)],
        ["second", "", "text/x-test", 0],
    ]
    assert said["same"] == [True, False]
    nothing_is_left(served)


def test_chunked_form_is_taken_whatever_its_pieces_are(served: tuple[Serving, Path]) -> None:
    body = part("f", BLOB, "f.bin") + END
    pieces = iter([body[:1], body[1:50], body[50:], b""])

    said = told(ask(served, "POST", "/files", pieces, Content_Type=FORM))

    assert said["same"] == [True]


def test_body_of_another_type_is_one_file_and_can_be_read_as_ever(
    served: tuple[Serving, Path],
) -> None:
    said = told(ask(served, "PUT", "/files", BLOB, Content_Type="image/x-test"))
    assert said["files"] == [["", "", "image/x-test", len(BLOB)]]
    assert said["same"] == [True]
    assert said["body_bytes"] == len(BLOB)
    form = "application/x-www-form-urlencoded"
    assert told(ask(served, "POST", "/files", b"a=1&b=2", Content_Type=form))["form"] == [
        ["a", "1"],
        ["b", "2"],
    ]
    for method in ("GET", "DELETE"):
        said = told(ask(served, method, "/files"))
        assert said == {"files": [], "same": [], "form": [], "body_bytes": 0}
    nothing_is_left(served)


def test_file_that_is_moved_is_kept_and_others_go_even_when_the_view_fails(
    served: tuple[Serving, Path],
) -> None:
    body = part("f", BLOB, "f.bin") + part("g", BLOB, "g.bin") + END

    told(ask(served, "POST", "/files?keep=1", body, Content_Type=FORM))
    assert (served[1] / "kept").read_bytes() == BLOB
    nothing_is_left(served)

    assert ask(served, "POST", "/fails", body, Content_Type=FORM)[0] == 500
    nothing_is_left(served)


@pytest.mark.parametrize(
    ("body", "content_type", "status", "reason"),
    [
        (part("f", BLOB, "f.bin"), FORM, 400, "malformed"),
        (b"", FORM, 400, "malformed"),
        (b"x" * 2 * MAX_FIELDS_BYTES, FORM, 400, "outside its parts"),
        (END, "multipart/form-data", 400, "no boundary"),
        (END, f"multipart/form-data; boundary={'b' * 71}", 400, "no boundary"),
        (f"--{EDGE}\r\nA: b\r\n\r\n".encode() + END, FORM, 400, "Content-Disposition"),
        (f"--{EDGE}\r\nContent-Disposition: x\r\n\r\na\r\n".encode() + END, FORM, 400, "no name"),
        (part("f", b"\xff", "f").replace(b'"f"', b'"\xff"') + END, FORM, 400, "malformed"),
        (part("a", b"x" * (MAX_FIELDS_BYTES + 1)) + END, FORM, 413, "500000 bytes"),
        (part("f", b"", "f") * (MAX_UPLOADS + 1) + END, FORM, 413, "more than 100 files"),
        (part("a", b"") * 1001 + END, FORM, 413, "more than 1000 fields"),
    ],
)
def test_form_that_is_malformed_or_too_large_is_refused_with_its_reason(
    served: tuple[Serving, Path], body: bytes, content_type: str, status: int, reason: str
) -> None:
    said = ask(served, "POST", "/files", body, Content_Type=content_type)

    assert said[0] == status
    assert reason in said[1]
    assert "Traceback" not in said[1]
    nothing_is_left(served)


def test_limits_of_bodies_hold_and_are_those_of_the_path(served: tuple[Serving, Path]) -> None:
    assert ask(served, "POST", "/small", b"x" * 2000)[0] == 413
    assert ask(served, "POST", "/files", iter([bytes(MIB)] * 9))[0] == 413
    nothing_is_left(served)


def test_handler_that_is_prepared_in_flask_refuses_before_the_body_comes(
    served: tuple[Serving, Path],
) -> None:
    head = b"POST /guarded HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
    with connect(served[0].address) as sock:
        sock.sendall(head)
        assert statuses(sock.recv(4096)) == [401]


def test_client_that_leaves_in_the_midst_leaves_no_file(served: tuple[Serving, Path]) -> None:
    head = f"POST /files HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\nContent-Type: {FORM}"
    with connect(served[0].address) as sock:
        sock.sendall(head.replace("9000000", "8000000").encode() + b"\r\n\r\n")
        sock.sendall(part("f", BLOB, "f.bin")[:-100])
        poll(lambda: any((served[1] / "incoming").iterdir()))
    nothing_is_left(served)


def test_disk_that_takes_no_more_is_answered_507(tmp_path: Path) -> None:
    folder = tmp_path / "not-there"
    handlers = [(r"/files", UploadHandler, {"directory": folder})]
    with serving(lambda: HTTPServer(WSGIContainer(make_app(tmp_path)), handlers=handlers)) as site:
        assert ask((site, tmp_path), "PUT", "/files", BLOB)[0] == 507


def test_discarded_receiver_takes_no_more(tmp_path: Path) -> None:
    receiver = receiver_of("image/png", tmp_path)
    receiver.feed(b"a")
    assert len(list(tmp_path.iterdir())) == 1
    receiver.discard()
    receiver.feed(b"b", last=True)
    receiver.discard()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RequestError, match="no boundary"):
        receiver_of("multipart/form-data", tmp_path)
