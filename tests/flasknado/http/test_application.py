"""The application of native routes: what it does in its own way; Tornado's tests judge the rest."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tornado import gen
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.netutil import bind_sockets
from tornado.web import RequestHandler, stream_request_body

from flasknado import HTTPServer
from flasknado.http.application import NativeApplication


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


def fetch(application: NativeApplication, path: str, **options: Any) -> HTTPResponse:
    """Serve the application on a port of its own, and return its answer to one request."""

    async def ask() -> HTTPResponse:
        server = HTTPServer(application)
        sockets = bind_sockets(0, "127.0.0.1")
        server.add_sockets(sockets)
        client = AsyncHTTPClient(force_instance=True)
        url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}{path}"
        try:
            return await client.fetch(url, raise_error=False, **options)
        finally:
            client.close()
            server.stop()
            await server.close_all_connections()

    return asyncio.run(ask())


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

    assert fetch(application, path).body.decode() == answer


def test_path_that_no_route_matches_is_answered_404() -> None:
    assert fetch(NativeApplication([(r"/a", Named)]), "/b").code == 404


def test_route_of_a_host_goes_before_those_of_all_hosts() -> None:
    application = NativeApplication([(r"/a", Named, {"name": "everywhere"})])
    application.add_handlers(r"shop\.test", [(r"/a", Named, {"name": "shop"})])

    assert fetch(application, "/a", headers={"Host": "shop.test"}).body.startswith(b"shop")
    assert fetch(application, "/a", headers={"Host": "other.test"}).body.startswith(b"everywhere")


def test_route_to_another_application_is_followed() -> None:
    inner = NativeApplication([(r"/inner/a", Named, {"name": "inner"})])
    application = NativeApplication([(r"/inner/.*", inner)])

    assert fetch(application, "/inner/a").body.startswith(b"inner")


def test_handler_that_is_no_plain_coroutine_runs_as_in_tornado() -> None:
    assert fetch(NativeApplication([(r"/a", Decorated)]), "/a").body == b"decorated"


@pytest.mark.parametrize("cached", [True, False])
def test_streamed_body_is_counted_with_and_without_caches(cached: bool) -> None:
    application = NativeApplication([(r"/a", Counting)], compiled_template_cache=cached)

    assert fetch(application, "/a", method="PUT", body=b"x" * 300_000).body == b"300000 bytes"
