"""Which requests of Engine.IO are served from their heads, and which are the handler's."""

from __future__ import annotations

from typing import Any

import pytest

from flasknado.http.head import parse_head
from flasknado.http.message import RequestHead
from flasknado.native.in_flask import Caller
from flasknado.socketio.engineio.direct import MAX_QUERY_BYTES, DirectRequests

ENGINE: Any = object()
POLLING = "EIO=4&transport=polling"
WEBSOCKET = "EIO=4&transport=websocket"
HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def head(query: str, fields: dict[str, str] | None = None, method: str = "GET") -> RequestHead:
    pairs = {"Host": "here.example:80"} | (fields or {})
    lines = [(name.encode(), value.encode()) for name, value in pairs.items()]
    return parse_head(method, f"/socket.io/?{query}", "1.1", lines, client=("192.0.2.1", 4000))


def is_direct(request: RequestHead, engine: Any = ENGINE) -> bool:
    requests = DirectRequests(lambda: engine, lambda sid: sid.startswith("elsewhere"))
    return requests.serve({}, request) is not None


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        (POLLING, {}),
        (f"{POLLING}&sid=abc&t=x1", {"Accept-Encoding": "gzip", "X-Forwarded-Host": "x"}),
        (WEBSOCKET, HANDSHAKE),
        (f"{WEBSOCKET}&sid=abc", HANDSHAKE | {"Origin": "https://HERE.example:80"}),
        ("", {}),
        ("EIO=3&transport=other", {}),
    ],
)
def test_request_that_its_head_says_all_of_is_served_from_it(
    query: str, fields: dict[str, str]
) -> None:
    assert is_direct(head(query, fields))
    assert not is_direct(head(query, fields), engine=None)  # which is not ready, say
    assert not is_direct(head(query, fields, method="HEAD"))


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        (POLLING, {"Origin": "http://here.example:80"}),
        (f"{POLLING}&sid=elsewhere.abc", {}),
        (f"{POLLING}&sid=%61", {}),
        (f"{POLLING}&a=b+c", {}),
        (f"{POLLING}&t={'x' * MAX_QUERY_BYTES}", {}),
        (WEBSOCKET, {}),
        (WEBSOCKET, HANDSHAKE | {"Upgrade": "h2c"}),
        (WEBSOCKET, HANDSHAKE | {"Connection": "close"}),
        (WEBSOCKET, HANDSHAKE | {"Sec-WebSocket-Version": "8"}),
        (WEBSOCKET, HANDSHAKE | {"Sec-WebSocket-Key": "c2hvcnQ="}),
        (WEBSOCKET, HANDSHAKE | {"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}),
        (WEBSOCKET, HANDSHAKE | {"Origin": "https://there.example"}),
        (WEBSOCKET, HANDSHAKE | {"Origin": "https://here.example"}),
        (WEBSOCKET, HANDSHAKE | {"Origin": "null"}),
    ],
)
def test_request_that_needs_more_is_the_handlers(query: str, fields: dict[str, str]) -> None:
    assert not is_direct(head(query, fields))


def test_caller_is_who_asked_at_the_host_that_was_asked_for() -> None:
    request = head(POLLING, {"Cookie": "a=b", "X-Forwarded-Host": "front.example"})
    request.request_id = "request-1"
    for host in ("here.example:80", "front.example"):
        request.host = host  # as a trusted proxy may say
        again = Caller.of(request, {}).head()
        assert (again.host, again.target) == (host, request.target)
        assert (again.client, again.request_id) == (request.client, "request-1")
        assert [name for name, _ in again.headers] == [b"Host", b"Cookie", b"X-Forwarded-Host"]
        assert again.headers[1:] == request.headers[1:]
