"""Static files from the loop, over sockets: on both layers, as Flask answers, and nothing else."""

from __future__ import annotations

import contextlib
import gzip
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Blueprint, Flask, request

from flasknado import ConfigurationError, HTTPServer, WSGIContainer
from flasknado.process.build import folders_of
from flasknado.server import LAYERS
from flasknado.static import files
from flasknado.static.lookup import KEPT_BYTES, relative_path
from tests.flasknado.wsgi.conftest import LOOPS
from tests.flasknado.wsgi.wire import Answer, Wire
from tests.support.poll import poll
from tests.support.serving import Serving, serving

SCRIPT = b"let answer = 42;\n" * 500
LARGE = os.urandom(KEPT_BYTES + 12_345)

Ask = Callable[..., Answer]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.txt").write_text("secret")
    folder = tmp_path_factory.mktemp("static")
    (folder / "app.js").write_bytes(SCRIPT)
    (folder / "app.js.gz").write_bytes(gzip.compress(SCRIPT))
    (folder / "app.js.br").write_bytes(b"brotli of app.js")
    (folder / "old.css").write_text("a{}")
    (folder / "old.css.gz").write_bytes(gzip.compress(b"b{}"))
    os.utime(folder / "old.css.gz", (1_000_000_000, 1_000_000_000))
    (folder / "large.bin").write_bytes(LARGE)
    (folder / "empty.txt").touch()
    (folder / "a b\N{LATIN SMALL LETTER E WITH ACUTE}.txt").write_text("named")
    (folder / "sub").mkdir()
    (folder / "sub" / "page.html").write_text("<p>page")
    (folder / ".env").write_text("SECRET=1")
    (folder / ".well-known").mkdir()
    (folder / ".well-known" / "security.txt").write_text("Contact: x")
    (folder / ".well-known" / ".hidden").write_text("no")
    (folder / "within").symlink_to(folder / "sub")
    (folder / "without").symlink_to(outside)
    (folder / "without.txt").symlink_to(outside / "secret.txt")
    os.mkfifo(folder / "pipe")
    return folder


@pytest.fixture(params=LAYERS, scope="module")
def server(request: pytest.FixtureRequest, folder: Path) -> Iterator[Serving]:
    with serving_files(request.param, folder) as server:
        yield server


@contextlib.contextmanager
def serving_files(layer: str, folder: Path, mount: str = "") -> Iterator[Serving]:
    """A site whose own static route is below /own."""
    app = Flask("site", static_folder=folder, static_url_path="/own")

    @app.route("/<path:path>", methods=["GET", "POST"])
    def view(path: str) -> str:
        return f"the application, for {request.path}"

    def make() -> HTTPServer:
        container = WSGIContainer(app, threads=2, mount=mount)
        return HTTPServer(container, static={"/static": folder}, http=layer)

    with serving(make, new_loop=LOOPS[layer]) as server:
        yield server


@pytest.fixture
def ask(server: Serving) -> Iterator[Ask]:
    """`ask(path, *fields, method="GET")` on one connection, which is kept."""
    with Wire(server.address) as wire:

        def ask(path: str, *fields: str, method: str = "GET") -> Answer:
            lines = (f"{method} {path} HTTP/1.1", "Host: example.test", *fields, "", "")
            wire.send("\r\n".join(lines).encode())
            return wire.answer(method)

        yield ask


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("app.js", SCRIPT),
        ("large.bin", LARGE),
        ("empty.txt", b""),
        ("sub/page.html", b"<p>page"),
        ("a%20b%C3%A9.txt", b"named"),
        (".well-known/security.txt", b"Contact: x"),
        ("within/page.html", b"<p>page"),
    ],
)
def test_file_is_answered_as_flask_answers_it(name: str, content: bytes, ask: Ask) -> None:
    for _ in range(2):  # looked for, and known
        ours, flasks = ask(f"/static/{name}"), ask(f"/own/{name}")
        assert (ours.status, ours.body) == (flasks.status, flasks.body) == (200, content)
        for field in ("Content-Type", "Content-Length", "Last-Modified", "Cache-Control"):
            assert ours.header(field) == flasks.header(field), field
        assert ours.header("Date")
        assert ours.header("Server") == "flasknado"
        assert ours.header("X-Request-ID")


@pytest.mark.parametrize(
    "path",
    [
        "/static/none.js",
        "/static/",
        "/static/sub",
        "/static/sub/",
        "/static/.env",
        "/static/%2eenv",
        "/static/sub/../.env",
        "/static/sub/%2e%2e/.env",
        "/static/..%2f..%2fetc/passwd",
        "/static/%2fetc/passwd",
        "/static//etc/passwd",
        "/static/..\\secret.txt",
        "/static/sub%00/page.html",
        "/static/app.js%00",
        "/static/.well-known/.hidden",
        "/static/without.txt",
        "/static/without/secret.txt",
        "/static/pipe",
        f"/static/{'a' * 3000}",
        "/static/%ff%fe",
    ],
)
def test_what_is_no_file_of_the_folder_is_not_found(path: str, ask: Ask) -> None:
    for _ in range(2):
        answer = ask(path)
        assert answer.status == 404, answer.text
        assert "secret" not in answer.text
        assert "SECRET" not in answer.text
        assert "/tmp" not in answer.text


@pytest.mark.parametrize("path", ["/static", "/statical/a", "/other", "/st/atic/app.js"])
def test_other_paths_are_the_applications(path: str, ask: Ask) -> None:
    assert ask(path).text == f"the application, for {path}"


def test_head_has_the_fields_of_get_and_no_body(ask: Ask) -> None:
    for name in ("app.js", "large.bin"):
        got, head = ask(f"/static/{name}"), ask(f"/static/{name}", method="HEAD")
        assert (head.status, head.body) == (200, b"")
        for field in ("Content-Length", "ETag", "Content-Type", "Last-Modified"):
            assert head.header(field) == got.header(field)


@pytest.mark.parametrize("name", ["app.js", "large.bin"])
def test_file_that_the_client_has_is_not_sent_again(name: str, ask: Ask) -> None:
    got = ask(f"/static/{name}")
    for field in (
        f"If-None-Match: {got.header('ETag')}",
        f"If-Modified-Since: {got.header('Last-Modified')}",
    ):
        again = ask(f"/static/{name}", field)
        assert (again.status, again.body) == (304, b"")
        assert again.header("ETag") == got.header("ETag")
    assert ask(f"/static/{name}", 'If-Match: "another"').status == 412


@pytest.mark.parametrize(("name", "content"), [("app.js", SCRIPT), ("large.bin", LARGE)])
def test_range_of_a_file_is_sent(name: str, content: bytes, ask: Ask) -> None:
    size_bytes = len(content)
    part = ask(f"/static/{name}", "Range: bytes=100-2099")
    assert (part.status, part.body) == (206, content[100:2100])
    assert part.header("Content-Range") == f"bytes 100-2099/{size_bytes}"
    assert ask(f"/static/{name}", "Range: bytes=-5").body == content[-5:]
    beyond = ask(f"/static/{name}", f"Range: bytes={size_bytes}-")
    assert beyond.status == 416
    assert beyond.header("Content-Range") == f"bytes */{size_bytes}"
    assert ask(f"/static/{name}", "Range: bytes=0-1", 'If-Range: "other"').body == content


def test_compressed_form_beside_a_file_is_sent_to_who_takes_it(ask: Ask) -> None:
    plain = ask("/static/app.js")
    packed = ask("/static/app.js", "Accept-Encoding: gzip")
    assert packed.header("Content-Encoding") == "gzip"
    assert gzip.decompress(packed.body) == SCRIPT
    assert packed.header("Content-Type") == plain.header("Content-Type")
    assert packed.header("ETag") != plain.header("ETag")
    assert packed.header("Vary") == plain.header("Vary") == "Accept-Encoding"
    assert ask("/static/app.js", "Accept-Encoding: gzip, br").body == b"brotli of app.js"
    assert ask("/static/app.js", "Accept-Encoding: br;q=0").body == SCRIPT


def test_compressed_form_that_is_older_than_its_file_is_not_sent(ask: Ask) -> None:
    answer = ask("/static/old.css", "Accept-Encoding: gzip")
    assert (answer.text, answer.header("Vary")) == ("a{}", None)


def test_file_that_changes_is_sent_as_it_is(folder: Path, ask: Ask) -> None:
    file = folder / f"changing-{threading.get_ident()}.txt"
    path = f"/static/{file.name}"
    file.write_text("first")
    first = ask(path)
    assert first.text == "first"
    file.write_text("second, and longer")
    poll(lambda: ask(path).text == "second, and longer")
    assert ask(path, f"If-None-Match: {first.header('ETag')}").status == 200
    file.unlink()
    poll(lambda: ask(path).status == 404)


def test_other_methods_and_bodies_are_refused(ask: Ask) -> None:
    refused = ask("/static/app.js", "Content-Length: 0", method="POST")
    assert refused.status == 405
    assert refused.header("Allow") == "GET, HEAD"
    assert ask("/static/app.js", "Content-Length: 5", method="POST").status == 413


def test_files_are_sent_while_every_thread_is_busy(folder: Path) -> None:
    held = threading.Event()

    def app(environ: object, start_response: Callable[..., object]) -> list[bytes]:
        held.wait(60)
        start_response("200 OK", [])
        return [b"late"]

    def make() -> HTTPServer:
        return HTTPServer(WSGIContainer(app, threads=1), static={"/static": folder})

    with serving(make) as server, Wire(server.address) as waiting, Wire(server.address) as other:
        waiting.send(b"GET / HTTP/1.1\r\nHost: example.test\r\n\r\n")
        poll(lambda: server.server.counters.running["ordinary"] == 1)
        try:
            assert other.get("/static/app.js").body == SCRIPT
            assert other.get("/static/large.bin").body == LARGE
        finally:
            held.set()
        assert waiting.answer().body == b"late"


def test_files_lie_below_the_mount(folder: Path) -> None:
    with serving_files("llhttp", folder, mount="/shop") as server, Wire(server.address) as wire:
        assert wire.get("/shop/static/app.js").body == SCRIPT
        assert wire.get("/static/app.js").status == 404
        assert wire.get("/shop/other").text == "the application, for /other"


def open_below(folder: Path) -> list[str]:
    """Return what this process has open below a folder."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            found.append(str(descriptor.readlink()))
    return [path for path in found if path.startswith(f"{folder}/")]


def test_what_is_kept_is_bounded(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "KEPT_FILES", 3)
    monkeypatch.setattr(files, "OPEN_FILES", 1)
    for number in range(8):
        (tmp_path / f"{number}.txt").write_text(str(number))
        (tmp_path / f"{number}.bin").write_bytes(LARGE)
    with serving_files("llhttp", tmp_path) as server, Wire(server.address) as wire:
        for number in range(8):
            assert wire.get(f"/static/{number}.txt").text == str(number)
            assert wire.get(f"/static/{number}.bin").body == LARGE
        kept = server.server.ordinary
        assert isinstance(kept, files.StaticFiles)
        assert server.on_loop(lambda: len(kept._known)) <= 3
        poll(lambda: len(open_below(tmp_path)) <= 1)
    assert open_below(tmp_path) == []


def test_static_folders_of_an_application_are_those_of_its_routes(tmp_path: Path) -> None:
    for name in ("static", "theme"):
        (tmp_path / name).mkdir()
    app = Flask("site", static_folder=tmp_path / "static")
    theme = Blueprint("theme", "site", static_folder=tmp_path / "theme", url_prefix="/theme")
    gone = Blueprint("gone", "site", static_folder=tmp_path / "gone", url_prefix="/gone")
    app.register_blueprint(theme)
    app.register_blueprint(gone)
    assert folders_of(app) == {
        "/static": str(tmp_path / "static"),
        "/theme/theme": str(tmp_path / "theme"),
    }


@pytest.mark.parametrize(
    ("static", "said"),
    [
        ({"static": "."}, "must begin with a slash"),
        ({"/static/": "."}, "not end with one"),
        ({"/": "."}, "not end with one"),
        ({"/static": "nowhere"}, "the folder of static files 'nowhere' does not exist"),
    ],
)
def test_bad_folder_is_refused_at_the_start(static: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        HTTPServer(WSGIContainer(Flask("site")), static=static)


@pytest.mark.parametrize("text", ["a/..", "..", "../a", "a//b", "", "a/.b", "a\\b", "%2e%2e"])
def test_path_that_is_never_served_is_none(text: str) -> None:
    assert relative_path(text) is None
