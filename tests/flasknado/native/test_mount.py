"""Native routes below a path prefix."""

from __future__ import annotations

from typing import Any

import pytest
from tornado.routing import PathMatches, Rule, URLSpec
from tornado.web import RequestHandler

from flasknado import HTTPServer, WSGIContainer
from flasknado.native.mount import mounted
from flasknado.native.routes import NativeRoutes
from tests.flasknado.wsgi.wire import Wire
from tests.support.serving import serving


class Say(RequestHandler):
    def initialize(self, what: str = "") -> None:
        self.what = what

    def get(self, *args: str, **kwargs: str) -> None:
        self.write({"what": self.what, "path": self.request.path, "args": [*args, kwargs]})


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"wsgi"]


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        (r"/a", ["/x.y/a"], ["/a", "/xzy/a", "/x.y/ab", "/x.y"]),
        (r"^/a$", ["/x.y/a"], ["/a"]),
        (r"/a|/b", ["/x.y/a", "/x.y/b"], ["/b", "/a", "/x.y/ab"]),
        (r"(?i)/a", ["/x.y/A"], ["/A"]),
        (r".*", ["/x.y", "/x.y/", "/x.y/a"], ["/", "/z"]),
        (r"/?", ["/x.y", "/x.y/"], ["/"]),
    ],
)
def test_pattern_matches_below_the_prefix_alone(
    pattern: str, inside: list[str], outside: list[str]
) -> None:
    (spec,) = NativeRoutes(mounted([(pattern, Say)], "/x.y")).specs
    assert [path for path in [*inside, *outside] if spec.regex.match(path)] == inside


def test_route_keeps_what_it_was_given() -> None:
    routes = [
        URLSpec(r"/a/([0-9]+)", Say, {"what": "spec"}, name="a"),
        Rule(PathMatches(r"/b"), Say, {"what": "rule"}),
    ]
    application = NativeRoutes(mounted(routes, "/shop")).application
    assert application.reverse_url("a", 5) == "/shop/a/5"
    assert mounted(routes, "") == routes


def test_mount_of_the_container_holds_for_native_routes_given_and_added(layer: str) -> None:
    def make() -> HTTPServer:
        container = WSGIContainer(wsgi, mount="/shop")
        routes = [(r"/a/(?P<name>.+)", Say, {"what": "a"})]
        server = HTTPServer(container, handlers=routes, http=layer.partition("-")[0])
        server.add_handlers([(r"/b", Say)])
        server.native.add([(r"/own", Say)])
        return server

    with serving(make) as served, Wire(served.address) as wire:
        assert b'"path": "/shop/a/~ann"' in wire.get("/shop/a/%7Eann").body
        assert wire.get("/shop/b").status == wire.get("/own").status == 200
        assert wire.get("/a/x").status == wire.get("/b").status == 404
        assert wire.get("/shop/own").text == "wsgi"
