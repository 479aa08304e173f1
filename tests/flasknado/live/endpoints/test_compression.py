"""Compression of streams and WebSocket messages: the same bytes for all, and bounded."""

from __future__ import annotations

import http.client
import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flasknado.live.compression import compress
from tests.flasknado.live.endpoints.test_websocket import opened
from tests.flasknado.live.helpers import DEADLINE_S, EventSourceParser, LiveApp
from tests.flasknado.live.test_compression import frame_of
from tests.support.serving import Serving

TEXT = "all work and no play " * 50


@pytest.fixture
def squeezing(make_live_app: Callable[..., LiveApp]) -> LiveApp:
    return make_live_app(LIVE_COMPRESSION=True)


@pytest.fixture
def squeezed(squeezing: LiveApp, serve: Callable[[LiveApp], Serving]) -> Serving:
    return serve(squeezing)


class GzipStream:
    """A client of an event stream that asks for gzip."""

    def __init__(self, served: Serving, path: str) -> None:
        self._connection = http.client.HTTPConnection(*served.address, timeout=DEADLINE_S)
        self._connection.request("GET", path, headers={"Accept-Encoding": "gzip, br"})
        self.response = self._connection.getresponse()
        self._inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self.size_bytes = 0

    def text(self) -> Iterator[str]:
        while data := self.response.read1(65536):
            self.size_bytes += len(data)
            yield self._inflater.decompress(data).decode()

    def __enter__(self) -> GzipStream:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.response.close()
        self._connection.close()


@pytest.mark.parametrize("path", ["events", "ndjson"])
def test_stream_is_compressed_for_who_asks(
    squeezing: LiveApp, squeezed: Serving, path: str
) -> None:
    cursor = squeezing.cursor()
    squeezing.publish("a", data=TEXT)
    with GzipStream(squeezed, f"/live/{path}?channel=a&after={cursor}") as stream:
        headers = stream.response.headers
        assert headers["Content-Encoding"] == "gzip"
        assert headers["Vary"] == "Origin, Accept-Encoding"
        heard = ""
        chunks = stream.text()
        while "last" not in heard:
            if TEXT in heard and "sent" not in heard:
                squeezing.publish("a", data="sent")
                squeezing.publish("a", data="last")
            heard += next(chunks)
        assert stream.size_bytes < len(TEXT) / 2
    if path == "events":
        parser = EventSourceParser()
        parser.feed(heard)
        assert [m.body["data"] for m in parser.messages] == [TEXT, "sent", "last"]
    connection = http.client.HTTPConnection(*squeezed.address, timeout=DEADLINE_S)
    connection.request("GET", f"/live/{path}?channel=a")
    assert connection.getresponse().headers["Content-Encoding"] is None
    connection.close()


def test_nothing_is_compressed_unless_it_is_asked_for(live_app: LiveApp, served: Serving) -> None:
    with GzipStream(served, "/live/events?channel=a") as stream:
        assert stream.response.headers["Content-Encoding"] is None
        assert "Accept-Encoding" not in stream.response.headers.get("Vary", "")
    with opened(served) as client:
        assert client.connection.protocol.extensions == []


def test_messages_are_compressed_in_both_directions(squeezing: LiveApp, squeezed: Serving) -> None:
    @squeezing.live.on_message("a")
    def echo(channel: str, data: Any) -> Any:
        return data

    with opened(squeezed) as client, opened(squeezed, compression=None) as plain:
        assert client.connection.protocol.extensions != []
        assert plain.connection.protocol.extensions == []
        for socket in (client, plain):
            socket.follow("a")
        for data in (TEXT, "short", TEXT + "!"):
            squeezing.publish("a", data=data)
            for socket in (client, plain):
                assert socket.hear()["data"] == data
            client.say(type="message", channel="a", data=data, ref=1)
            assert client.hear()["data"] == data
        # In pieces, each of which may be cut anywhere.
        message = json.dumps({"type": "message", "channel": "a", "data": TEXT, "ref": 2})
        client.connection.send(message[n : n + 100] for n in range(0, len(message), 100))
        assert client.hear()["data"] == TEXT


def test_few_bytes_that_say_much_are_too_large_and_cost_no_more(
    squeezing: LiveApp, squeezed: Serving
) -> None:
    bomb = compress(b"0" * 10_000_000)
    assert len(bomb) < 16 * 1024
    with opened(squeezed) as client:
        client.connection.socket.sendall(frame_of(bomb))
        assert client.closed()[0] == 1009


def test_client_that_sends_what_does_not_decompress_is_closed(squeezed: Serving) -> None:
    with opened(squeezed) as client:
        client.connection.socket.sendall(frame_of(b"\xff" * 200))
        assert client.closed()[0] == 1007
