"""The browser's module over HTTP."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from flasknado.live.javascript import HEARTBEAT, MODULE, source
from tests.flasknado.live.helpers import LiveApp, get
from tests.support.process import PROJECT_ROOT
from tests.support.serving import Serving

PATH = "/live/live.js"


def test_module_is_javascript_that_caches_keep_for_a_while(served: Serving) -> None:
    status, headers, body = get(served, PATH)
    assert status == 200
    assert body == source(15)
    assert b"heartbeatMs: 15000," in body
    assert headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert headers["Cache-Control"] == "public, max-age=600"
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_module_knows_how_often_the_server_writes(
    make_live_app: Callable[..., LiveApp], serve: Callable[[LiveApp], Serving]
) -> None:
    assert MODULE.read_bytes().count(HEARTBEAT) == 1
    body = get(serve(make_live_app(LIVE_HEARTBEAT_S=2.5)), PATH)[2]
    assert b"heartbeatMs: 2500," in body


def test_module_that_the_client_has_is_not_sent_again(served: Serving) -> None:
    etag = get(served, PATH)[1]["ETag"]
    status, headers, body = get(served, PATH, {"If-None-Match": f'"other", {etag}'})
    assert (status, headers["ETag"], body) == (304, etag, b"")
    assert get(served, PATH, {"If-None-Match": '"other"'})[0] == 200


def test_module_is_compressed_for_who_takes_it_with_an_etag_of_its_own(served: Serving) -> None:
    plain = get(served, PATH)[1]
    taking = {"Accept-Encoding": "br;q=0.9, gzip"}

    status, headers, body = get(served, PATH, taking)

    assert (status, headers["Content-Encoding"]) == (200, "gzip")
    assert gzip.decompress(body) == source(15)
    assert len(body) < len(source(15)) / 3
    assert headers["ETag"] != plain["ETag"]
    assert headers["Vary"] == plain["Vary"] == "Origin, Accept-Encoding"
    assert get(served, PATH, {**taking, "If-None-Match": headers["ETag"]})[0] == 304
    # What is kept in one coding is no answer in the other.
    assert get(served, PATH, {**taking, "If-None-Match": plain["ETag"]})[0] == 200
    assert "Content-Encoding" not in get(served, PATH, {"Accept-Encoding": "gzip;q=0"})[1]


def test_module_may_be_imported_by_pages_of_every_origin(served: Serving) -> None:
    headers = get(served, PATH, {"Origin": "https://example.org"})[1]
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert headers["Cross-Origin-Resource-Policy"] == "cross-origin"


def test_module_answers_head_as_get_without_the_body(served: Serving) -> None:
    status, headers, body = get(served, PATH, method="HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) == len(source(15))


def test_module_cannot_be_posted_to(served: Serving) -> None:
    status, headers, body = get(served, PATH, method="POST")
    assert (status, headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
    assert body["success"] is False


def test_module_is_in_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = pytest.importorskip("hatchling.build")
    monkeypatch.chdir(PROJECT_ROOT)
    with zipfile.ZipFile(tmp_path / backend.build_wheel(str(tmp_path))) as wheel:
        assert wheel.read("flasknado/live/static/live.js") == MODULE.read_bytes()
