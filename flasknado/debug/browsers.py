"""The browsers that show pages of this server, told over server-sent events when to reload.

A page knows its version, which is the worker's and changes with each change of a template or a
static file. A browser that connects, also after a restart, is told the version as it is, and
reloads if its page has another.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from pathlib import Path
from typing import Any, Final

from tornado.web import RequestHandler

from flasknado.debug.injection import Injector
from flasknado.native.routes import NativeRoute

RETRY_MS: Final = 200
MAX_BROWSERS: Final = 256
SCRIPT: Final = Path(__file__).parent / "static" / "reload.js"


class Browsers:
    """Tells the browsers that follow; belongs to the loop's thread.

    prefix: the path below which the script and its events are served.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = f"{prefix}/debug/"
        self.injector = Injector(f"{self.prefix}reload.js")
        self._worker = secrets.token_hex(4)
        self._changes = 0
        self._streams: set[EventStream] = set()
        self._ended = False
        self.injector.version = self.version

    @property
    def version(self) -> str:
        """The version of the pages that are rendered now."""
        return f"{self._worker}.{self._changes}"

    def routes(self) -> list[NativeRoute]:
        """Return the native routes of the script and its events."""
        path = re.escape(self.prefix)
        return [
            (rf"{path}events", EventStream, {"browsers": self}),
            (rf"{path}reload\.js", ScriptHandler),
        ]

    def tell_changed(self, paths: list[str]) -> None:
        """Have the pages reloaded, or only their style sheets if nothing else has changed."""
        self._changes += 1
        self.injector.version = self.version
        names = {Path(path).name for path in paths}
        if all(name.endswith(".css") for name in names):
            for name in sorted(names):
                self._tell("style", json.dumps({"version": self.version, "name": name}))
        else:
            self._tell("version", self.version)

    def end(self, window_s: float = 0.0) -> None:  # noqa: ARG002 (of a drain callback)
        """Let all go: they connect again, to the worker that serves next."""
        self._ended = True
        for stream in list(self._streams):
            stream.end()

    def join(self, stream: EventStream) -> bool:
        """Tell a stream from now on; returns false if there are too many, or this one ends."""
        if self._ended or len(self._streams) >= MAX_BROWSERS:
            return False
        self._streams.add(stream)
        return True

    def leave(self, stream: EventStream) -> None:
        """Tell a stream no more."""
        self._streams.discard(stream)

    def _tell(self, event: str, data: str) -> None:
        for stream in list(self._streams):
            stream.send(event, data)


class EventStream(RequestHandler):
    """One browser that waits for changes (EventSource)."""

    def initialize(self, browsers: Browsers) -> None:
        self._browsers = browsers
        self._over = asyncio.Event()

    async def get(self) -> None:
        if not self._browsers.join(self):
            self.set_status(503)
            return
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("Cache-Control", "no-store")
        self.write(f"retry: {RETRY_MS}\n")
        self.send("version", self._browsers.version)
        await self._over.wait()

    def send(self, event: str, data: str) -> None:
        """Send one event."""
        self.write(f"event: {event}\ndata: {data}\n\n")
        flushed: Any = self.flush()
        flushed.add_done_callback(lambda done: done.exception())  # the browser has gone

    def end(self) -> None:
        """End the stream."""
        self._over.set()

    def on_connection_close(self) -> None:
        self._over.set()

    def on_finish(self) -> None:
        self._browsers.leave(self)


class ScriptHandler(RequestHandler):
    """The script that reloads the page."""

    def get(self) -> None:
        self.set_header("Content-Type", "text/javascript; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.finish(SCRIPT.read_bytes())
