"""`POST publish`: the token, what may be published, and that it arrives."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from typing import Any

import pytest

from flasknado.errors import ConfigurationError
from tests.flasknado.live.helpers import LiveApp, SseClient
from tests.support.serving import Serving

MakeApp = Callable[..., LiveApp]
TOKEN = "a token of the tests, long enough"
RIGHT = {"Authorization": f"Bearer {TOKEN}"}
EVENT = {"channel": "a", "event": "said", "data": {"n": 1}}


@pytest.fixture
def open_app(make_live_app: MakeApp) -> LiveApp:
    return make_live_app(LIVE_PUBLISH_TOKEN=TOKEN)


@pytest.fixture
def open_served(open_app: LiveApp, serve: Callable[[LiveApp], Serving]) -> Serving:
    return serve(open_app)


def post(
    served: Serving, body: Any, headers: dict[str, str] | None = None
) -> tuple[int, http.client.HTTPMessage, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection = http.client.HTTPConnection(*served.address, timeout=15)
    connection.request("POST", "/live/publish", data, RIGHT if headers is None else headers)
    response = connection.getresponse()
    answer = response.status, response.headers, json.loads(response.read())
    connection.close()
    return answer


def test_event_arrives_and_the_answer_is_its_cursor(
    open_app: LiveApp, open_served: Serving
) -> None:
    with SseClient(open_served, "a").opened() as client:
        status, _, body = post(open_served, EVENT)
        assert (status, body) == (200, {"cursor": open_app.cursor()})
        assert client.read(1)[0].body == {
            "id": open_app.cursor(),
            "channel": "a",
            "event": "said",
            "data": {"n": 1},
        }


def test_several_events_are_one_transaction_and_signals_are_not_kept(
    open_app: LiveApp, open_served: Serving
) -> None:
    begin = open_app.cursor()
    signal = {"channel": "a", "event": "typing", "kept": False}
    assert post(open_served, {"events": [EVENT, signal, EVENT]})[0] == 200
    assert post(open_served, {"events": [EVENT, {"channel": "a b", "event": "n"}]})[0] == 400
    with SseClient(open_served, "a", after=begin) as client:
        assert [message.event for message in client.read(2)] == ["said", "said"]
    assert open_app.cursor().endswith(":3")


def test_before_request_functions_do_not_run(open_served: Serving) -> None:
    assert post(open_served, EVENT, {**RIGHT, "X-User": "banned"})[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer \xe9"},
    ],
)
def test_wrong_token_is_401_with_a_challenge(
    open_app: LiveApp, open_served: Serving, headers: dict[str, str]
) -> None:
    status, answered, body = post(open_served, EVENT, headers)
    assert (status, answered["WWW-Authenticate"]) == (401, 'Bearer realm="live"')
    assert body["code"] == 401
    assert open_app.cursor().endswith(":0")


def test_without_a_token_of_its_own_the_server_takes_nothing(served: Serving) -> None:
    status, _, body = post(served, EVENT)
    assert (status, "LIVE_PUBLISH_TOKEN" in body["message"]) == (403, True)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{", "not JSON"),
        ([1], "an event is"),
        ({"channel": "a"}, "an event is"),
        ({"events": []}, "1 to 100"),
        ({"events": [EVENT] * 101}, "1 to 100"),
        ({"channel": "!revoke", "event": "n"}, "is not a channel"),
        ({"channel": "a", "event": "heartbeat"}, "is reserved"),
        ({"channel": 1, "event": "n"}, "must be a string"),
        ({"channel": "a", "event": "n", "data": "x" * 70_000}, "LIVE_MAX_DATA_BYTES"),
    ],
)
def test_what_cannot_be_published_is_400(open_served: Serving, body: Any, text: str) -> None:
    status, _, answer = post(open_served, body)
    assert status == 400
    assert text in answer["message"]


def test_database_that_does_not_answer_is_503(open_app: LiveApp, open_served: Serving) -> None:
    with open_app.app.app_context():
        open_app.db.drop_all()
    status, headers, _ = post(open_served, EVENT)
    assert (status, headers["Retry-After"]) == (503, "2")


def test_short_token_is_refused_at_the_start(make_live_app: MakeApp) -> None:
    with pytest.raises(ConfigurationError, match="16 characters"):
        make_live_app(LIVE_PUBLISH_TOKEN="short")
