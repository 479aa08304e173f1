"""Development mode for one server: what is put around its halves, and what follows changes."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flasknado.debug import native
from flasknado.debug.browsers import Browsers
from flasknado.debug.debugger import Debugger
from flasknado.debug.files import is_installed
from flasknado.debug.middleware import InjectingMiddleware
from flasknado.debug.tracebacks import files_of
from flasknado.debug.watcher import Watcher
from flasknado.flask_apps import flask_apps_of
from flasknado.server import HTTPServer
from flasknado.static.files import StaticFiles

if TYPE_CHECKING:
    from flask import Flask

log = logging.getLogger("flasknado.debug")


class DevelopmentMode:
    """Development mode of a server that does not serve yet; made on the loop's thread.

    watcher: made before the application was loaded. prefix: of the paths that browsers use.
    restart: called on the loop's thread with the files whose change asks for it.
    """

    def __init__(
        self,
        server: HTTPServer,
        watcher: Watcher,
        prefix: str,
        restart: Callable[[list[str]], None],
    ) -> None:
        self.browsers = Browsers(prefix)
        self.pin: str | None = None
        """What the debugger asks for."""
        self._server = server
        self._watcher = watcher
        self._loop = asyncio.get_running_loop()
        apps: list[Flask] = []
        container = server.container
        if container is not None:
            apps = list(flask_apps_of(container.application))
            debugger = Debugger(container.application, self._on_error)
            self.pin = debugger.pin
            container.application = InjectingMiddleware(debugger, self.browsers.injector)
            container.front = None  # kept pages would outlive their templates
        for app in apps:
            _develop(app)
        native.install(server.native.application, self.browsers.injector)
        server.native.add(self.browsers.routes())
        server.add_drain_callback(self.browsers.end)
        watcher.start(
            {folder for folder in self._template_folders(apps) if not is_installed(folder)},
            {folder for folder in self._static_folders(apps) if not is_installed(folder)},
            self._soon(restart),
            self._soon(self._on_pages),
        )

    def _soon(self, call: Callable[[list[str]], None]) -> Callable[[list[str]], None]:
        """Return what has the loop make a call that another thread asks for."""

        def soon(paths: list[str]) -> None:
            self._loop.call_soon_threadsafe(call, paths)

        return soon

    def _on_error(self, error: BaseException) -> None:
        # A module that could not be imported is not loaded, and yet what has to be mended.
        self._watcher.also(files_of(error))

    def _on_pages(self, paths: list[str]) -> None:
        if isinstance(self._server.ordinary, StaticFiles):
            self._server.ordinary.close()  # and forget what it keeps
        log.info("%s: the browser reloads", shown(paths))
        self.browsers.tell_changed(paths)

    def _template_folders(self, apps: list[Flask]) -> Iterator[str]:
        for app in apps:
            for scaffold in (app, *app.blueprints.values()):
                yield from _folders_of_loader(scaffold.jinja_loader)
        yield from self._native_folder("template_path")

    def _static_folders(self, apps: list[Flask]) -> Iterator[str]:
        for app in apps:
            for scaffold in (app, *app.blueprints.values()):
                if scaffold.static_folder is not None:
                    yield os.path.abspath(scaffold.static_folder)  # noqa: PTH100
        if isinstance(self._server.ordinary, StaticFiles):
            yield from self._server.ordinary.folders
        yield from self._native_folder("static_path")

    def _native_folder(self, name: str) -> Iterator[str]:
        folder = self._server.native.application.settings.get(name)
        if folder:
            yield os.path.abspath(folder)  # noqa: PTH100


def shown(paths: list[str]) -> str:
    """Return what has changed, for the log."""
    here = f"{Path.cwd()}{os.sep}"
    names = [path.removeprefix(here) for path in paths[:3]]
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return f"{', '.join(names)}{more} changed"


def _develop(app: Flask) -> None:
    """Do to an application what `flask run --debug` does, and have it read all files anew."""
    app.debug = True  # errors go to the debugger
    app.jinja_env.auto_reload = True
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = None  # browsers ask each time


def _folders_of_loader(loader: Any) -> Iterable[str]:
    """Yield the folders that a loader of Jinja reads templates from."""
    for folder in getattr(loader, "searchpath", ()):
        yield os.path.abspath(folder)  # noqa: PTH100
    for inner in getattr(loader, "loaders", ()):
        yield from _folders_of_loader(inner)
    for inner in getattr(loader, "mapping", {}).values():
        yield from _folders_of_loader(inner)
