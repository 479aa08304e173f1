"""One browser for all the tests in this folder, and servers for its pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from selenium import webdriver
from tornado.web import RequestHandler

import flasknado.live
from flasknado import HTTPServer, WSGIContainer
from flasknado.live.extension import state_of
from flasknado.live.hub import hub_of
from tests.browser.page import Page
from tests.flasknado.live.helpers import LiveApp, make_app
from tests.live_server.test_browser import open_browser
from tests.support.serving import Serving, serving

# As strict as a page that imports a module of its own origin can be.
CONTENT_SECURITY_POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'"


@pytest.fixture(autouse=True)
def quick_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the browser's idle connections when a server ends."""
    monkeypatch.setattr("flasknado.http.server.DRAIN_POLL_S", 0.005)
    monkeypatch.setattr("flasknado.http.server.DRAIN_LINGER_S", 0.02)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    browser = open_browser(tmp_path_factory.mktemp("browser"))
    try:
        yield browser
    finally:
        browser.quit()


@pytest.fixture
def open_page(browser: webdriver.Chrome) -> Iterator[Callable[[str], Page]]:
    """Return a function that opens a page in a tab of its own; they are closed at the end."""
    first = browser.current_window_handle
    yield lambda url: Page(browser, url)
    for handle in browser.window_handles:
        if handle != first:
            browser.switch_to.window(handle)
            browser.close()
    browser.switch_to.window(first)


class Site:
    """An application with live events and an empty page, served in this process."""

    def __init__(self, live_app: LiveApp, served: Serving) -> None:
        self.live_app = live_app
        self.served = served
        self.url = served.url

    def publish(self, channel: str, *data: Any) -> None:
        """Publish an event for each of `data`, each in a transaction of its own."""
        for each in data:
            self.live_app.publish(channel, data=each)

    @property
    def cursor(self) -> str:
        return self.live_app.cursor()

    @property
    def connections(self) -> int:
        """How many live clients the server holds."""
        app = self.live_app.app

        def count() -> int:
            subscribers: int = hub_of(state_of(app), self.served.server).stats()["subscribers"]
            return subscribers

        return self.served.on_loop(count)


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Return a function that serves a `Site`; `before` are handlers in front of the live ones."""
    with ExitStack() as stack:

        def make(
            before: list[tuple[str, type[RequestHandler]]] | None = None, **config: Any
        ) -> Site:
            live_app = make_app(tmp_path, **config)
            stack.callback(lambda: live_app.engine().dispose())
            add_page(live_app.app)
            handlers = [*(before or []), *flasknado.live.routes()]
            container = WSGIContainer(live_app.app)
            served = stack.enter_context(serving(lambda: HTTPServer(container, handlers=handlers)))
            return Site(live_app, served)

        yield make


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()


def add_page(app: Flask) -> None:
    @app.get("/")
    def page() -> tuple[str, dict[str, str]]:
        headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY}
        return "<!doctype html><title>live</title>", headers
