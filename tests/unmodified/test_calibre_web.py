"""calibre-web as it comes, on Tornado's server, and as `docs/from-tornado.md` ports it."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.process import server_process
from tests.unmodified.conftest import takes_long
from tests.unmodified.environments import Environments
from tests.unmodified.walking import (
    Answer,
    Walker,
    apply_diff,
    assert_same,
    diffs_of,
    free_port,
    linked_copy,
    wait_until_answering,
)

pytestmark = [pytest.mark.timeout(600), takes_long]

CHANGED = "calibreweb/cps/server.py"
LIBRARY = Path(__file__).with_name("applications") / "calibre_library.py"
VARYING = (
    r'name="csrf_token" value="[^"]+"',
    r'id="config_port" value="\d+"',
    r'id="config_upload_formats" value="[^"]*"',  # a set
    r"\?c=\d+",  # when a cover was changed
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    r"\d{4}-\d\d-\d\d[T ][\d:.]+(\+00:00)?",
)

OPF = """<?xml version="1.0"?>
<package xmlns="http://www.idpf.org/2007/opf" version="2.0" unique-identifier="id">
 <metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>Moby &amp; Dick</dc:title>
  <dc:creator>Herman Melville</dc:creator><dc:language>en</dc:language>
  <dc:identifier id="id">urn:isbn:9780000000002</dc:identifier></metadata>
 <manifest><item id="a" href="a.xhtml" media-type="application/xhtml+xml"/></manifest>
 <spine><itemref idref="a"/></spine></package>"""
CONTAINER = """<?xml version="1.0"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>
<rootfile full-path="content.opf" media-type="application/oebps-package+xml"/>
</rootfiles></container>"""


@functools.cache
def book() -> bytes:
    """Return a small EPUB, large enough that it does not stay in the server's memory."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as epub:
        epub.writestr("mimetype", "application/epub+zip")
        epub.writestr("META-INF/container.xml", CONTAINER)
        epub.writestr("content.opf", OPF)
        epub.writestr("a.xhtml", "<html><body>Call me Ishmael.</body></html>" * 20_000)
    return file.getvalue()


@contextlib.contextmanager
def calibre_web(environments: Environments, folder: Path, path: str = "") -> Iterator[Walker]:
    """Run it with a folder of its own for everything, and an empty library there."""
    python = environments.python("calibre-web")
    library = folder / "library"
    library.mkdir(parents=True)
    subprocess.run([python, LIBRARY, library], check=True, capture_output=True, timeout=60)
    port = free_port()
    env = {"CALIBRE_DBPATH": str(folder), "CALIBRE_PORT": str(port), "PYTHONPATH": path}
    command = ("-W", "ignore", "-m", "calibreweb", "-i", "127.0.0.1", "-o", str(folder / "log"))
    url = f"http://127.0.0.1:{port}"
    with server_process(command, python=python, env=env, cwd=folder, ready=False) as server:
        wait_until_answering(server, url + "/login")
        yield Walker(url, *VARYING, str(folder))
    assert server.process.returncode == 0, server.output
    assert "Traceback" not in server.output


def log_in(walker: Walker, name: str = "admin", password: str = "admin123") -> None:
    form = {"username": name, "password": password, "csrf_token": token(walker, "/login")}
    walker.step("POST", "/login", data=form)


def token(walker: Walker, path: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', walker.step("GET", path).text)
    assert found is not None, path
    return found[1]


def walk(walker: Walker, library: Path) -> list[Answer]:
    walker.step("GET", "/")
    log_in(walker, password="wrong")
    log_in(walker)
    assert walker.answers[-1].status == 302
    form = {"config_calibre_dir": str(library), "csrf_token": token(walker, "/admin/dbconfig")}
    assert walker.step("POST", "/admin/dbconfig", data=form).ok
    form = {"config_uploading": "on", "csrf_token": token(walker, "/admin/config")}
    form["config_upload_formats"] = "epub,pdf"
    assert walker.step("POST", "/admin/ajaxconfig", data=form).ok
    epub = book()
    csrf = {"csrf_token": token(walker, "/")}
    files = {"btn-upload": ("book.epub", epub, "application/epub+zip")}
    sent = walker.step("POST", "/upload", data=csrf, files=files)
    assert sent.json() == {"location": "/admin/book/1"}
    for path in ("/", "/book/1", "/author/stored/1", "/search?query=Moby"):
        assert walker.step("GET", path).ok, path
    for path in (
        "/robots.txt",
        "/ajax/listbooks?limit=10",
        "/get_authors_json?q=Mel",
        "/no-such-page",
    ):
        walker.step("GET", path)
    assert walker.step("GET", "/download/1/epub/book.epub").content == epub
    part = walker.step("GET", "/show/1/epub", headers={"Range": "bytes=30-57"})
    assert part.content in (epub, epub[30:58])
    tag = walker.step("GET", "/static/css/style.css").headers["ETag"]
    unchanged = walker.step("GET", "/static/css/style.css", headers={"If-None-Match": tag})
    assert unchanged.status_code == 304
    walker.step("HEAD", "/cover/1")
    walker.step("POST", "/shelf/create", data={"title": "Whales", **csrf})
    walker.step("POST", "/shelf/add/1/1", data=csrf)
    assert "Whales" in walker.step("GET", "/shelf/1").text
    walker.step("POST", "/delete/1", data={"csrf_token": "forged"})
    walker.step("POST", "/delete/1", data=csrf)
    walker.step("GET", "/logout")
    walker.step("GET", "/opds", headers={"Authorization": "Basic bm86bm8="})
    assert walker.step("GET", "/book/1").status_code == 302
    return walker.answers


def test_calibre_web_ported_answers_as_it_does_on_tornado(
    environments: Environments, tmp_path: Path
) -> None:
    with calibre_web(environments, tmp_path / "stock") as walker:
        stock = walk(walker, tmp_path / "stock" / "library")
    python = environments.python("calibre-web")
    [package] = python.parent.parent.glob("lib/python*/site-packages/calibreweb")
    linked_copy(package, tmp_path / "ported", {CHANGED})
    apply_diff(diffs_of("from-tornado.md", CHANGED), tmp_path / "ported")
    with calibre_web(environments, tmp_path / "own", str(tmp_path / "ported")) as walker:
        ported = walk(walker, tmp_path / "own" / "library")
        server = walker.get(walker.url + "/login").headers["Server"]
    assert server == "flasknado"
    assert_same(stock, ported)
