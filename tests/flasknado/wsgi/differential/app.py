"""The application of the differential battery: all that a request says, every way to answer."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
from flask import Blueprint, Flask, Response, abort, request, session
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import HTTPException

from tests.flasknado.wsgi.differential import returns

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]
ENVIRON_KEYS = (
    "REQUEST_METHOD",
    "SCRIPT_NAME",
    "PATH_INFO",
    "QUERY_STRING",
    "REQUEST_URI",
    "RAW_URI",
    "CONTENT_TYPE",
    "CONTENT_LENGTH",
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "wsgi.version",
    "wsgi.url_scheme",
    "wsgi.multithread",
    "wsgi.multiprocess",
    "wsgi.run_once",
    "wsgi.input_terminated",
)

mirror = Blueprint("mirror", __name__)


@mirror.route("/mirror/", defaults={"rest": ""}, methods=METHODS)
@mirror.route("/mirror/<path:rest>", methods=METHODS)
def everything(rest: str) -> Response:
    """Answer with all that Flask knows of the request, one fact a line."""
    facts = {**_facts_of_body(), **_facts_of_head(), "rest": rest}
    text = json.dumps(facts, indent=1, default=repr)
    return Response(text, mimetype="application/json")


def _facts_of_body() -> dict[str, Any]:
    data = request.get_data()
    return {
        "data": data.decode("latin-1"),
        "form": _pairs(request.form),
        "values": _pairs(request.values),
        "files": [
            [name, file.filename, file.content_type, file.headers.to_wsgi_list(), repr(file.read())]
            for name, file in request.files.items(multi=True)
        ],
        "json": repr(request.get_json(silent=True)),
        "is_json": request.is_json,
    }


def _facts_of_head() -> dict[str, Any]:
    return {
        "method": request.method,
        "scheme": request.scheme,
        "is_secure": request.is_secure,
        "host": request.host,
        "host_url": request.host_url,
        "root_path": request.root_path,
        "path": request.path,
        "query_string": repr(request.query_string),
        "full_path": request.full_path,
        "url": request.url,
        "base_url": request.base_url,
        "url_root": request.url_root,
        "remote_addr": request.remote_addr,
        "args": _pairs(request.args),
        "cookies": _pairs(request.cookies),
        "auth_token": request.headers.get("Auth-Token"),
        "authorization": repr(request.authorization),
        "headers": dict(sorted(request.headers.items())),
        "mimetype": request.mimetype,
        "mimetype_params": request.mimetype_params,
        "content_length": request.content_length,
        "content_encoding": request.content_encoding,
        "accept_mimetypes": str(request.accept_mimetypes),
        "accept_languages": str(request.accept_languages),
        "if_none_match": str(request.if_none_match),
        "range": str(request.range),
        "referrer": request.referrer,
        "user_agent": str(request.user_agent),
        "access_route": list(request.access_route),
        "blueprint": request.blueprint,
        "blueprints": request.blueprints,
        "endpoint": request.endpoint,
        "view_args": request.view_args,
        "url_rule": str(request.url_rule),
        "environ": {key: repr(request.environ.get(key)) for key in ENVIRON_KEYS},
    }


def _pairs(values: MultiDict[str, str]) -> list[tuple[str, str]]:
    return list(values.items(multi=True))


uploads = Blueprint("uploads", __name__, url_prefix="/upload")


@uploads.post("/read")
def read() -> str:
    return repr(request.stream.read())


@uploads.post("/lines")
def lines() -> str:
    return repr(list(request.stream))


@uploads.post("/pieces")
def pieces() -> str:
    return repr(list(iter(lambda: request.stream.read(4), b"")))


@uploads.post("/unread")
def unread() -> str:
    return "did not look"


@uploads.post("/json")
def strict_json() -> Any:
    return {"got": request.get_json()}


@uploads.post("/small")
def small() -> str:
    request.max_content_length = 10
    return f"{len(request.get_data())} bytes"


def create_app(folder: Path) -> Flask:
    """Return the application; `folder` holds what `returns.write_files` wrote."""
    app = Flask(__name__, static_folder=str(folder), static_url_path="/static")
    app.secret_key = "the battery's"
    app.config["FOLDER"] = folder
    app.register_blueprint(mirror)
    app.register_blueprint(uploads)
    app.register_blueprint(returns.blueprint)

    @app.get("/session")
    def visits() -> str:
        session["visits"] = session.get("visits", 0) + 1
        return f"{session['visits']} visits"

    @app.get("/boom")
    def boom() -> str:
        raise RuntimeError("boom")

    @app.errorhandler(RuntimeError)
    def on_error(error: RuntimeError) -> tuple[dict[str, str], int]:
        return {"message": str(error)}, 500

    @app.get("/crash")
    def crash() -> str:
        raise LookupError("no handler takes this")

    @app.errorhandler(418)
    def on_teapot(error: HTTPException) -> tuple[str, int, dict[str, str]]:
        return "short and stout", 418, {"X-Handled": str(error.code)}

    @app.get("/abort/<int:code>")
    def aborted(code: int) -> str:
        abort(code)

    @app.get("/abort-with-response")
    def aborted_with_response() -> str:
        abort(Response("a response of its own", 409))

    @app.route("/slash/")
    def slash() -> str:
        return "with a slash"

    @app.route("/plain", methods=["GET"])
    def plain() -> str:
        return "without"

    @app.route("/only-post", methods=["POST"])
    def only_post() -> str:
        return "posted"

    @app.get("/context")
    def context() -> Response:
        flask.g.left = "in g"

        def parts() -> Iterator[str]:
            yield request.path
            yield flask.g.left
            yield flask.current_app.name

        return Response(flask.stream_with_context(parts()))

    @app.get("/memory-file")
    def memory_file() -> Response:
        return flask.send_file(io.BytesIO(b"from memory" * 100), mimetype="text/plain")

    return app
