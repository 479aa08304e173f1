"""Flask on a real server: contexts of one request and of no other, hooks in order, streams."""

from __future__ import annotations

import contextvars
import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any

import flask
import pytest
from flask import (
    Flask,
    abort,
    current_app,
    g,
    has_app_context,
    has_request_context,
    request,
    session,
    stream_with_context,
)
from packaging.version import Version

from tests.flasknado.wsgi.conftest import Serve
from tests.flasknado.wsgi.wire import DEADLINE_S, Answer, Wire
from tests.support.poll import poll

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def get(path: str, *fields: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: example.test", *fields, "", ""]).encode()


# Contexts.

CLIENTS = 8
ROUNDS = 25


@pytest.fixture
def meeting() -> Flask:
    """An application in whose view all clients meet, each with a value of its own."""
    app = Flask(__name__)
    app.secret_key = "the test's"
    barrier = threading.Barrier(CLIENTS)

    @app.get("/meet/<name>")
    def meet(name: str) -> str:
        before = [g.get("name", "unset"), variable.get(), str(len(vars(g)))]
        g.name = name
        variable.set(name)
        session["name"] = name
        session["visits"] = session.get("visits", 0) + 1
        barrier.wait(DEADLINE_S)
        after = [g.name, variable.get(), session["name"], request.args["name"]]
        after += [request.view_args["name"] if request.view_args else "", request.cookies["who"]]
        barrier.wait(DEADLINE_S)
        return " ".join([*before, *after, str(session["visits"]), current_app.name])

    return app


def test_contexts_of_concurrent_requests_are_their_own_on_every_thread(
    serve: Serve, meeting: Flask
) -> None:
    server = serve(meeting, threads=CLIENTS)

    def visit(name: str) -> None:
        cookie = ""
        with Wire(server.address) as wire:
            for visits in range(1, ROUNDS + 1):
                answer = wire.ask(get(f"/meet/{name}?name={name}", f"Cookie: who={name}{cookie}"))
                seen = f"unset unset 0 {name} {name} {name} {name} {name} {name} {visits}"
                assert answer.text == f"{seen} {meeting.name}"
                cookie = "; " + (answer.header("Set-Cookie") or "").partition(";")[0]

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(visit, [f"client-{n}" for n in range(CLIENTS)]))


def test_thread_has_no_context_between_requests(serve: Serve) -> None:
    flask_app = Flask(__name__)
    flask_app.add_url_rule("/", view_func=lambda: str(has_request_context()), endpoint="look")
    seen: list[tuple[bool, bool, str]] = []

    def watched(environ: dict[str, Any], start_response: Any) -> Any:
        seen.append((has_app_context(), has_request_context(), variable.get()))
        variable.set("left behind")
        flask_app.app_context().push()
        return flask_app(environ, start_response)

    with Wire(serve(watched, threads=1).address) as wire:
        for _ in range(5):
            assert wire.get("/").text == "True"
    assert seen == [(False, False, "unset")] * 5


# Hooks.


class Hooked:
    """An application that notes its hooks, and raises in the one that the query names."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.torn_down = threading.Event()
        app = self.app = Flask(__name__)
        app.logger.disabled = True
        app.before_request(functools.partial(self.note, "before 1"))
        app.before_request(functools.partial(self.note, "before 2"))
        app.after_request(functools.partial(self.note, "after 1"))
        app.after_request(functools.partial(self.note, "after 2"))
        app.teardown_request(functools.partial(self.tear_down, "teardown 1"))
        app.teardown_request(functools.partial(self.tear_down, "teardown 2"))
        app.teardown_appcontext(self.tear_down_context)
        app.add_url_rule("/", "view", self.view)
        app.add_url_rule("/stream", "stream", self.stream)
        app.register_error_handler(KeyError, self.on_key_error)

    def note(self, what: str, response: Any = None) -> Any:
        self.notes.append(what)
        if request.args.get("raise") == what:
            raise RuntimeError(what)
        if request.args.get("handled") == what:
            raise KeyError(what)
        if request.args.get("answer") == what:
            return f"answered by {what}"
        return response

    def view(self) -> str:
        self.note("view")
        return "the view"

    def stream(self) -> Any:
        @stream_with_context
        def parts() -> Iterator[str]:
            try:
                for number in range(int(request.args["parts"])):
                    self.note(f"part {number}")
                    yield "x" * 50_000
            finally:
                self.notes.append("end of parts")

        return parts()

    def on_key_error(self, error: KeyError) -> tuple[str, int]:
        self.notes.append(f"handler of {error.args[0]}")
        return "handled", 409

    def tear_down(self, what: str, error: BaseException | None) -> None:
        self.notes.append(f"{what} ({str(error) or type(error).__name__})" if error else what)
        if request.args.get("raise") == what:
            raise RuntimeError(what)

    def tear_down_context(self, error: BaseException | None) -> None:
        self.notes.append("teardown of the context")
        self.torn_down.set()


def ask_hooked(serve: Serve, path: str) -> tuple[list[str], Answer]:
    """Return what the hooks noted in one request, and its answer; the connection lives on."""
    hooked = Hooked()
    with Wire(serve(hooked.app).address) as wire:
        answer = wire.get(path)
        assert hooked.torn_down.wait(DEADLINE_S)
        notes = list(hooked.notes)
        assert wire.get("/").text == "the view"
    return notes, answer


BEFORE = ["before 1", "before 2"]
AFTER = ["after 2", "after 1"]
TEARDOWN = ["teardown 2", "teardown 1", "teardown of the context"]


def teardown_with(error: str) -> list[str]:
    return [f"teardown 2 ({error})", f"teardown 1 ({error})", "teardown of the context"]


@pytest.mark.parametrize(
    ("path", "status", "notes"),
    [
        ("/", 200, [*BEFORE, "view", *AFTER, *TEARDOWN]),
        ("/none", 404, [*BEFORE, *AFTER, *TEARDOWN]),
        ("/?answer=before+1", 200, ["before 1", *AFTER, *TEARDOWN]),
        ("/?raise=before+1", 500, ["before 1", *AFTER, *teardown_with("before 1")]),
        ("/?raise=view", 500, [*BEFORE, "view", *AFTER, *teardown_with("view")]),
        ("/?handled=view", 409, [*BEFORE, "view", "handler of view", *AFTER, *TEARDOWN]),
        ("/?handled=before+2", 409, [*BEFORE, "handler of before 2", *AFTER, *TEARDOWN]),
    ],
)
def test_hooks_run_in_order_and_teardown_always(
    path: str, status: int, notes: list[str], serve: Serve
) -> None:
    seen, answer = ask_hooked(serve, path)
    assert answer.status == status
    assert seen == notes


def test_exception_in_after_request_is_500_and_still_tears_down(serve: Serve) -> None:
    seen, answer = ask_hooked(serve, "/?raise=after+2")
    assert answer.status == 500
    # Flask runs these hooks once more, for its page of the error.
    assert seen == [*BEFORE, "view", "after 2", "after 2", *teardown_with("after 2")]


def test_exception_in_teardown_is_500_and_the_thread_serves_on(serve: Serve) -> None:
    hooked = Hooked()
    with Wire(serve(hooked.app, threads=1).address) as wire:
        assert wire.get("/?raise=teardown+2").status == 500
        for _ in range(3):
            assert wire.get("/").text == "the view"


def test_exception_that_flask_does_not_handle_reaches_teardown(serve: Serve) -> None:
    hooked = Hooked()
    hooked.app.config["PROPAGATE_EXCEPTIONS"] = True
    with Wire(serve(hooked.app).address) as wire:
        assert wire.get("/?raise=view").status == 500
        assert hooked.torn_down.wait(DEADLINE_S)
        assert hooked.notes[-3:] == [
            "teardown 2 (view)",
            "teardown 1 (view)",
            "teardown of the context",
        ]
        assert wire.get("/").status == 200


# Streams in their context.


# Flask 3.1 tears down twice for a stream: after the view, and after the last part.
AFTER_VIEW = TEARDOWN if Version(version("flask")) >= Version("3.1") else []


def test_stream_is_torn_down_at_its_end(serve: Serve) -> None:
    hooked = Hooked()
    with Wire(serve(hooked.app).address) as wire:
        assert len(wire.get("/stream?parts=2").body) == 100_000
        poll(lambda: hooked.notes[-4:] == ["end of parts", *TEARDOWN])
    assert hooked.notes[:-4] == [*BEFORE, *AFTER, *AFTER_VIEW, "part 0", "part 1"]


def test_stream_that_raises_is_cut_and_torn_down(serve: Serve) -> None:
    hooked = Hooked()
    with Wire(serve(hooked.app).address) as wire:
        wire.send(get("/stream?parts=3&raise=part+1"))
        wire.head()
        assert wire.chunk() == b"x" * 50_000
        assert wire.rest() == b""
    poll(lambda: hooked.notes[-4:] == ["end of parts", *teardown_with("part 1")])
    assert hooked.notes[-6:-4] == ["part 0", "part 1"]


def test_stream_whose_client_leaves_is_closed_and_torn_down(serve: Serve) -> None:
    hooked = Hooked()
    with Wire(serve(hooked.app).address, receive_buffer_bytes=4096) as wire:
        wire.send(get("/stream?parts=1000000000"))
        wire.head()
        wire.chunk()
    # What ends the generator, and so what teardown is told of, is GeneratorExit.
    poll(lambda: hooked.notes[-4:] == ["end of parts", *teardown_with("GeneratorExit")])


def test_stream_in_its_context_runs_and_ends_on_one_thread_in_one_context(serve: Serve) -> None:
    app = Flask(__name__)
    places: list[tuple[str, int, str]] = []

    def note(what: str) -> None:
        places.append((what, threading.get_ident(), variable.get()))

    @app.get("/<name>")
    def index(name: str) -> flask.Response:
        variable.set(name)
        g.name = name
        note("view")

        def parts() -> Iterator[str]:
            try:
                while True:
                    note("part")
                    assert g.name == name
                    yield request.path + "x" * 20_000
            finally:
                note("finally")

        response = flask.Response(stream_with_context(parts()))
        response.call_on_close(lambda: note("close"))
        return response

    @app.teardown_request
    def end(error: BaseException | None) -> None:
        note("teardown")

    server = serve(app, threads=4)
    for name in ("one", "two", "three"):
        places.clear()
        with Wire(server.address) as wire:
            wire.send(get(f"/{name}"))
            wire.head()
            for _ in range(5):
                assert wire.chunk().startswith(f"/{name}".encode())
        poll(lambda: "close" in {what for what, _, _ in places})
        order = list(dict.fromkeys(what for what, _, _ in reversed(places)))[::-1]
        assert order == ["view", "part", "finally", "teardown", "close"]
        assert len({thread for _, thread, _ in places}) == 1
        assert {value for _, _, value in places} == {name}


# What is Flask's own stays Flask's own.


def test_second_view_of_an_endpoint_is_refused_in_flasks_own_words(serve: Serve) -> None:
    app = Flask(__name__)

    def named_view() -> str:
        return "first"

    app.add_url_rule("/first", view_func=named_view)
    first = named_view

    def another() -> str:
        return "second"

    another.__name__ = "named_view"
    with pytest.raises(
        AssertionError,
        match="View function mapping is overwriting an existing endpoint function: named_view",
    ):
        app.add_url_rule("/second", view_func=another)
    assert app.view_functions["named_view"] is first
    with Wire(serve(app).address) as wire:
        assert wire.get("/first").text == "first"


def test_decorated_views_keep_their_endpoints_under_the_server(serve: Serve) -> None:
    app = Flask(__name__)

    def shouting(view: Callable[..., str]) -> Callable[..., str]:
        @functools.wraps(view)
        def wrapper(*args: Any, **kwargs: Any) -> str:
            return view(*args, **kwargs).upper()

        return wrapper

    @app.get("/one")
    @shouting
    def one() -> str:
        return f"{request.endpoint} {flask.url_for('two')}"

    @app.get("/two")
    @shouting
    def two() -> str:
        return f"{request.endpoint} {flask.url_for('one')}"

    with Wire(serve(app).address) as wire:
        assert wire.get("/one").text == "ONE /TWO"
        assert wire.get("/two").text == "TWO /ONE"


def test_error_page_of_flask_shows_no_traceback_without_debug(serve: Serve) -> None:
    app = Flask(__name__)
    app.logger.disabled = True

    @app.get("/")
    def index() -> str:
        raise RuntimeError("the secret in the traceback")

    @app.get("/aborted")
    def aborted() -> str:
        abort(403, "by rule 7")

    with Wire(serve(app).address) as wire:
        answer = wire.get("/")
        assert answer.status == 500
        assert "secret" not in answer.text
        assert "by rule 7" in wire.get("/aborted").text
