"""Servers of an application with live events: in this process, and in one that can be killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask import Flask, g, request

from flasknado.live.hub.hub import hub_of
from flasknado.live.state import state_of
from tests.flasknado.live.helpers import LiveApp
from tests.support.process import ServerProcess, server_process
from tests.support.serving import Serving

# As strict as a page that imports a module of its own origin can be.
CONTENT_SECURITY_POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'"


class Site:
    """An application with live events and an empty page, served in this process."""

    def __init__(self, live_app: LiveApp, served: Serving) -> None:
        self.live_app = live_app
        self.served = served
        self.url = served.url

    def publish(self, channel: str, *data: Any) -> None:
        """Publish an event for each of `data`, all in one transaction."""
        with self.live_app.app.app_context():
            for each in data:
                self.live_app.live.publish(channel, "note", each)
            self.live_app.db.session.commit()

    @property
    def cursor(self) -> str:
        return self.live_app.cursor()

    def key(self, user: str | None) -> str:
        """Return the key of the pages that a user loads."""
        key: str | None = state_of(self.live_app.app).page_key(user)
        assert key is not None
        return key

    @property
    def connections(self) -> int:
        """How many live clients the server holds."""
        app = self.live_app.app

        def count() -> int:
            subscribers: int = hub_of(state_of(app), self.served.server).stats()["subscribers"]
            return subscribers

        return self.served.on_loop(count)

    def cut(self) -> None:
        """Cut every live connection, as a network would: without a word."""
        app = self.live_app.app

        def cut() -> None:
            hub = hub_of(state_of(app), self.served.server)
            for subscriber in tuple(hub._subscribers):
                hub.remove(subscriber)
                subscriber.abort()

        self.served.on_loop(cut)


def add_page(app: Flask) -> None:
    """Give an application an empty page, and one that may connect to other origins."""

    @app.before_request
    def log_in_by_cookie() -> None:
        g.user = request.cookies.get("user") or g.get("user")

    @app.get("/")
    def page() -> tuple[str, dict[str, str]]:
        headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY}
        return "<!doctype html><title>live</title>", headers

    @app.get("/open")
    def open_page() -> str:
        return "<!doctype html><title>live</title>"


@contextmanager
def running(directory: Path, port: int = 0, **config: str) -> Iterator[ServerProcess]:
    arguments = ("-m", "flasknado.process.cli", "tests.browser.application:app")
    options = ("--handlers", "flasknado.live:routes", "--bind", f"127.0.0.1:{port}")
    env = {"LIVE_TEST_DIRECTORY": str(directory)}
    with server_process((*arguments, *options), env=env) as server:
        yield server


def kill(server: ServerProcess) -> None:
    """End the master and its worker at once, as a power cut would."""
    worker = int(server.wait_for_output(r"Serving as worker with pid: (\d+)")[1])
    os.kill(server.pid, signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    server.wait()
