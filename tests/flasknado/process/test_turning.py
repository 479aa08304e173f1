"""What an application does on the event loop ends no other request."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future

import pytest
import requests
from tornado.netutil import bind_sockets
from tornado.web import RequestHandler

from flasknado import HTTPServer
from flasknado.process.turning import run_to_end
from flasknado.process.worker import new_event_loop

log = logging.getLogger("flasknado.error")


@pytest.fixture(params=[new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def runner(request: pytest.FixtureRequest) -> asyncio.Runner:
    runner = asyncio.Runner(loop_factory=request.param)
    # What a task has raised asyncio logs when the task is collected, in whatever test that is.
    runner.get_loop().set_exception_handler(lambda *_: None)
    return runner


async def _exit() -> None:
    sys.exit(3)


async def _interrupt() -> None:
    raise KeyboardInterrupt


async def _stop() -> None:
    asyncio.get_running_loop().stop()


@pytest.mark.parametrize("ending", [_exit, _interrupt, _stop])
def test_task_that_would_end_the_loop_ends_alone(
    runner: asyncio.Runner, caplog: pytest.LogCaptureFixture, ending: Callable[[], object]
) -> None:
    done: list[str] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        others = [loop.create_task(ending()) for _ in range(3)]  # type: ignore[arg-type]
        await asyncio.wait(others)
        await asyncio.sleep(0.01)
        done.append("all")
        for other in others:
            if not other.cancelled():
                other.exception()

    with runner:
        run_to_end(runner.get_loop(), work(), log)
    assert done == ["all"]
    assert "goes on" in caplog.text


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), RuntimeError("own")])
def test_what_the_work_itself_raises_is_raised(
    runner: asyncio.Runner, error: BaseException
) -> None:
    async def work() -> None:
        raise error

    with runner, pytest.raises(type(error)):
        run_to_end(runner.get_loop(), work(), log)


class Exits(RequestHandler):
    async def get(self) -> None:
        await asyncio.sleep(0)
        sys.exit(3)

    def post(self) -> None:
        raise KeyboardInterrupt

    def put(self) -> None:
        self.write("page")


def test_native_handler_that_would_end_the_server_is_answered_500(runner: asyncio.Runner) -> None:
    started: Future[tuple[int, Callable[[], object]]] = Future()

    async def work() -> None:
        loop, ending = asyncio.get_running_loop(), asyncio.Event()
        server = HTTPServer(None, handlers=[(r"/", Exits)])
        sockets = bind_sockets(0, "127.0.0.1")
        server.add_sockets(sockets)
        stop = lambda: loop.call_soon_threadsafe(ending.set)  # noqa: E731
        started.set_result((sockets[0].getsockname()[1], stop))
        await ending.wait()
        await server.drain(5)

    def run() -> None:
        with runner:
            run_to_end(runner.get_loop(), work(), log)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    port, stop = started.result(15)
    url = f"http://127.0.0.1:{port}/"
    answers = [requests.request(method, url, timeout=15) for method in ("GET", "POST", "PUT")]
    assert [answer.status_code for answer in answers] == [500, 500, 200]
    stop()
    thread.join(15)
    assert not thread.is_alive()
