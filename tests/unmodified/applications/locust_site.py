"""Locust's page as a WSGI application; the load itself runs on a thread with gevent's hub.

Its views answer from any thread, but for those that start and stop greenlets: these run where the
greenlets do.
"""

import os

os.environ["LOCUST_SKIP_MONKEY_PATCH"] = "1"  # it would turn this process's threads into greenlets

import queue
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

import gevent
from locust import User, task
from locust.argument_parser import get_parser
from locust.env import Environment
from locust.web import WebUI

sys.argv = ["locust"]  # whose arguments the page reads again and again

ON_HUB = ("/swarm", "/stop")
Call = tuple[Future[list[bytes]], dict[str, Any], Callable[..., Any]]
calls: queue.SimpleQueue[Call] = queue.SimpleQueue()
pages: Future[WebUI] = Future()


class Whaler(User):
    """Makes three requests, one of which fails, and then waits."""

    host = "http://example.org"

    @task
    def sail(self) -> None:
        for number, error in enumerate((None, None, ValueError("no wind"))):
            self.environment.events.request.fire(
                request_type="GET",
                name="/whales",
                response_time=10 * number,
                response_length=100,
                exception=error,
                context={},
            )
        gevent.sleep(3600)


def run_load() -> None:
    options = get_parser().parse_args()
    environment = Environment(user_classes=[Whaler], parsed_options=options)
    environment.create_local_runner()
    pages.set_result(WebUI(environment, "", 0, delayed_start=True))
    while True:
        while not calls.empty():
            call = calls.get()
            gevent.spawn(answer, *call)
        gevent.sleep(0.01)


def answer(
    done: Future[list[bytes]], environ: dict[str, Any], start_response: Callable[..., Any]
) -> None:
    try:
        parts = page(environ, start_response)
        done.set_result(list(parts))
    except BaseException as error:
        done.set_exception(error)


threading.Thread(target=run_load, daemon=True).start()
page = pages.result().app
assert page is not None


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if environ["PATH_INFO"] not in ON_HUB:
        return page(environ, start_response)
    done: Future[list[bytes]] = Future()
    calls.put((done, environ, start_response))
    return done.result()
