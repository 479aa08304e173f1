"""`live.stream()`: held by the loop on our server, a bounded generator anywhere else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any
from wsgiref.validate import validator

import pytest
from flask import abort, g, request

from flasknado import HTTPServer, WSGIContainer
from flasknado.live import InvalidEvent
from flasknado.live.hub.hub import hub_of
from flasknado.live.state import state_of
from tests.flasknado.live.endpoints.test_websocket import subscribers
from tests.flasknado.live.helpers import (
    EventSourceParser,
    LiveApp,
    SseClient,
    StreamClient,
    get,
    wait_for,
)
from tests.support.serving import Serving, serving

MakeApp = Callable[..., LiveApp]


class ReportClient(SseClient):
    """An EventSource of the application's own view."""

    def __init__(
        self,
        served: Serving,
        headers: dict[str, str] | None = None,
        path: str = "/report",
        **query: Any,
    ) -> None:
        super(SseClient, self).__init__(served, path, headers, **query)
        self.parser = EventSourceParser()
        self._lines = self.lines()


def with_view(live_app: LiveApp) -> LiveApp:
    """Add a view that decides who may have the stream."""

    @live_app.app.get("/report")
    def report() -> Any:
        if g.user == "eve":
            abort(403)
        live_app.db.session.add(live_app.Note(text="a transaction that the view began"))
        live_app.db.session.commit()
        live_app.db.session.execute(live_app.db.select(live_app.Note)).all()
        return live_app.live.stream("report:1")

    @live_app.app.get("/report/from")
    def report_from() -> Any:
        args = request.args
        return live_app.live.stream("report:1", args.get("after"), last=int(args.get("last", 0)))

    return live_app


@pytest.fixture
def reporting(live_app: LiveApp) -> LiveApp:
    return with_view(live_app)


def server(live_app: LiveApp, http: str) -> HTTPServer:
    # Without native routes: the view alone must be enough.
    return HTTPServer(WSGIContainer(live_app.app, threads=2), http=http)


@pytest.fixture(params=["llhttp", "tornado"])
def view_served(reporting: LiveApp, request: pytest.FixtureRequest) -> Any:
    with serving(lambda: server(reporting, request.param)) as served:
        yield served


def test_stream_has_events_and_holds_neither_thread_nor_connection(
    reporting: LiveApp, view_served: Serving
) -> None:
    with reporting.app.app_context():
        pool: Any = reporting.db.engine.pool
    # More streams than threads, so a thread that is held would be missed.
    clients = [ReportClient(view_served).opened() for _ in range(6)]
    container: Any = view_served.server.container
    wait_for(lambda: pool.checkedout() == container.pool.busy == 0, "the threads to be done")
    reporting.publish("report:1", "other", data={"done": 0.5})
    for client in clients:
        assert client.read(1)[0].body["data"] == {"done": 0.5}
        client.close()
    wait_for(lambda: subscribers(view_served, reporting) == 0, "the clients to be forgotten")


def test_stream_reconnects_with_the_last_event_id(reporting: LiveApp, view_served: Serving) -> None:
    with ReportClient(view_served) as client:
        client.opened()
        last = client.parser.last_event_id
    reporting.publish("report:1", "report:1")
    with ReportClient(view_served, {"Last-Event-ID": last}) as client:
        assert len(client.read(2)) == 2
    with ReportClient(view_served, {"Last-Event-ID": "nonsense"}) as client:
        assert client.read(1)[0].event == "reset"
    with ReportClient(view_served, lastEventId=last) as polyfill:
        assert len(polyfill.read(2)) == 2


def test_stream_reconnects_where_it_was_and_not_where_its_page_began(
    reporting: LiveApp, view_served: Serving
) -> None:
    begin = reporting.cursor()
    reporting.publish("report:1", "report:1", data="seen")
    seen = reporting.cursor()
    reporting.publish("report:1", data="new")
    with ReportClient(
        view_served, {"Last-Event-ID": seen}, path="/report/from", after=begin
    ) as client:
        assert client.read(1)[0].body["data"] == "new"
    with ReportClient(view_served, path="/report/from", after=begin) as client:
        assert client.read(1)[0].body["data"] == "seen"


@pytest.mark.parametrize("after", ["nonsense", "", "17", "e:-1"])
def test_stream_after_what_is_no_cursor_is_a_reset(
    reporting: LiveApp, view_served: Serving, after: str
) -> None:
    with ReportClient(view_served, path="/report/from", after=after) as client:
        assert client.read(1)[0].event == "reset"
    reporting.app.testing = True
    answer = reporting.app.test_client().get(f"/report/from?after={after}")
    assert "event: reset" in answer.text


def test_stream_begins_with_the_last_events(reporting: LiveApp, view_served: Serving) -> None:
    for n in range(4):
        reporting.publish("report:1", "other", data=n)
    with ReportClient(view_served, path="/report/from", last=2) as client:
        assert [message.body["data"] for message in client.read(2)] == [2, 3]
        reporting.publish("report:1", data=4)
        assert client.read(3)[-1].body["data"] == 4
    reporting.app.testing = True
    answer = reporting.app.test_client().get("/report/from?last=2")
    parser = EventSourceParser()
    parser.feed(answer.text)
    assert [message.body["data"] for message in parser.messages] == [3, 4]
    with reporting.app.test_request_context(), pytest.raises(InvalidEvent, match="LIVE_MAX_LAST"):
        reporting.live.stream("report:1", last=101)


def test_view_that_refuses_is_an_ordinary_answer(reporting: LiveApp, view_served: Serving) -> None:
    assert get(view_served, "/report", {"X-User": "eve"})[0] == 403


def test_stream_ends_by_revocation(reporting: LiveApp, view_served: Serving) -> None:
    with ReportClient(view_served, {"X-User": "ann"}) as client:
        client.opened()
        reporting.revoke("ann")
        client.read_to_end()


def test_stream_whose_user_is_revoked_while_the_view_runs_is_sent_away(
    reporting: LiveApp, view_served: Serving
) -> None:
    server: Any = view_served.server

    @reporting.app.get("/late")
    def late() -> Any:
        # The session was looked at before; another browser logs the user out meanwhile.
        reporting.revoke("ann")
        head = reporting.cursor()
        wait_for(lambda: str(view_served.on_loop(lambda: hub.cursor)) == head)
        return reporting.live.stream("report:1")

    with ReportClient(view_served, {"X-User": "ann"}).opened():
        hub = view_served.on_loop(lambda: hub_of(state_of(reporting.app), server))
        for user, sent_away in (("bob", False), ("ann", True)):
            with StreamClient(view_served, "/late", {"X-User": user}) as client:
                assert client.status == 200
                lines = client.lines()
                assert next(lines) == "retry: 2000\n"
                assert next(lines) == "\n"
                assert (next(lines, None) is None) is sent_away
        assert hub.stats()["gone"]["revoked"] == 1
        # By its next request the browser is whom the view takes it for.
        with ReportClient(view_served, {"X-User": "ann"}).opened():
            pass


def test_stream_of_a_hub_that_has_not_begun_waits_until_it_knows_who_was_revoked(
    reporting: LiveApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = threading.Event()
    following = type(reporting.log).following

    def late(*args: Any, **options: Any) -> Any:
        assert begin.wait(15)
        return following(*args, **options)

    monkeypatch.setattr(type(reporting.log), "following", late)
    with (
        serving(lambda: server(reporting, "llhttp")) as served,
        ReportClient(served, {"X-User": "ann"}) as ann,
        ReportClient(served, {"X-User": "bob"}) as bob,
    ):
        assert subscribers(served, reporting) == 0
        reporting.revoke("ann")
        begin.set()
        bob.opened()
        ann.read_to_end()
        assert subscribers(served, reporting) == 1


def test_stream_says_whose_it_is(reporting: LiveApp, view_served: Serving) -> None:
    with reporting.app.test_request_context(headers={"X-User": "ann"}):
        assert reporting.app.preprocess_request() is None
        key = reporting.live.page_key()
    with ReportClient(view_served, {"X-User": "ann"}) as client:
        assert client.headers["Live-Who"] == key


def test_stream_under_another_server_ends_by_revocation(make_live_app: MakeApp) -> None:
    live_app = with_view(make_live_app(LIVE_FALLBACK_STREAM_S=60.0))
    live_app.revoke("ann")
    begin = live_app.cursor()
    live_app.revoke("ann")
    headers = {"X-User": "ann", "Last-Event-ID": begin}
    # Nothing of it is asked for before it is iterated over.
    answer = live_app.app.test_client().get("/report", headers=headers, buffered=False)
    chunks = iter(answer.response)
    assert next(chunks) == b"retry: 2000\n\n"
    live_app.publish("report:1")
    live_app.revoke("bob")
    assert b"event: note" in next(chunks)
    live_app.revoke("ann")
    assert not [chunk for chunk in chunks if b"event:" in chunk]
    answer.close()


def test_drain_tells_the_streams_to_reconnect(reporting: LiveApp) -> None:
    with serving(lambda: server(reporting, "llhttp")) as served:
        client = ReportClient(served).opened()
        client.parser.retry_ms = None
    client.read_to_end()
    assert client.parser.retry_ms == 2000
    client.close()


def test_stream_above_the_limit_is_told_to_come_back(make_live_app: MakeApp) -> None:
    live_app = with_view(make_live_app(LIVE_MAX_SUBSCRIBERS=1))
    with serving(lambda: server(live_app, "llhttp")) as served, ReportClient(served) as first:
        first.opened()
        with ReportClient(served) as second:
            second.read_to_end()
            assert second.parser.retry_ms == 2000
            assert second.parser.messages == []


def test_stream_under_flasks_test_client_ends_with_what_is_there(reporting: LiveApp) -> None:
    reporting.app.testing = True
    begin = reporting.cursor()
    reporting.publish("report:1", "other", "report:1")
    answer = reporting.app.test_client().get("/report", headers={"Last-Event-ID": begin})
    parser = EventSourceParser()
    parser.feed(answer.text)
    assert answer.mimetype == "text/event-stream"
    assert [m.id.partition(":")[2] for m in parser.messages] == ["1", "3"]
    assert parser.last_event_id == reporting.cursor()


def test_stream_under_another_server_ends_in_time_and_resets_what_is_lost(
    make_live_app: MakeApp,
) -> None:
    live_app = with_view(make_live_app(LIVE_FALLBACK_STREAM_S=0.1))
    began_at = time.monotonic()
    answer = live_app.app.test_client().get("/report", headers={"Last-Event-ID": "other:1"})
    assert "event: reset" in answer.text
    assert 0.1 <= time.monotonic() - began_at < 10


@pytest.mark.filterwarnings("ignore")
def test_stream_is_valid_wsgi(reporting: LiveApp) -> None:
    reporting.app.testing = True
    reporting.app.wsgi_app = validator(reporting.app.wsgi_app)  # type: ignore[method-assign]
    assert b"retry: 2000" in reporting.app.test_client().get("/report").data
