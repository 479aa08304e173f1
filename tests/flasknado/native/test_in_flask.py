"""Flask's context for native handlers."""

from __future__ import annotations

import asyncio
import functools
import http.client
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, current_app, g, redirect, request, session
from tornado.web import RequestHandler
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from flasknado import HTTPServer, WSGIContainer
from flasknado.errors import ConfigurationError
from flasknado.flask_apps import flask_app_of
from flasknado.native import in_flask as in_flask_module
from flasknado.native.in_flask import Refused, in_flask
from tests.flasknado.live.helpers import wait_for
from tests.support.serving import Serving, serving


class AskHandler(RequestHandler):
    """Answers with what a function says in Flask's context, or how it was refused."""

    def initialize(self, function: Callable[..., Any], timeout_s: float = 10) -> None:
        self.function = function
        self.timeout_s = timeout_s

    async def get(self) -> None:
        try:
            self.write({"said": await in_flask(self, self.function, timeout_s=self.timeout_s)})
        except Refused as error:
            self.set_status(error.status_code)
            self.write({"refused": error.message, "headers": error.headers})

    post = get


@pytest.fixture
def app() -> Flask:
    app = Flask("native_tests")
    app.secret_key = "test"
    return app


def served_by(
    app: Flask, function: Callable[..., Any], timeout_s: float = 10, **options: Any
) -> Any:
    settings = {"function": function, "timeout_s": timeout_s}
    return serving(
        lambda: HTTPServer(
            WSGIContainer(app, **options), handlers=[(r"/ask.*", AskHandler, settings)]
        )
    )


def ask(
    served: Serving,
    headers: dict[str, str] | None = None,
    path: str = "/ask",
    body: bytes | None = None,
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(*served.address, timeout=10)
    connection.request("GET" if body is None else "POST", path, body, headers or {})
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    return response.status, answer


def test_function_sees_the_request_as_a_view_would(app: Flask) -> None:
    def look() -> dict[str, Any]:
        return {
            "method": request.method,
            "path": request.path,
            "args": request.args.to_dict(),
            "token": request.headers["Auth-Token"],
            "cookie": request.cookies["c"],
            "body": request.get_json(),
            "addr": request.remote_addr,
            "host": request.host,
        }

    headers = {"Auth-Token": "t", "Cookie": "c=1", "Content-Type": "application/json"}
    with served_by(app, look) as served:
        status, answer = ask(served, headers, "/ask/a%20b?x=1", b'{"n": 1}')
    assert (status, answer["said"]) == (
        200,
        {
            "method": "POST",
            "path": "/ask/a b",
            "args": {"x": "1"},
            "token": "t",
            "cookie": "1",
            "body": {"n": 1},
            "addr": "127.0.0.1",
            "host": f"127.0.0.1:{served.port}",
        },
    )


def test_session_of_a_view_is_the_session_here(app: Flask) -> None:
    @app.get("/login")
    def login() -> str:
        session["user"] = "ann"
        return "in"

    with served_by(app, lambda: session.get("user")) as served:
        connection = http.client.HTTPConnection(*served.address, timeout=10)
        connection.request("GET", "/login")
        cookie = connection.getresponse().headers["Set-Cookie"].partition(";")[0]
        connection.close()
        assert ask(served, {"Cookie": cookie}) == (200, {"said": "ann"})
        assert ask(served) == (200, {"said": None})


def test_hooks_run_in_order_on_a_thread_of_the_lane(app: Flask) -> None:
    calls: list[str] = []

    @app.before_request
    def before() -> None:
        g.calls = calls
        calls.append("before")

    @app.teardown_request
    def teardown(error: BaseException | None) -> None:
        g.calls.append("teardown")

    def body() -> str:
        g.calls.append("function")
        return threading.current_thread().name

    with served_by(app, body) as served:
        _, answer = ask(served)
    assert answer["said"].startswith("flasknado-native-")
    assert calls == ["before", "function", "teardown"]


def test_async_function_is_run_as_flask_runs_async_views(app: Flask) -> None:
    seen: list[Any] = []
    app.ensure_sync = lambda function: seen.append(function) or function  # type: ignore[method-assign]
    with served_by(app, lambda: 1) as served:
        ask(served)
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        (({"message": "log in"}, 401, {"WWW-Authenticate": "Bearer"}), 401, "log in"),
        (("nothing to say", 418), 418, "I'm a Teapot"),
        (("fine", 200), 403, "Forbidden"),
    ],
)
def test_before_request_that_answers_refuses(
    app: Flask, answer: Any, status: int, message: str
) -> None:
    app.before_request(lambda: answer)
    with served_by(app, lambda: "not reached") as served:
        code, said = ask(served)
    assert (code, said["refused"]) == (status, message)
    assert said["headers"].get("WWW-Authenticate") == ("Bearer" if status == 401 else None)


def test_before_request_that_redirects_refuses_with_403(app: Flask) -> None:
    app.before_request(lambda: redirect("/login"))
    with served_by(app, lambda: "not reached") as served:
        assert ask(served)[0] == 403


def test_exception_with_an_error_handler_gets_its_status(app: Flask) -> None:
    class TokenExpired(Exception):
        pass

    @app.errorhandler(TokenExpired)
    def expired(error: TokenExpired) -> Any:
        return {"message": "the token has expired"}, 401

    def fail() -> None:
        raise TokenExpired

    with served_by(app, fail) as served:
        assert ask(served)[0] == 401
        assert ask(served)[1]["refused"] == "the token has expired"


def test_exception_without_a_handler_is_500_logged_and_unexplained(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    with served_by(app, lambda: 1 / 0) as served:
        status, answer = ask(served)
    assert status == 500
    assert "division" not in answer["refused"]
    assert "ZeroDivisionError" in caplog.text


def test_teardown_that_fails_is_500_and_the_lane_lives_on(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    failing = [True]

    @app.teardown_request
    def teardown(error: BaseException | None) -> None:
        if failing.pop():
            raise RuntimeError("teardown failed")

    with served_by(app, lambda: "fine") as served:
        assert ask(served)[0] == 500
        failing.append(False)
        assert ask(served) == (200, {"said": "fine"})
    assert "teardown failed" in caplog.text


def test_function_that_takes_too_long_gives_503(app: Flask) -> None:
    release = threading.Event()
    try:
        with served_by(app, release.wait, timeout_s=0.05) as served:
            status, answer = ask(served)
            release.set()
    finally:
        release.set()
    assert (status, answer["headers"]) == (503, {"Retry-After": "2"})


def test_lane_that_is_full_gives_503(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_flask_module, "LANE_THREADS", 1)
    monkeypatch.setattr(in_flask_module, "LANE_QUEUE_LIMIT", 1)
    entered, release = threading.Semaphore(0), threading.Event()

    def block() -> bool:
        entered.release()
        return release.wait(10)

    answers: list[int] = []
    with served_by(app, block) as served:
        askers = [threading.Thread(target=lambda: answers.append(ask(served)[0])) for _ in range(6)]
        askers[0].start()
        assert entered.acquire(timeout=10)
        for asker in askers[1:]:
            asker.start()
        wait_for(lambda: answers.count(503) == 4, "four to be refused")
        release.set()
        for asker in askers:
            asker.join()
    assert sorted(answers) == [200, 200, 503, 503, 503, 503]


def test_mounted_application_sees_its_script_name(app: Flask) -> None:
    def look() -> list[str]:
        return [request.script_root, request.path]

    with served_by(app, look, mount="/shop") as served:
        assert ask(served, path="/shop/ask/x")[1]["said"] == ["/shop", "/ask/x"]


class Middleware:
    """WSGI middleware as most are written."""

    def __init__(self, application: Any) -> None:
        self.application = application

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return self.application(environ, start_response)


def empty(environ: Any, start_response: Any) -> Any:
    start_response("404 Not Found", [])
    return [b"nothing here"]


def closed_over(application: Any) -> Any:
    def middleware(environ: Any, start_response: Any) -> Any:
        return application(environ, start_response)

    return middleware


def test_flask_app_is_found_in_middleware(app: Flask) -> None:
    for wrapped in (
        app,
        app.wsgi_app,
        ProxyFix(app),
        ProxyFix(app.wsgi_app),
        Middleware(ProxyFix(app.wsgi_app)),
        Middleware(Middleware(app)).__call__,
        DispatcherMiddleware(app, {}),
        DispatcherMiddleware(empty, {"/shop": app}),
        closed_over(app.wsgi_app),
        functools.partial(app.wsgi_app),
    ):
        assert flask_app_of(wrapped) is app


def test_flask_app_that_wraps_itself_is_found(app: Flask) -> None:
    app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
    assert flask_app_of(app.wsgi_app) is app


@pytest.mark.parametrize("wsgi_app", [None, lambda environ, start_response: []])
def test_flask_app_that_is_not_there_names_the_mend(wsgi_app: Any) -> None:
    with pytest.raises(ConfigurationError, match="attribute named 'app'"):
        flask_app_of(wsgi_app)


def test_flask_app_in_a_circle_of_middleware_ends() -> None:
    one, two = Middleware(None), Middleware(None)
    one.application, two.application = two, one
    with pytest.raises(ConfigurationError):
        flask_app_of(one)


def test_contexts_are_isolated_between_concurrent_requests(app: Flask) -> None:
    barrier = threading.Barrier(4, timeout=10)

    @app.before_request
    def note() -> None:
        g.name = request.args["name"]

    def look() -> list[str]:
        barrier.wait()
        assert current_app == app
        return [g.name, request.args["name"]]

    async def main(served: Serving) -> list[Any]:
        calls = [asyncio.to_thread(ask, served, None, f"/ask?name={n}") for n in range(8)]
        return await asyncio.gather(*calls)

    with served_by(app, look) as served:
        answers = asyncio.run(main(served))
    assert [answer["said"] for _, answer in answers] == [[str(n)] * 2 for n in range(8)]
