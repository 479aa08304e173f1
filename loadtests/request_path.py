"""The way of one ordinary GET through the package: calls, files, and changes of file.

    python -m loadtests.request_path [--calls]

A newcomer who follows a request reads these files, and turns to another one so many times.
Counted by `sys.setprofile` on the loop's and the pool's thread, for a WSGI application that
does nothing, with operations installed as in a worker, once everything is warm.
`tests/test_request_path.py` holds the result.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from tornado.netutil import bind_sockets

from flasknado import HTTPServer, WSGIContainer
from flasknado.ops.operations import install

PACKAGE = Path(sys.modules["flasknado"].__file__ or "").resolve().parent
WARM_REQUESTS = 20
RECORDED_REQUESTS = 10
"""Of these the one with the fewest calls counts: others have a timer's calls among theirs."""

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Call(NamedTuple):
    """One call of a function of the package, on one thread."""

    thread: str
    file: str
    function: str


class RequestPath(NamedTuple):
    """What one request does, thread after thread."""

    calls: list[Call]

    @property
    def files(self) -> set[str]:
        """The files that it passes through."""
        return {call.file for call in self.calls}

    @property
    def changes_of_file(self) -> int:
        """How often the next call is in another file, on the same thread."""
        return sum(
            one.file != other.file
            for thread in dict.fromkeys(call.thread for call in self.calls)
            for one, other in _pairs([call for call in self.calls if call.thread == thread])
        )


def _pairs(calls: list[Call]) -> Iterable[tuple[Call, Call]]:
    return itertools.pairwise(calls)


class _Recorder:
    """Notes the calls of functions in the package, one list a request, while it is on."""

    def __init__(self) -> None:
        self.on = False
        self.requests: list[list[Call]] = []

    def profile(self, frame: FrameType, event: str, argument: object) -> None:  # noqa: ARG002
        if not self.on or event != "call":
            return
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(PACKAGE):
            thread = threading.current_thread().name.rstrip("0123456789-")
            file = path.relative_to(PACKAGE).as_posix()
            self.requests[-1].append(Call(thread, file, frame.f_code.co_qualname))


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:  # noqa: ARG001
    """Answer with two bytes."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


async def _ask(port: int, recorder: _Recorder) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in range(WARM_REQUESTS + RECORDED_REQUESTS):
        recorder.on = number >= WARM_REQUESTS
        recorder.requests.append([])
        writer.write(REQUEST)
        await reader.readuntil(b"\r\n\r\nok")
    recorder.on = False
    writer.close()
    await writer.wait_closed()


async def _record(recorder: _Recorder) -> None:
    container = WSGIContainer(application, threads=1)
    server = HTTPServer(container, handlers=[(r"/native", object)], http="llhttp")
    install(server)
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    await _ask(sockets[0].getsockname()[1], recorder)
    await server.drain(1.0)


def request_path() -> RequestPath:
    """Serve one request and return its way; on a thread without an event loop."""
    recorder = _Recorder()
    threading.setprofile(recorder.profile)
    sys.setprofile(recorder.profile)
    try:
        asyncio.run(_record(recorder))
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    recorded = recorder.requests[-RECORDED_REQUESTS:]
    return RequestPath(min(recorded, key=len))


def main() -> None:
    """Print the counts, and the calls one a line where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", action="store_true", help="print every call")
    options = parser.parse_args()
    path = request_path()
    if options.calls:
        for call in path.calls:
            print(f"{call.thread:24} {call.file:28} {call.function}")  # noqa: T201
    print(  # noqa: T201
        f"{len(path.calls)} calls in {len(path.files)} files "
        f"with {path.changes_of_file} changes of file"
    )


if __name__ == "__main__":
    main()
