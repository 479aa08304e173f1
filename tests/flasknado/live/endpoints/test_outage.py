"""A database that falls silent: nobody is told what is not so, and nobody waits for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import requests
import sqlalchemy as sa

from flasknado import HTTPServer, ops
from flasknado.live.endpoints import publish as publish_endpoint
from flasknado.live.hub import hub as hub_module
from flasknado.live.hub import log_health
from flasknado.live.log import postgres as limits
from flasknado.live.log import presence, presence_tracker, tables
from flasknado.live.state import state_of
from flasknado.ops import vitals
from tests.flasknado.live.endpoints.test_publish import EVENT, TOKEN, post
from tests.flasknado.live.endpoints.test_websocket import opened
from tests.flasknado.live.helpers import LiveApp, SseClient, StreamClient, get, wait_for
from tests.support.poll import poll
from tests.support.postgres import PostgresServer
from tests.support.serving import Serving, serving
from tests.support.silent_proxy import SilentProxy

MakeApp = Callable[..., LiveApp]
Serve = Callable[[LiveApp], Serving]
Proxied = tuple[SilentProxy, str]
QUICKLY_S = 30


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ANSWER_MARGIN_S", -5)
    monkeypatch.setattr(log_health, "READER_STUCK_S", 1.5)
    monkeypatch.setattr(hub_module, "WATCH_INTERVAL_S", 0.1)
    monkeypatch.setattr(presence_tracker, "WRITE_INTERVAL_S", 0.05)
    monkeypatch.setattr(presence_tracker, "BEAT_INTERVAL_S", 0.2)


def test_client_is_not_told_subscribed_by_a_reader_that_cannot_read(
    proxied: Proxied, make_live_app: MakeApp, serve: Serve
) -> None:
    proxy, url = proxied
    live_app = make_live_app(log_url=url)
    served = serve(live_app)
    with opened(served) as client:
        client.follow("a")
        proxy.silence()
        began_at = time.monotonic()
        client.say(type="subscribe", channels=["b"])
        error = client.hear_until(lambda m: "type" in m)[-1]
        assert (error["type"], error["code"], error["channels"]) == ("error", 503, ["b"])
        # From now on it is known, so nobody waits.
        client.say(type="subscribe", channels=["b"])
        assert client.hear()["code"] == 503
        status, headers, _ = get(served, "/live/events", channel="a")
        assert (status, headers["Retry-After"]) == (503, "2")
        assert time.monotonic() - began_at < QUICKLY_S
        proxy.resume()
        wait_for(lambda: get(served, "/live/poll", channel="a", timeout_s=0)[0] == 200)
        live_app.publish("a", "b", data="after")
        # It follows what it followed before, and nothing twice.
        assert client.hear_until(lambda m: m.get("event") == "note")[-1]["channel"] == "a"
        assert [m for m in client.follow("b") if m.get("event") == "note"] == []


def test_stream_goes_on_without_loss_after_the_silence(
    proxied: Proxied, make_live_app: MakeApp, serve: Serve
) -> None:
    proxy, url = proxied
    live_app = make_live_app(log_url=url)
    with SseClient(serve(live_app), "a").opened() as client:
        live_app.publish("a", data=1)
        client.read(1)
        proxy.silence()
        [hub] = state_of(live_app.app).hubs.values()
        wait_for(lambda: not hub.log_readable, "the silence to be noticed")
        proxy.resume()
        live_app.publish("a", data=2)
        assert [m.body["data"] for m in client.read(2)] == [1, 2]


def test_stream_goes_on_after_the_network_has_lost_every_connection(
    proxied: Proxied, make_live_app: MakeApp, serve: Serve
) -> None:
    proxy, url = proxied
    live_app = make_live_app(log_url=url, LIVE_PRESENCE=["a"])
    with SseClient(serve(live_app), "a").opened() as client:
        wait_for(lambda: present(live_app) == 1, "the client to be there")
        proxy.lose()

        def published() -> bool:
            try:
                live_app.publish("a", data="after")
            except sa.exc.OperationalError:
                return False
            return True

        # The server ends a transaction that was lost in its middle, and with it the log's lock.
        wait_for(published, "the log to be written again", deadline_s=30)
        client.read(1)
        assert client.parser.messages[0].body["data"] == "after"
        wait_for(lambda: present(live_app) == 1, "presence to be written again")


def test_stream_that_a_view_hands_over_meanwhile_is_told_to_come_back(
    proxied: Proxied, make_live_app: MakeApp, serve: Serve
) -> None:
    proxy, url = proxied
    live_app = make_live_app(log_url=url)
    live_app.app.add_url_rule("/mine", view_func=lambda: live_app.live.stream("a"))
    served = serve(live_app)
    with SseClient(served, "a").opened():
        proxy.silence()
        [hub] = state_of(live_app.app).hubs.values()
        wait_for(lambda: hub.unreadable_s > log_health.READY_TIMEOUT_S, "the outage to be known")
        with StreamClient(served, "/mine") as stream:
            assert stream.status == 200
            assert [*stream.lines()] == ["retry: 2000\n", "\n"]


@contextmanager
def somebody_else(live_app: LiveApp) -> Iterator[sa.Connection]:
    """Yield a connection without deadlines."""
    engine = sa.create_engine(live_app.engine().url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@contextmanager
def head_locked(live_app: LiveApp) -> Iterator[None]:
    """Keep the log's row locked, as a publisher does whose commit does not end."""
    live_app.settle()  # the log's row is there
    with somebody_else(live_app) as connection:
        connection.execute(sa.update(tables.live_log).values(head=tables.live_log.c.head))
        yield


@pytest.fixture
def on_postgres(postgres: PostgresServer, make_live_app: MakeApp) -> LiveApp:
    return make_live_app(
        log_url=postgres.url(), LIVE_PRESENCE=["a"], LIVE_PUBLISH_TOKEN=TOKEN, LIVE_POLL_S=0.02
    )


def test_metrics_do_not_wait_for_publishers(on_postgres: LiveApp) -> None:
    def make() -> HTTPServer:
        server = on_postgres.server()
        ops.install(server)
        return server

    on_postgres.publish("a")
    with serving(make) as served, ThreadPoolExecutor(40) as publishers:
        with head_locked(on_postgres):
            publishing = [publishers.submit(post, served, EVENT) for _ in range(40)]
            poll(lambda: waiting_for_a_lock(on_postgres), lambda count: count >= 4)
            for _ in range(3):
                began_at = time.monotonic()
                assert "flasknado_requests_in_flight" in metrics(served)
                assert time.monotonic() - began_at < QUICKLY_S
        assert {each.result()[0] for each in publishing} == {200}


def test_publishing_that_takes_too_long_or_waits_with_too_many_is_503(
    on_postgres: LiveApp, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish_endpoint, "PUBLISH_TIMEOUT_S", 1.0)
    lane = publish_endpoint.PUBLISH_LANE._replace(threads=1, queue_limit=1)
    monkeypatch.setattr(publish_endpoint, "PUBLISH_LANE", lane)
    served = serve(on_postgres)
    on_postgres.publish("a")
    with ThreadPoolExecutor(6) as publishers, head_locked(on_postgres):
        answers = list(publishers.map(lambda _: post(served, EVENT), range(6)))
    said = {body["message"] for _, _, body in answers}
    assert {status for status, _, _ in answers} == {503}
    assert {headers["Retry-After"] for _, headers, _ in answers} == {"2"}
    assert said == {
        "too many events are being published: try again shortly",
        "the log of live events was not written within 1 s; the events may still be published",
    }
    wait_for_connections(on_postgres)


def wait_for_connections(live_app: LiveApp) -> None:
    """Wait until what still ran has given its connections back."""
    pool: Any = live_app.engine().pool
    wait_for(lambda: pool.checkedout() == 0, "connections to be given back", deadline_s=30)


def metrics(served: Serving) -> str:
    return requests.get(served.url + "/-/metrics", timeout=30).text


def waiting_for_a_lock(live_app: LiveApp) -> int:
    with live_app.engine().connect() as connection:
        query = (
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return int(connection.exec_driver_sql(query).scalar_one())


def test_reader_does_not_wait_for_a_publisher_that_does_not_end(
    on_postgres: LiveApp, serve: Serve
) -> None:
    served = serve(on_postgres)
    on_postgres.publish("a", data=1)
    after = on_postgres.cursor().partition(":")[0] + ":0"
    with SseClient(served, "a").opened(), head_locked(on_postgres):
        on_postgres.signal("a")  # written by the reader, when it can
        with SseClient(served, "a", after=after) as late:
            began_at = time.monotonic()
            assert late.read(1)[0].body["data"] == 1
            assert time.monotonic() - began_at < QUICKLY_S


def test_delivery_does_not_wait_for_presence(on_postgres: LiveApp, serve: Serve) -> None:
    served = serve(on_postgres)
    with SseClient(served, "a").opened() as client:
        wait_for(lambda: present(on_postgres) == 1, "the client to be there")
        with somebody_else(on_postgres) as connection:
            for table in (presence.live_worker, presence.live_presence):
                connection.exec_driver_sql(f"LOCK TABLE {table.name}")
            for n in range(3):
                with SseClient(served, "a", headers={"X-User": "ann"}).opened():
                    on_postgres.publish("a", data=n)
                    client.read(n + 1)
        wait_for(lambda: present(on_postgres) == 1, "presence to be written again")


def present(live_app: LiveApp) -> int:
    with live_app.app.app_context():
        return live_app.live.presence("a").count


def test_threads_of_the_hub_that_could_not_be_started_are_started_later(
    make_live_app: MakeApp,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    live_app = make_live_app(LIVE_PRESENCE=["a"])
    start = threading.Thread.start
    may_start = threading.Event()

    def refuse(thread: threading.Thread) -> None:
        late = ("flasknado-live-log", "flasknado-live-presence")
        if thread.name in late and not may_start.is_set():
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    served = serve(live_app)
    status, headers, _ = get(served, "/live/poll", channel="a", timeout_s=0)
    assert (status, headers["Retry-After"]) == (503, "2")
    may_start.set()
    wait_for(lambda: get(served, "/live/poll", channel="a", timeout_s=0)[0] == 200)
    with SseClient(served, "a").opened():
        wait_for(lambda: present(live_app) == 1, "presence to be written")
    assert "flasknado-live-log has now been started" in caplog.text
    assert "flasknado-live-presence has now been started" in caplog.text


def checks(served: Serving) -> tuple[int, dict[str, Any]]:
    answer = requests.get(served.url + "/-/readyz", timeout=QUICKLY_S)
    return answer.status_code, answer.json()["checks"]


def test_readiness_is_503_while_the_log_cannot_be_read(
    proxied: Proxied, make_live_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vitals, "UNREADABLE_AFTER_S", 2.0)
    proxy, url = proxied
    live_app = make_live_app(log_url=url)

    def make() -> HTTPServer:
        server = live_app.server()
        ops.install(server)
        return server

    with serving(make) as served:
        # Whether or not anybody has needed it.
        well = {"server": "ok", "threads": "ok", "database": "ok", "live": "ok"}
        poll(lambda: checks(served), lambda found: found == (200, well))
        with SseClient(served, "a").opened():
            proxy.silence()
            poll(lambda: checks(served), lambda found: found[1]["live"] == "failing")
            assert checks(served)[0] == 503
            assert "flasknado_live_log_unreadable_seconds" in metrics(served)
            proxy.resume()
            poll(lambda: checks(served), lambda found: found == (200, well))
    wait_for_connections(live_app)


def test_readiness_is_503_while_views_hold_the_whole_pool(
    postgres: PostgresServer, make_live_app: MakeApp
) -> None:
    pool = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.5}
    live_app = make_live_app(url=postgres.url(), SQLALCHEMY_ENGINE_OPTIONS=pool)

    def make() -> HTTPServer:
        server = live_app.server()
        ops.install(server)
        return server

    with serving(make) as served:
        poll(lambda: checks(served), lambda found: found[0] == 200)
        with live_app.engine().connect():
            poll(lambda: checks(served), lambda found: found[1]["database"] == "failing")
        poll(lambda: checks(served), lambda found: found[0] == 200)
    wait_for_connections(live_app)
