"""The lines of requests in the terminal."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Callable

import pytest

from flasknado.debug.request_log import RequestLog
from flasknado.http.head import parse_head
from flasknado.http.message import Finished
from flasknado.ops.logs.scrub import Scrubber


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(stream: io.StringIO, *paths: str) -> str:
    """Return what is written for a request of each path."""

    async def log() -> None:
        requests = RequestLog(Scrubber(), "/-/debug/", stream)
        for path in paths:
            requests.note(finished(path))
        requests.close()

    asyncio.run(log())
    return stream.getvalue()


def finished(path: str) -> Finished:
    head = parse_head("GET", path, "1.1", [(b"Host", b"a.test")])
    return Finished(head, 404, 10, 0.0123, "ordinary")


@pytest.mark.parametrize("make", [io.StringIO, Terminal])
def test_line_has_colours_on_a_terminal_unless_they_are_not_wanted(
    make: Callable[[], io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = r"\d\d:\d\d:\d\d 404 GET /a\?token=\*{3} 12 ms\n"
    coloured = (
        r"\x1b\[2m\d\d:\d\d:\d\d\x1b\[0m \x1b\[33m404\x1b\[0m GET \S+ \x1b\[2m12 ms\x1b\[0m\n"
    )
    monkeypatch.delenv("NO_COLOR", raising=False)
    expected = coloured if make is Terminal else line
    assert re.fullmatch(expected, written(make(), "/a?token=1", "/-/debug/events"))
    monkeypatch.setenv("NO_COLOR", "1")
    assert re.fullmatch(line, written(make(), "/a?token=1"))
