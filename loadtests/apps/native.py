"""A native handler that does as little as the hello-world view."""

from __future__ import annotations

from tornado.routing import URLSpec
from tornado.web import RequestHandler


class HelloHandler(RequestHandler):
    def get(self) -> None:
        self.write("Hello, World!")


routes = [URLSpec(r"/native", HelloHandler)]
