"""Log-out, reloads and presence over two worker processes of the bundled application."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import pytest
import requests

from tests.live_server.conftest import StartServer
from tests.live_server.test_journeys import open_sse, sse_events
from tests.support.person import TIMEOUT_S, Person
from tests.support.poll import poll
from tests.support.postgres import postgres_server
from tests.support.process import ServerProcess

STREAMS = 8
PROMPTLY_S = 5.0


@pytest.fixture(params=["sqlite", "postgresql"])
def two_workers(
    request: pytest.FixtureRequest, start_server: StartServer
) -> Iterator[ServerProcess]:
    """Return a server of two workers, on each kind of database."""
    with contextlib.ExitStack() as stack:
        env = {"WORKERS": "2"}
        if request.param == "postgresql":
            env["DATABASE_URL"] = stack.enter_context(postgres_server()).url()
        yield start_server(**env)


def open_many(url: str, channel: str, cookies: str = "") -> list[requests.Response]:
    """Open streams, so many that both workers have some."""
    headers = {"Cookie": cookies} if cookies else {}
    return [open_sse(url, channel, **headers) for _ in range(STREAMS)]


def test_log_out_ends_the_streams_on_every_worker_and_nobody_elses(
    two_workers: ServerProcess,
) -> None:
    url = two_workers.url
    ann = Person(url, "ann")
    ann.register()
    cookies = "; ".join(f"{c.name}={c.value}" for c in ann.session.cookies)
    hers, others = open_many(url, "posts", cookies), open_many(url, "posts")
    began_at = time.monotonic()
    assert ann.send_form("/logout").ok
    for stream in hers:
        assert b"event" not in stream.content
    assert time.monotonic() - began_at < PROMPTLY_S
    whoami = requests.get(url + "/live/whoami", headers={"Cookie": cookies}, timeout=TIMEOUT_S)
    assert whoami.json()["user"] is None, "the cookie is worthless to who has a copy"
    bob = Person(url, "bob")
    bob.register()
    bob.write("Still here")
    for stream in others:
        assert next(sse_events(stream))["data"]["title"] == "Still here"
        stream.close()


def test_readers_of_a_post_are_counted_over_the_workers(two_workers: ServerProcess) -> None:
    url = two_workers.url
    ann = Person(url, "ann")
    ann.register()
    ann.write("A post")
    streams = open_many(url, "post:1")
    asker = requests.get(
        f"{url}/live/events",
        params={"channel": "post:1", "presence": "1"},
        stream=True,
        timeout=TIMEOUT_S,
    )
    counts = (event["data"]["count"] for event in sse_events(asker))
    assert next(count for count in counts if count == STREAMS + 1)
    for stream in streams:
        stream.close()
    assert next(count for count in counts if count == 1)
    asker.close()


def test_streams_come_back_by_ticket_after_a_reload(two_workers: ServerProcess) -> None:
    url = two_workers.url
    ann = Person(url, "ann")
    ann.register()
    streams = open_many(url, "posts")
    os.kill(two_workers.pid, signal.SIGHUP)
    last_ids = []
    for stream in streams:
        ids = [
            line.removeprefix(b"id: ").decode()
            for line in stream.iter_lines(chunk_size=1)
            if line.startswith(b"id: ")
        ]
        last_ids.append(ids[-1])
    assert all("~" in last_id for last_id in last_ids)
    poll(lambda: ann.get("/-/readyz").ok)
    ann.write("While they were away")
    for last_id in last_ids:
        again = open_sse(url, "posts", **{"Last-Event-ID": last_id})
        assert next(sse_events(again))["data"]["title"] == "While they were away"
        again.close()
