"""The same raw requests to Werkzeug's server and to ours: equal answers, but for a true list."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from flask import Flask
from packaging.version import Version
from werkzeug.serving import make_server

from flasknado.server import LAYERS
from tests.flasknado.wsgi.conftest import Serve
from tests.flasknado.wsgi.differential import returns
from tests.flasknado.wsgi.differential.app import create_app
from tests.flasknado.wsgi.differential.compare import answer_of, differences_of, parts_of
from tests.flasknado.wsgi.differential.differences import (
    DIFFERENCES,
    EVERYWHERE,
    REFUSALS,
    REWRITES,
)
from tests.flasknado.wsgi.differential.requests import REQUESTS
from tests.flasknado.wsgi.wire import Answer
from tests.support.serving import Serving

Ask = Callable[[str], Answer]

OF_FLASK_3_1 = ("a chunked body larger than the view takes",)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    folder = tmp_path_factory.mktemp("files")
    returns.write_files(Path(folder))
    app = create_app(folder)
    app.logger.disabled = True
    return app


@pytest.fixture(scope="module")
def ask_werkzeug(app: Flask) -> Iterator[Ask]:
    """Ask Werkzeug's own server, each request once."""
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, name="werkzeug")
    thread.start()
    answers: dict[str, Answer] = {}

    def ask(name: str) -> Answer:
        if name not in answers:
            answers[name] = answer_of(("127.0.0.1", server.port), REQUESTS[name])
        return answers[name]

    yield ask
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def ours(app: Flask, serve_module: Serve) -> Serving:
    return serve_module(app, threads=4)


@pytest.mark.parametrize("name", REQUESTS)
def test_answer_under_both_servers_differs_as_listed_only(
    name: str, layer: str, ask_werkzeug: Ask, ours: Serving
) -> None:
    if name in OF_FLASK_3_1 and Version(version("flask")) < Version("3.1"):
        pytest.skip("Flask 3.0 knows no limit of one request (max_content_length)")
    theirs = ask_werkzeug(name)
    answer = answer_of(ours.address, REQUESTS[name])
    for refusal in REFUSALS:
        if name in refusal.requests and refusal.layer in (None, layer):
            assert theirs.status != answer.status == refusal.status
            return
    expected = {
        change.part: (change.theirs, change.ours)
        for _, change in EVERYWHERE
        if parts_of(theirs).get(change.part) == change.theirs
    }
    for difference in DIFFERENCES:
        if name in difference.requests and difference.layer in (None, layer):
            for change in difference.changes:
                expected[change.part] = (change.theirs, change.ours)

    assert differences_of(theirs, answer, REWRITES.get(layer, {})) == expected


def test_every_listed_difference_names_requests_and_a_layer_that_exist() -> None:
    for difference in (*DIFFERENCES, *REFUSALS):
        assert set(difference.requests) <= REQUESTS.keys()
        assert difference.requests
        assert difference.layer in (None, *LAYERS)
    assert REWRITES.keys() <= set(LAYERS)


def test_every_listed_difference_has_a_reason() -> None:
    assert all(difference.reason for difference in (*DIFFERENCES, *REFUSALS))
    assert all(reason for reason, _ in EVERYWHERE)
