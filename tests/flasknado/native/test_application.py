"""The application of native routes: what it does in its own way; Tornado's tests judge the rest."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest
from tornado import gen
from tornado.httputil import HTTPServerRequest
from tornado.web import HTTPError, RequestHandler, stream_request_body

from flasknado import HTTPServer
from flasknado.native.application import NativeApplication
from tests.flasknado.wsgi.wire import Answer, Wire
from tests.support.poll import poll
from tests.support.serving import serving


class Named(RequestHandler):
    """Answers with its name and with what the path says."""

    def initialize(self, name: str = "") -> None:
        self.name = name

    async def get(self, *args: str, **kwargs: str) -> None:
        task = asyncio.current_task()
        assert task is not None, "a handler runs in a task"
        async with asyncio.timeout(20):
            await asyncio.sleep(0)
        self.write(f"{self.name} {args} {kwargs}")


class Decorated(RequestHandler):
    """Runs in Tornado's own kind of coroutine, as some projects' base handlers do."""

    @gen.coroutine
    def _execute(self, *args: Any, **kwargs: Any) -> Any:
        yield super()._execute(*args, **kwargs)

    def get(self) -> None:
        self.write("decorated")


@stream_request_body
class Counting(RequestHandler):
    """Counts the bytes of its body."""

    def prepare(self) -> None:
        self.count = 0

    def data_received(self, chunk: bytes) -> None:
        self.count += len(chunk)

    def put(self) -> None:
        self.write(f"{self.count} bytes")


class Noting(NativeApplication):
    """Notes which handlers it is asked to run, as an application may that wraps them."""

    def get_handler_delegate(self, request: Any, target_class: Any, *args: Any) -> Any:
        self.settings["seen"].append(target_class)
        return super().get_handler_delegate(request, target_class, *args)


def ask(
    application: NativeApplication,
    path: str,
    *,
    host: str = "example.test",
    method: str = "GET",
    body: bytes = b"",
) -> Answer:
    """Serve the application on a port of its own, and return its answer to one request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
    with (
        serving(lambda: HTTPServer(application)) as running,
        Wire(running.address) as wire,
    ):
        return wire.ask(head.encode() + body)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/plain", "plain () {}"),
        ("/numbers/7/a%20b", "numbers ('7', 'a b') {}"),
        ("/users/ada", "users () {'user': 'ada'}"),
    ],
)
def test_handler_of_the_route_gets_what_the_path_says(path: str, answer: str) -> None:
    application = NativeApplication(
        [
            (r"/plain", Named, {"name": "plain"}),
            (r"/numbers/(\d+)/(.*)", Named, {"name": "numbers"}),
            (r"/users/(?P<user>\w+)", Named, {"name": "users"}),
        ]
    )

    assert ask(application, path).body.decode() == answer


def test_path_that_no_route_matches_is_answered_404() -> None:
    assert ask(NativeApplication([(r"/a", Named)]), "/b").status == 404


def test_route_of_a_host_goes_before_those_of_all_hosts() -> None:
    application = NativeApplication([(r"/a", Named, {"name": "everywhere"})])
    application.add_handlers(r"shop\.test", [(r"/a", Named, {"name": "shop"})])

    assert ask(application, "/a", host="shop.test").body.startswith(b"shop")
    assert ask(application, "/a", host="other.test").body.startswith(b"everywhere")


def test_route_to_another_application_is_followed() -> None:
    inner = NativeApplication([(r"/inner/a", Named, {"name": "inner"})])
    application = NativeApplication([(r"/inner/.*", inner)])

    assert ask(application, "/inner/a").body.startswith(b"inner")


def test_handler_that_is_no_plain_coroutine_runs_as_in_tornado() -> None:
    assert ask(NativeApplication([(r"/a", Decorated)]), "/a").body == b"decorated"


def test_application_that_wraps_handlers_is_asked_for_each() -> None:
    seen: list[Any] = []

    assert ask(Noting([(r"/a", Named)], seen=seen), "/a").status == 200
    assert seen == [Named]


@pytest.mark.parametrize("cached", [True, False])
def test_streamed_body_is_counted_with_and_without_caches(cached: bool) -> None:
    application = NativeApplication([(r"/a", Counting)], compiled_template_cache=cached)

    assert ask(application, "/a", method="PUT", body=b"x" * 300_000).body == b"300000 bytes"


class Remembered(RequestHandler):
    """Notes its requests without keeping them, and answers or fails."""

    requests: list[weakref.ref[HTTPServerRequest]]

    def initialize(self, requests: list[weakref.ref[HTTPServerRequest]]) -> None:
        requests.append(weakref.ref(self.request))

    def post(self) -> None:
        if self.request.path == "/fails":
            raise HTTPError(409)
        if self.request.path == "/form":
            raise HTTPError(409, self.get_body_argument("a"))


@pytest.mark.parametrize("path", ["/answers", "/fails", "/form"])
def test_request_with_its_body_is_freed_at_its_end_without_a_garbage_collection(
    layer: str, path: str
) -> None:
    requests: list[weakref.ref[HTTPServerRequest]] = []
    handlers = [(r"/.*", Remembered, {"requests": requests})]
    kind = b"Content-Type: application/x-www-form-urlencoded\r\n"
    request = b"POST %b HTTP/1.1\r\nHost: a\r\n%bContent-Length: 3\r\n\r\na=1" % (
        path.encode(),
        kind,
    )
    http = layer.partition("-")[0]
    gc.disable()
    try:
        with (
            serving(lambda: HTTPServer(None, handlers=handlers, http=http)) as running,
            Wire(running.address) as wire,
        ):
            wire.ask(request)
            # Tornado's own connection lets go of a request when the next one begins.
            wire.ask(request)
            poll(lambda: requests[0]() is None)
    finally:
        gc.enable()
