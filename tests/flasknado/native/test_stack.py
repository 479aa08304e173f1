"""Native requests by way of the application's WSGI stack: what a view sees, a handler sees."""

from __future__ import annotations

import contextlib
import contextvars
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, abort, request, session
from tornado.web import RequestHandler
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from flasknado import HTTPServer, WSGIContainer
from flasknado.native.in_flask import in_flask
from tests.flasknado.site import LOOPS
from tests.flasknado.wsgi.wire import Answer, Wire
from tests.support.serving import serving

Application = Callable[..., Any]

FORWARDED = (
    b"X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.test\r\n"
    b"X-Forwarded-Prefix: /store\r\n"
)


def look() -> dict[str, Any]:
    """Everything about a request but which one it is."""
    environ = {
        key: value
        for key, value in request.environ.items()
        if isinstance(value, str) and key not in ("PATH_INFO", "RAW_URI", "REQUEST_URI")
    }
    del environ["flasknado.request_id"]
    del environ["REMOTE_PORT"]
    return {
        **environ,
        "addr": request.remote_addr,
        "user": request.remote_user,
        "root": request.url_root,
        "secure": request.is_secure,
        "session": dict(session),
    }


class AskHandler(RequestHandler):
    """Answers with what a function says in Flask's context; does not catch a refusal."""

    def initialize(self, function: Callable[[], Any]) -> None:
        self.function = function

    async def get(self) -> None:
        self.write({"said": await in_flask(self, self.function)})

    head = post = get


@pytest.fixture
def app() -> Flask:
    app = Flask("stack_tests")
    app.secret_key = "test"
    app.add_url_rule("/view", view_func=look, methods=["GET", "POST"])
    return app


@pytest.fixture
def ask(layer: str) -> Callable[..., list[Answer]]:
    """`ask(application, *requests)` serves it and returns the answers."""

    def ask(
        application: Application,
        *requests: bytes,
        function: Callable[[], Any] = look,
        **options: Any,
    ) -> list[Answer]:
        def make() -> HTTPServer:
            return HTTPServer(
                WSGIContainer(application, **options),
                handlers=[(r"(?:/shop)?/ask", AskHandler, {"function": function})],
                http=layer.partition("-")[0],
            )

        with serving(make, new_loop=LOOPS[layer]) as served, Wire(served.address) as wire:
            return [wire.ask(each) for each in requests]

    return ask


def get(path: str, fields: bytes = b"") -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: a.test\r\n%b\r\n" % (path.encode(), fields)


def said(answer: Answer) -> Any:
    assert answer.status == 200, answer.text
    return json.loads(answer.body)["said"]


def proxied(app: Flask) -> Application:
    app.wsgi_app = ProxyFix(app.wsgi_app, x_host=1, x_prefix=1)  # type: ignore[method-assign]
    return app


def signed_on(app: Flask) -> Application:
    """Single sign-on as many sites have it: outside, by a header that the proxy sets."""

    def middleware(environ: Any, start_response: Any) -> Any:
        environ["REMOTE_USER"] = environ.get("HTTP_X_SSO_USER", "nobody")
        return app(environ, start_response)

    return middleware


def copied(app: Flask) -> Application:
    """Middleware that hands on an environ of its own, and answers lazily."""
    inner = app.wsgi_app

    def middleware(environ: Any, start_response: Any) -> Iterator[bytes]:
        yield from inner({**environ, "HTTP_X_SEEN": "yes"}, start_response)

    return middleware


@pytest.mark.parametrize("wrap", [lambda app: app, proxied, signed_on, copied])
@pytest.mark.parametrize("fields", [b"", FORWARDED + b"X-SSO-User: ann\r\n"], ids=["plain", "all"])
def test_view_and_native_handler_see_the_same_request(
    app: Flask,
    ask: Callable[..., list[Answer]],
    wrap: Callable[[Flask], Application],
    fields: bytes,
) -> None:
    view, native = ask(wrap(app), get("/view?a=1", fields), get("/ask?a=1", fields))
    assert said(native) == json.loads(view.body)


def test_proxied_request_is_what_the_proxy_says(
    app: Flask, ask: Callable[..., list[Answer]]
) -> None:
    (answer,) = ask(proxied(app), get("/ask", FORWARDED))
    seen = said(answer)
    assert seen["addr"] == "203.0.113.7"
    assert seen["root"] == "https://shop.test/store/"


def test_signed_on_user_is_known(app: Flask, ask: Callable[..., list[Answer]]) -> None:
    (answer,) = ask(signed_on(app), get("/ask", b"X-SSO-User: ann\r\n"))
    assert said(answer)["user"] == "ann"


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")


def test_function_runs_within_what_middleware_sets_up(
    app: Flask, ask: Callable[..., list[Answer]]
) -> None:
    def middleware(environ: Any, start_response: Any) -> Any:
        token = variable.set("set")
        try:
            return app(environ, start_response)
        finally:
            variable.reset(token)

    (answer,) = ask(middleware, get("/ask"), function=variable.get)
    assert said(answer) == "set"


ANSWERS = {
    "forbidden": ("403 Forbidden", [("X-Reason", "address")], b"<h1>No</h1>"),
    "redirect": (
        "302 Found",
        [("Location", "https://sso.test/"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")],
        b"",
    ),
    "challenge": (
        "401 Unauthorized",
        [("WWW-Authenticate", "Basic"), ("Content-Length", "0")],
        b"",
    ),
    "own status": ("499 Mine", [], b""),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_middleware_that_answers_by_itself_refuses_with_its_status_and_fields(
    app: Flask, ask: Callable[..., list[Answer]], name: str
) -> None:
    status, fields, body = ANSWERS[name]

    def middleware(environ: Any, start_response: Any) -> Any:
        if "HTTP_LET_IN" in environ:
            return app(environ, start_response)
        start_response(status, fields)
        return [body]

    view, native, let_in = ask(
        middleware, get("/view"), get("/ask"), get("/ask", b"Let-In: yes\r\n"), function=lambda: 1
    )
    assert f"{native.status}" == f"{view.status}" == status[:3]
    for field in {name for name, _ in fields} - {"Content-Length"}:
        assert native.all(field) == view.all(field)
    assert said(let_in) == 1


@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "304 Not Modified", "302 Found"])
def test_middleware_that_answers_without_saying_no_refuses_with_403(
    app: Flask, ask: Callable[..., list[Answer]], status: str
) -> None:
    def middleware(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/ask":
            return app(environ, start_response)
        start_response(status, [])
        return []

    (answer,) = ask(middleware, get("/ask"), function=pytest.fail)
    assert answer.status == 403


def test_middleware_that_takes_the_answer_back_refuses(
    app: Flask, ask: Callable[..., list[Answer]]
) -> None:
    def middleware(environ: Any, start_response: Any) -> Any:
        app(environ, lambda *_: None).close()
        start_response("429 Too Many Requests", [("Retry-After", "7")])
        return [b""]

    (answer,) = ask(middleware, get("/ask"), function=lambda: 1)
    assert (answer.status, answer.header("Retry-After")) == (429, "7")


def test_fields_of_a_refusal_do_not_come_back_in_another_error(app: Flask, layer: str) -> None:
    class Careless(RequestHandler):
        async def get(self) -> None:
            with contextlib.suppress(Exception):
                await in_flask(self, lambda: abort(401, www_authenticate=None))
            raise RuntimeError("something else")

    def middleware(environ: Any, start_response: Any) -> Any:
        start_response("401 Unauthorized", [("WWW-Authenticate", "Basic")])
        return [b""]

    app.wsgi_app = middleware  # type: ignore[method-assign]

    def make() -> HTTPServer:
        container = WSGIContainer(app)
        return HTTPServer(container, handlers=[("/c", Careless)], http=layer.partition("-")[0])

    with serving(make) as served, Wire(served.address) as wire:
        answer = wire.get("/c")
    assert (answer.status, answer.header("WWW-Authenticate")) == (500, None)


def test_application_below_a_dispatcher_is_asked_at_its_own_place(
    app: Flask, ask: Callable[..., list[Answer]]
) -> None:
    def empty(environ: Any, start_response: Any) -> Any:
        start_response("404 Not Found", [])
        return [b"nothing here"]

    stack = DispatcherMiddleware(empty, {"/shop": app})
    view, native, elsewhere = ask(stack, get("/shop/view"), get("/shop/ask"), get("/ask"))
    assert said(native) == json.loads(view.body)
    assert said(native)["SCRIPT_NAME"] == "/shop"
    assert elsewhere.status == 404


def test_other_application_that_gets_the_request_answers_for_it(
    app: Flask, ask: Callable[..., list[Answer]]
) -> None:
    other = Flask("other")
    stack = DispatcherMiddleware(app, {"/shop": other})
    (answer,) = ask(stack, get("/shop/ask"), function=pytest.fail)
    assert answer.status == 404


def test_function_runs_once_if_middleware_asks_twice(
    app: Flask, ask: Callable[..., list[Answer]]
) -> None:
    calls: list[int] = []

    def middleware(environ: Any, start_response: Any) -> Any:
        app(environ, start_response).close()
        return app(environ, start_response)

    (answer,) = ask(middleware, get("/ask"), function=lambda: calls.append(1))
    assert said(answer) is None
    assert calls == [1]


def raising(environ: Any, start_response: Any) -> Any:
    raise RuntimeError("the middleware is broken")


def silent(environ: Any, start_response: Any) -> Any:
    return []


@pytest.mark.parametrize(
    ("broken", "logged"),
    [(raising, "the middleware is broken"), (silent, "did not call start_response()")],
)
def test_middleware_that_is_broken_gets_500_and_is_logged(
    app: Flask,
    ask: Callable[..., list[Answer]],
    broken: Application,
    logged: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    app.wsgi_app = broken  # type: ignore[method-assign]
    (answer,) = ask(app, get("/ask"))
    assert answer.status == 500
    assert logged in caplog.text


def test_function_that_exits_the_process_gets_500(
    app: Flask, ask: Callable[..., list[Answer]], caplog: pytest.LogCaptureFixture
) -> None:
    def leave() -> None:
        raise SystemExit(3)

    answers = ask(app, get("/ask"), get("/view"), function=leave)
    assert [answer.status for answer in answers] == [500, 200]
    assert "SystemExit" in caplog.text


def test_answer_without_end_is_read_only_so_far(
    app: Flask, ask: Callable[..., list[Answer]]
) -> None:
    closed: list[bool] = []

    def endless(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("403 Forbidden", [("Content-Type", "application/json")])
        try:
            while True:
                yield b"x" * 10_000
        finally:
            closed.append(True)

    app.wsgi_app = endless  # type: ignore[method-assign]
    (answer,) = ask(app, get("/ask"))
    assert (answer.status, closed) == (403, [True])


def test_views_are_dispatched_as_ever_and_no_client_can_ask_otherwise(
    app: Flask, ask: Callable[..., list[Answer]]
) -> None:
    field = b"Flasknado-Native-Call: 1\r\nflasknado.native_call: 1\r\n"
    first, asked, view = ask(app, get("/view"), get("/ask", field), get("/view", field))
    assert json.loads(first.body)["addr"] == said(asked)["addr"]
    assert view.status == 200
