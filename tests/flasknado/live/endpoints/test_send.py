"""`POST send`: messages of clients without WebSocket."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest
from flask import abort, g

from flasknado.live.origins import CORS_KEY, OriginPolicy
from flasknado.live.state import state_of
from tests.flasknado.live.helpers import DEADLINE_S, LiveApp
from tests.support.serving import Serving

JSON = {"Content-Type": "application/json"}


@pytest.fixture(autouse=True)
def heard(live_app: LiveApp) -> list[Any]:
    heard: list[Any] = []

    @live_app.live.on_message("chat:*")
    def take(channel: str, data: Any) -> Any:
        if data == "rude":
            abort(422, "be polite")
        heard.append((g.user, channel, data))
        return {"heard": data}

    return heard


def send(served: Serving, body: object, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(*served.address, timeout=DEADLINE_S)
    text = body if isinstance(body, str) else json.dumps(body)
    given = JSON | {"X-User": "ann"} | {k.replace("_", "-"): v for k, v in headers.items()}
    connection.request("POST", "/live/send", text, given)
    response = connection.getresponse()
    status, answer = response.status, response.read()
    connection.close()
    return status, json.loads(answer) if answer.startswith(b"{") else answer.decode()


def test_message_is_answered(served: Serving, heard: list[Any]) -> None:
    assert send(served, {"channel": "chat:1", "data": 7}) == (200, {"data": {"heard": 7}})
    assert send(served, {"channel": "chat:1"}) == (200, {"data": {"heard": None}})
    assert heard == [("ann", "chat:1", 7), ("ann", "chat:1", None)]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("nonsense", 400, "the body is not JSON"),
        ([], 400, 'a message is {"channel": ..., "data": ...}'),
        ({"channel": "!"}, 400, "'!' is not a channel"),
        ({"channel": "user:bob"}, 403, "you may not read the channel 'user:bob'"),
        ({"channel": "quiet"}, 404, "nothing takes messages to the channel 'quiet'"),
        ({"channel": "chat:1", "data": "rude"}, 422, "be polite"),
    ],
)
def test_message_that_is_refused_says_why(
    served: Serving, heard: list[Any], body: Any, status: int, message: str
) -> None:
    answer = send(served, body)
    assert answer[0] == status
    assert answer[1]["message"].startswith(message)
    assert answer[1]["success"] is False
    assert heard == []


def test_page_of_another_site_cannot_send(
    live_app: LiveApp, served: Serving, heard: list[Any]
) -> None:
    """Not by a form, which needs no leave, and not as who is logged in here."""
    message = {"channel": "chat:1", "data": 1}
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        assert send(served, message, Content_Type=kind)[0] == 415
    assert send(served, message, Origin="https://evil.example")[0] == 403
    live_app.app.extensions[CORS_KEY] = OriginPolicy(["https://app.example.org"])
    assert send(served, message, Origin="https://evil.example")[0] == 403
    assert heard == []
    assert send(served, message, Origin="https://app.example.org")[0] == 200
    assert send(served, message, Origin=f"http://{served.host}:{served.port}")[0] == 200


def test_message_of_a_page_that_another_user_has_loaded_is_not_taken(
    live_app: LiveApp, served: Serving, heard: list[Any]
) -> None:
    """Somebody else has logged in since, in another tab."""
    page_key = state_of(live_app.app).page_key
    for who, status in ((page_key("ann"), 200), (page_key("bob"), 401), ("", 401), (7, 400)):
        assert send(served, {"channel": "chat:1", "data": who, "who": who})[0] == status
    assert heard == [("ann", "chat:1", page_key("ann"))]


def test_message_that_is_too_large_is_refused(
    live_app: LiveApp, served: Serving, heard: list[Any]
) -> None:
    limit = live_app.app.extensions["live"].options.max_message_bytes
    assert send(served, {"channel": "chat:1", "data": "x" * (limit - 100)})[0] == 200
    status, text = send(served, {"channel": "chat:1", "data": "x" * limit})
    assert (status, f"larger than the {limit} bytes" in text) == (413, True)
    assert len(heard) == 1
