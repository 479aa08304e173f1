"""One browser for all the tests in this folder, and servers for its pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from tornado.web import RequestHandler

import flasknado.live
from flasknado import HTTPServer, WSGIContainer
from tests.browser.page import Page
from tests.browser.servers import Site, add_page
from tests.flasknado.live.helpers import make_app
from tests.live_server.test_browser import open_browser
from tests.support.serving import serving


@pytest.fixture(autouse=True)
def short_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the browser's idle connections when a server ends."""
    monkeypatch.setattr("flasknado.server.DRAIN_LINGER_S", 0.02)


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
    browser.execute_cdp_cmd("Network.clearBrowserCookies", {})
    for handle in browser.window_handles:
        if handle != first:
            browser.switch_to.window(handle)
            browser.close()
    browser.switch_to.window(first)


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Return a function that serves a `Site`; `before` are handlers in front of the live ones,
    and `server` more of the server's options."""
    with ExitStack() as stack:

        def make(
            before: list[tuple[str, type[RequestHandler]]] | None = None,
            server: dict[str, Any] | None = None,
            **config: Any,
        ) -> Site:
            live_app = make_app(tmp_path, **config)
            stack.callback(lambda: live_app.engine().dispose())
            add_page(live_app.app)
            handlers = [*(before or []), *flasknado.live.routes()]
            container = WSGIContainer(live_app.app)
            served = stack.enter_context(
                serving(lambda: HTTPServer(container, handlers=handlers, **(server or {})))
            )
            return Site(live_app, served)

        yield make


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()
