"""Runs Tornado's own tests with our server in the place of Tornado's; prints the result as JSON.

    python -m tests.tornado_suite.run uvloop httpserver_test web_test.RequestTest.test_a ...

The server and the application are substituted, and the wording of log lines about malformed
requests is not looked at: everything else runs as Tornado wrote it.
"""

from __future__ import annotations

import asyncio
import importlib
import io
import json
import logging
import sys
import unittest
from typing import Any

import tornado.httpserver
import tornado.testing
from tornado.log import gen_log

from flasknado.native.application import NativeApplication
from flasknado.server import HTTPServer

MODULES = (
    "httpserver_test",
    "web_test",
    "websocket_test",
    "simple_httpclient_test",
    "routing_test",
    "wsgi_test",
)


class LlhttpServer(HTTPServer):
    """Our server on the llhttp layer, whatever the default is."""

    def initialize(self, *args: Any, **options: Any) -> None:  # type: ignore[override]
        super().initialize(*args, http="llhttp", **options)


class AnyRefusal(tornado.testing.ExpectLog):
    """Expects that a refusal is logged, in words of ours."""

    def __init__(self, logger: Any, regex: str, *args: Any, **options: Any) -> None:
        if logger is gen_log and options.get("level") == logging.INFO and "Unsat" not in regex:
            regex = ".*Malformed HTTP message"
        super().__init__(logger, regex, *args, **options)


SUBSTITUTES = {
    "Application": NativeApplication,
    "ExpectLog": AnyRefusal,
    "HTTPServer": LlhttpServer,
}


def run(names: tuple[str, ...], only: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Run the tests of Tornado's test modules; returns their count and the ids that failed.

    only: the ids of the tests to run; default: all.
    """
    modules = [importlib.import_module(f"tornado.test.{name}") for name in names]
    for module in (tornado.httpserver, tornado.testing, *modules):
        for name, ours in SUBSTITUTES.items():
            if hasattr(module, name) and module is not tornado.testing:
                setattr(module, name, ours)
    tornado.testing.HTTPServer = LlhttpServer  # type: ignore[attr-defined, misc]
    suite = unittest.TestSuite(_tests_of(module, only) for module in modules)
    log = io.StringIO()
    result = unittest.TextTestRunner(stream=log, verbosity=0).run(suite)
    failed = sorted({_id(test) for test, _ in result.failures + result.errors})
    return {"ran": result.testsRun, "failed": failed, "log": log.getvalue()[-20_000:]}


def _tests_of(module: Any, only: frozenset[str]) -> unittest.TestSuite:
    tests = unittest.defaultTestLoader.loadTestsFromModule(module)
    if not only:
        return tests
    return unittest.TestSuite(test for case in tests for test in case if _id(test) in only)  # type: ignore[union-attr]


def _id(test: Any) -> str:
    case = getattr(test, "test_case", test)  # of a sub-test
    return str(case.id()).removeprefix("tornado.test.")


def _modules_and_tests(arguments: list[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return what to run: whole modules, or single tests by their ids."""
    tests = frozenset(name for name in arguments if "." in name)
    modules = dict.fromkeys(name.partition(".")[0] for name in arguments)
    return tuple(modules) or MODULES, tests


def main() -> None:
    if sys.argv[1] == "uvloop":
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    logging.getLogger("tornado.access").setLevel(logging.CRITICAL)
    print(json.dumps(run(*_modules_and_tests(sys.argv[2:]))))  # noqa: T201


if __name__ == "__main__":
    main()
