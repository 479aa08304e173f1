"""Servers that have no command line of their own.

python -m loadtests.apps.serve tornado|bjoern|freastal MODULE:APP PORT THREADS
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

HOST = "127.0.0.1"


def serve_tornado(application: Any, port: int, threads: int) -> None:
    """Stock Tornado: its container on a pool of threads, and native handlers beside it."""
    from tornado.log import access_log
    from tornado.web import Application, FallbackHandler
    from tornado.wsgi import WSGIContainer

    from loadtests.apps.native import routes

    access_log.setLevel("ERROR")

    async def main() -> None:
        container = WSGIContainer(application, executor=ThreadPoolExecutor(threads))
        handlers: list[Any] = [*routes, (r".*", FallbackHandler, {"fallback": container})]
        Application(handlers).listen(port, HOST, idle_connection_timeout=3600)
        await asyncio.Event().wait()

    asyncio.run(main())


def serve_bjoern(application: Any, port: int, _threads: int) -> None:
    """bjoern has one thread, whatever it is asked for."""
    import bjoern  # type: ignore[import-not-found]  # only in the peers' environment

    bjoern.run(application, HOST, port)


def serve_freastal(application: Any, port: int, _threads: int) -> None:
    """freastal has one thread for WSGI, whatever it is asked for."""
    import freastal  # type: ignore[import-not-found]  # only in the peers' environment

    freastal.serve(application, HOST, port)


def main(name: str, application: str, port: str, threads: str) -> None:
    """Serve until a signal."""
    module, _, attribute = application.partition(":")
    _SERVE[name](getattr(importlib.import_module(module), attribute), int(port), int(threads))


_SERVE = {"tornado": serve_tornado, "bjoern": serve_bjoern, "freastal": serve_freastal}


if __name__ == "__main__":
    main(*sys.argv[1:])
