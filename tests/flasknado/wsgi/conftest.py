"""Servers for the tests of the container, on every connection layer there is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop

from flasknado import HTTPServer, WSGIContainer
from flasknado.server import LAYERS
from tests.support.serving import Serving, serving

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "tornado": asyncio.new_event_loop,
    "llhttp": uvloop.new_event_loop,
}

Serve = Callable[..., Serving]


@pytest.fixture(params=LAYERS, scope="session")
def layer(request: pytest.FixtureRequest) -> str:
    """A connection layer; every test with a server runs on each."""
    return str(request.param)


@contextlib.contextmanager
def _serves(layer: str) -> Iterator[Serve]:
    with contextlib.ExitStack() as servers:

        def serve(application: Any, **options: Any) -> Serving:
            def make() -> HTTPServer:
                return HTTPServer(WSGIContainer(application, **options), http=layer)

            return servers.enter_context(serving(make, new_loop=LOOPS[layer]))

        yield serve


@pytest.fixture
def serve(layer: str) -> Iterator[Serve]:
    """`serve(application, **container_options)` runs a server until the test ends."""
    with _serves(layer) as serve:
        yield serve


@pytest.fixture(scope="module")
def serve_module(layer: str) -> Iterator[Serve]:
    """As `serve`, until the module's tests have ended."""
    with _serves(layer) as serve:
        yield serve
