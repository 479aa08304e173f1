"""`async def` views, hooks and handlers of Flask: on the loop that serves them."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import socket
import struct
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import flask
import pytest
import requests
import tornado.web
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from flasknado import CoroutineCancelled, HTTPServer, WSGIContainer, in_flask
from flasknado.live import Identity, Live, routes
from flasknado.on_loop import blocking
from tests.support.poll import poll
from tests.support.raw import connect, read_to_end
from tests.support.serving import Serving, serving

colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


class Site:
    """An application of coroutines, and what happened in them."""

    def __init__(self) -> None:
        self.app = app = flask.Flask("coroutines")
        app.secret_key = "of a test"
        self.story: list[str] = []
        self.unblocked = threading.Event()
        self.loops: set[asyncio.AbstractEventLoop] = set()
        app.before_request(self.before)
        app.after_request(self.after)
        app.teardown_request(self.teardown)
        app.register_error_handler(KeyError, self.on_key_error)
        app.add_url_rule("/hello/<name>", view_func=self.hello)
        app.add_url_rule("/key-error", view_func=self.key_error)
        app.add_url_rule("/error", view_func=self.error)
        app.add_url_rule("/exit", view_func=self.exit)
        app.add_url_rule("/waits", view_func=self.waits)
        app.add_url_rule("/blocks", view_func=self.blocks)
        app.add_url_rule("/nested", view_func=self.nested)

    async def before(self) -> None:
        await asyncio.sleep(0)
        self.loops.add(asyncio.get_running_loop())
        flask.g.seen = "before"
        colour.set("red")

    async def after(self, response: flask.Response) -> flask.Response:
        response.headers["X-Colour"] = colour.get()
        return response

    async def teardown(self, error: BaseException | None) -> None:
        self.loops.add(asyncio.get_running_loop())
        self.story.append(f"teardown {type(error).__name__}")

    async def on_key_error(self, error: KeyError) -> tuple[str, int]:
        await asyncio.sleep(0)
        return f"no {error.args[0]}", 404

    async def hello(self, name: str) -> dict[str, Any]:
        await asyncio.sleep(0)
        self.loops.add(asyncio.get_running_loop())
        flask.session["name"] = name
        colour.set(f"{colour.get()} and blue")
        return {
            "path": flask.request.path,
            "g": flask.g.seen,
            "thread": threading.current_thread().name,
        }

    async def key_error(self) -> str:
        return str({}["key"])

    async def error(self) -> str:
        async def deep() -> str:
            await asyncio.sleep(0)
            raise ArithmeticError("deep")

        return await deep()

    async def exit(self) -> str:
        raise SystemExit(3)

    async def waits(self) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.story.append("cancelled")
            raise
        return "never"

    async def blocks(self) -> str:
        self.unblocked.wait(20)
        return "at last"

    async def nested(self) -> str:
        async def other() -> str:
            return "other"

        try:
            return str(flask.current_app.ensure_sync(other)())
        except RuntimeError as error:
            return f"{error} {await other()}"


@pytest.fixture(scope="module", autouse=True)
def quick_watch() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocking, "BLOCKED_S", 0.1)
        yield


@pytest.fixture(params=["llhttp", "tornado"], scope="module")
def running(request: pytest.FixtureRequest) -> Iterator[tuple[Site, Serving]]:
    site = Site()
    with serving(lambda: HTTPServer(WSGIContainer(site.app), http=request.param)) as served:
        yield site, served


@pytest.fixture
def site(running: tuple[Site, Serving]) -> Site:
    running[0].story.clear()
    running[0].loops.clear()
    return running[0]


@pytest.fixture
def served(running: tuple[Site, Serving]) -> Serving:
    return running[1]


def get(served: Serving, path: str) -> requests.Response:
    return requests.get(f"{served.url}{path}", timeout=20)


def test_coroutines_of_a_request_run_on_the_loop_that_serves(site: Site, served: Serving) -> None:
    for name in ("ann", "bob"):
        response = get(served, f"/hello/{name}")
        assert response.json() == {"path": f"/hello/{name}", "g": "before", "thread": "serving"}
        assert "session=" in response.headers["Set-Cookie"]
    poll(lambda: site.story, lambda story: story == ["teardown NoneType"] * 2)
    assert site.loops == {served.loop}


def test_context_variables_go_into_a_coroutine_and_come_back(site: Site, served: Serving) -> None:
    assert get(served, "/hello/ann").headers["X-Colour"] == "red and blue"


def test_exception_of_a_coroutine_reaches_handlers_and_the_log_with_its_traceback(
    site: Site, served: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    response = get(served, "/key-error")
    assert (response.status_code, response.text) == (404, "no key")
    assert get(served, "/error").status_code == 500
    record = next(r for r in caplog.records if "Exception on /error" in r.getMessage())
    assert record.exc_info is not None
    frames = [frame.name for frame in traceback.extract_tb(record.exc_info[2])]
    assert "deep" in frames
    assert "dispatch_request" in frames


def test_exit_in_a_coroutine_ends_its_request_only(site: Site, served: Serving) -> None:
    assert get(served, "/exit").status_code == 500
    assert get(served, "/hello/ann").status_code == 200


def test_call_on_the_loop_itself_is_refused_with_the_way_out(site: Site, served: Serving) -> None:
    text = get(served, "/nested").text
    assert "was called where an event loop runs" in text
    assert text.endswith("await it instead other")


def test_coroutine_that_blocks_the_loop_is_told_with_its_stack(
    site: Site, served: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    with ThreadPoolExecutor(1) as executor:
        asked = executor.submit(get, served, "/blocks")
        poll(lambda: "has blocked the event loop" in caplog.text)
        site.unblocked.set()
        response = asked.result()
    assert response.text == "at last"
    record = next(r for r in caplog.records if "has blocked the event loop" in r.getMessage())
    assert "Site.blocks" in record.getMessage()
    assert response.headers["X-Request-ID"] in record.getMessage()
    assert "self.unblocked.wait(20)" in str(record.stack_info)


def test_coroutine_past_the_deadline_of_its_request_is_cancelled_and_frees_its_thread(
    caplog: pytest.LogCaptureFixture,
) -> None:
    site = Site()
    errors: list[Exception] = []

    @site.app.errorhandler(CoroutineCancelled)
    def cancelled(error: CoroutineCancelled) -> tuple[str, int]:
        errors.append(error)
        return "too late anyway", 503

    def make() -> HTTPServer:
        return HTTPServer(WSGIContainer(site.app, threads=1, request_timeout_s=0.2))

    with serving(make) as served:
        assert get(served, "/waits").status_code == 504
        assert get(served, "/hello/ann").status_code == 200  # on the only thread
        assert site.story[:2] == ["cancelled", "teardown NoneType"]
        assert str(errors[0]) == "its request took longer than 0.2 s"


def test_coroutine_whose_client_has_left_for_long_is_cancelled() -> None:
    site = Site()

    def make() -> HTTPServer:
        return HTTPServer(WSGIContainer(site.app, threads=1, abandoned_after_s=0.1))

    with serving(make) as served:
        with connect(served.address) as sock:
            sock.sendall(b"GET /waits HTTP/1.1\r\nHost: a\r\n\r\n")
            poll(lambda: served.server.container.pool.busy)  # type: ignore[union-attr]
            # A reset: who sends a FIN may still wait for the answer.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        poll(
            lambda: site.story, lambda story: story == ["cancelled", "teardown CoroutineCancelled"]
        )
        assert served.server.container is not None
        assert served.server.container.stuck == 0


def test_coroutine_is_cancelled_when_the_drain_ends() -> None:
    site = Site()

    async def drain(served: Serving) -> bool:
        return await served.server.drain(0.2)

    with serving(lambda: HTTPServer(WSGIContainer(site.app))) as served:
        with connect(served.address) as sock:
            sock.sendall(b"GET /waits HTTP/1.1\r\nHost: a\r\n\r\n")
            poll(lambda: served.server.container.pool.busy)  # type: ignore[union-attr]
            drained = asyncio.run_coroutine_threadsafe(drain(served), served.loop).result(15)
            assert not drained
            read_to_end(sock)
        poll(
            lambda: site.story, lambda story: story == ["cancelled", "teardown CoroutineCancelled"]
        )


def test_application_that_converts_coroutines_itself_keeps_its_way() -> None:
    class Own(flask.Flask):
        def async_to_sync(self, func: Any) -> Any:
            return lambda *args, **kwargs: "its own"

    patched = flask.Flask("patched")
    patched.async_to_sync = functools.partial(Own.async_to_sync, patched)  # type: ignore[method-assign, assignment]
    for app in (Own("own"), patched):

        @app.get("/")
        async def index() -> str:
            return "ours"

        with serving(lambda app=app: HTTPServer(WSGIContainer(app))) as served:  # type: ignore[misc]
            assert get(served, "/").text == "its own"


def test_every_application_behind_middleware_runs_its_coroutines_on_the_loop() -> None:
    outer, inner = Site(), Site()
    app = DispatcherMiddleware(outer.app, {"/inner": inner.app})
    with serving(lambda: HTTPServer(WSGIContainer(app))) as served:
        assert get(served, "/hello/ann").json()["thread"] == "serving"
        assert get(served, "/inner/hello/ann").json()["thread"] == "serving"


def test_application_that_is_not_served_has_flasks_own_way() -> None:
    site = Site()
    with serving(lambda: HTTPServer(WSGIContainer(site.app))) as served:
        assert get(served, "/hello/ann").status_code == 200
    with site.app.app_context():
        convert = flask.current_app.ensure_sync(site.blocks)
        try:
            import asgiref  # noqa: F401
        except ImportError:
            with pytest.raises(RuntimeError, match="'async' extra"):
                convert()
        else:
            assert convert() == "at last"


def test_hooks_of_native_requests_may_be_coroutines() -> None:
    app = flask.Flask("native")
    app.secret_key = "of a test"
    live = Live(app, database_url="memory://")

    @live.authorize
    async def may_read(channel: str) -> bool:
        await asyncio.sleep(0)
        return channel == flask.request.args["channel"] == "news"

    @live.identity
    async def who() -> Identity:
        await asyncio.sleep(0)
        return Identity("ann")

    async def name_of_thread() -> str:
        await asyncio.sleep(0)
        return f"{threading.current_thread().name} {flask.request.path}"

    class Native(tornado.web.RequestHandler):
        async def get(self) -> None:
            self.write(await in_flask(self, name_of_thread))

    handlers = [(r"/native", Native), *routes()]
    with serving(lambda: HTTPServer(WSGIContainer(app), handlers=handlers)) as served:
        assert get(served, "/native").text == "serving /native"
        allowed = get(served, "/live/poll?channel=news&timeout_s=0")
        assert allowed.status_code == 200
        assert get(served, "/live/poll?channel=other&timeout_s=0").status_code == 403
