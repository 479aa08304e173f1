"""Views that answer in every way that Flask knows."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flask import (
    Blueprint,
    Response,
    current_app,
    jsonify,
    make_response,
    redirect,
    render_template_string,
    request,
    send_file,
    send_from_directory,
    stream_with_context,
    url_for,
)

FILE_TIME = 1_700_000_000
BIG_BYTES = 3_000_000

blueprint = Blueprint("returns", __name__, url_prefix="/as")
route = blueprint.route


def write_files(folder: Path) -> None:
    """Write the files that are served, with a known time of change."""
    (folder / "text.txt").write_bytes(b"".join(b"line %d\n" % n for n in range(1000)))
    (folder / "empty.bin").write_bytes(b"")
    (folder / "na\N{LATIN SMALL LETTER I WITH DIAERESIS}ve \N{SNOWMAN}.txt").write_text("snow")
    for file in folder.iterdir():
        os.utime(file, (FILE_TIME, FILE_TIME))


@route("/str")
def as_str() -> str:
    return "a str, \N{SNOWMAN} and all"


@route("/bytes")
def as_bytes() -> bytes:
    return b"bytes \x00\xff"


@route("/empty")
def as_empty() -> str:
    return ""


@route("/body-status")
def as_body_status() -> tuple[str, int]:
    return "created", 201


@route("/body-headers")
def as_body_headers() -> tuple[str, dict[str, str]]:
    return "with headers", {"X-One": "1", "Content-Type": "text/x-odd"}


@route("/body-status-headers")
def as_body_status_headers() -> tuple[str, str, list[tuple[str, str]]]:
    return "all three", "202 Taken Along", [("X-Same", "1"), ("X-Other", "o"), ("X-Same", "2")]


@route("/dict")
def as_dict() -> dict[str, Any]:
    return {"b": [1, 2.5, None, True], "a": "\N{SNOWMAN}"}


@route("/list")
def as_list() -> list[Any]:
    return [1, {"two": 2}]


@route("/jsonify")
def as_jsonify() -> Response:
    return jsonify(day=datetime.date(2020, 2, 29), n=1)


@route("/made")
def as_made() -> Response:
    response = make_response("made", 203)
    response.headers["X-Made"] = "yes"
    response.headers.add("X-Made", "twice")
    return response


@route("/template")
def as_template() -> str:
    return render_template_string("<p>{{ request.args.get('name', 'nobody') }}</p>")


@route("/generator")
def as_generator() -> Iterator[str]:
    yield "one "
    yield ""
    yield "two"


@route("/generator-of-nothing")
def as_generator_of_nothing() -> Response:
    return Response(iter(()))


@route("/generator-with-length")
def as_generator_with_length() -> Response:
    return Response(iter([b"12", b"345"]), headers={"Content-Length": "5"})


@route("/stream-with-context")
@stream_with_context
def as_stream_with_context() -> Iterator[str]:
    yield request.path
    yield request.args.get("name", "")


@route("/list-of-bytes")
def as_list_of_bytes() -> Response:
    return Response([b"a", b"", b"b"])


@route("/passthrough")
def as_passthrough() -> Response:
    return Response(iter([b"raw", b" bytes"]), direct_passthrough=True)


@route("/wsgi-app")
def as_wsgi_app() -> Any:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain"), ("X-Wsgi", "app")])
        return [b"a WSGI", b" application"]

    return application


@route("/redirect")
def as_redirect() -> Any:
    return redirect(url_for("returns.as_str", q="\N{SNOWMAN} &"), 303)


@route("/redirect-outside")
def as_redirect_outside() -> Any:
    return redirect("https://elsewhere.example/p\N{LATIN SMALL LETTER E WITH ACUTE}?q=1#f")


@route("/url")
def as_url() -> str:
    return url_for("returns.as_url", _external=True, a="b c")


@route("/cookies")
def as_cookies() -> Response:
    response = make_response("cookies")
    response.set_cookie("plain", "value")
    response.set_cookie(
        "all", 'a "b"; c,\N{SNOWMAN}', max_age=60, path="/as", httponly=True, samesite="Lax"
    )
    response.set_cookie("secure", "1", secure=True, domain="example.test")
    response.delete_cookie("old", path="/as")
    return response


@route("/status/<status>")
def as_status(status: str) -> Response:
    return Response("with a status", status=int(status) if status.isdigit() else status)


@route("/bodiless/<int:status>")
def as_bodiless(status: int) -> Response:
    return Response(status=status, headers={"X-Kept": "yes", "ETag": '"tag"'})


@route("/bodiless-with-length/<int:status>")
def as_bodiless_with_length(status: int) -> Response:
    return Response("not to be sent", status=status)


@route("/headers")
def as_headers() -> Response:
    response = Response("headers")
    response.headers.add("Link", "</a>; rel=a")
    response.headers.add("X-Between", "b")
    response.headers.add("link", "</c>; rel=c")
    response.headers["X-Latin"] = "caf\N{LATIN SMALL LETTER E WITH ACUTE}"
    response.headers["X-Empty"] = ""
    response.headers["x-lower-CASE"] = "kept"
    response.headers["X-Spaces"] = "a  b\tc"
    response.vary.update(["Accept", "Cookie"])
    response.cache_control.no_store = True
    return response


@route("/hop-by-hop")
def as_hop_by_hop() -> Response:
    return Response("hop", headers={"Upgrade": "h2c"})


@route("/kept-alive")
def as_kept_alive() -> Response:
    return Response("kept", headers={"Connection": "keep-alive"})


@route("/conditional")
def as_conditional() -> Response:
    response = Response("the same each time")
    response.add_etag()
    response.last_modified = datetime.datetime.fromtimestamp(FILE_TIME, datetime.UTC)
    return response.make_conditional(request)


@route("/conditional-range")
def as_conditional_range() -> Response:
    response = Response(b"0123456789")
    response.make_conditional(request, accept_ranges=True, complete_length=10)
    return response


@route("/file")
def as_file() -> Response:
    return send_file(current_app.config["FOLDER"] / "text.txt", max_age=60)


@route("/file/<path:name>")
def as_file_of_folder(name: str) -> Response:
    download = request.args.get("as")
    return send_from_directory(
        current_app.config["FOLDER"], name, as_attachment=bool(download), download_name=download
    )


@route("/big")
def as_big() -> bytes:
    return b"0123456789" * (BIG_BYTES // 10)


@route("/big-stream")
def as_big_stream() -> Response:
    return Response(b"%06d" % n * 1000 for n in range(BIG_BYTES // 6000))


@route("/methods", methods=["GET", "POST", "OPTIONS"])
def as_methods() -> str:
    return f"a view for {request.method}"


@route("/automatic-options", methods=["GET", "PUT", "DELETE"])
def as_automatic_options() -> str:
    return f"a view for {request.method}"
