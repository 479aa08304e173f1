"""`live.cached()` on a running server: what is kept, for whom, and until when."""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPMessage
from typing import Any

import pytest
from flask import Response, make_response, request, session

from flasknado.live import Live
from flasknado.live.cache.front import Front
from flasknado.live.state import state_of
from tests.flasknado.live.helpers import LiveApp, get, make_app, wait_for
from tests.support.serving import Serving, serving

STORED = "flasknado; fwd=uri-miss; stored"
NOT_STORED = "flasknado; fwd=uri-miss"
HIT = "flasknado; hit"


@dataclass
class Site:
    """A server with cached views; each test asks with a query of its own."""

    live_app: LiveApp
    served: Serving
    calls: Counter[str] = field(default_factory=Counter)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    go_on: threading.Event = field(default_factory=threading.Event)

    def ask(
        self, case: str, path: str = "/page", *, method: str = "GET", **headers: str
    ) -> tuple[int, HTTPMessage, bytes]:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return get(self.served, f"{path}?{case}", fields, method=method)

    def statuses(self, case: str, count: int = 2, **headers: str) -> list[str | None]:
        """Ask a few times, one after the other."""
        return [self.ask(case, **headers)[1]["Cache-Status"] for _ in range(count)]

    @property
    def front(self) -> Front:
        front: Front = state_of(self.live_app.app).caches[0]
        return front

    def stats(self) -> dict[str, float]:
        return self.front.stats()


def add_views(live: Live, site: Site, app: Any) -> None:
    @app.get("/page")
    @live.cached(channels="posts")
    def page() -> Any:
        case = request.query_string.decode()
        site.calls[case] += 1
        response = make_response(f"call {site.calls[case]} of {case}")
        if case == "cookie":
            response.set_cookie("seen", "1")
        elif case == "session":
            session["seen"] = True
        elif case in ("no-store", "private", "no-cache"):
            response.headers["Cache-Control"] = case
        elif case.startswith("vary"):
            response.vary.add("*" if case == "vary-all" else "Accept-Language")
        elif case == "missing":
            response.status_code = 404
        elif case == "stream":
            return Response(iter(["a", "b"]))
        elif case == "fails":
            raise RuntimeError("on purpose")
        elif case == "modified":
            response.last_modified = 1_700_000_000
        elif case.startswith("wait"):
            site.entered.release()
            site.go_on.wait(20)
        return response

    @app.get("/post/<int:post_id>")
    @live.cached(channels=["post:{post_id}"])
    def post(post_id: int) -> str:
        site.calls[f"post {post_id}"] += 1
        return f"call {site.calls[f'post {post_id}']}"

    @app.get("/themed")
    @live.cached(channels="posts", key=lambda request: request.cookies.get("theme"))
    def themed() -> str:
        site.calls["themed"] += 1
        return f"{request.cookies['theme']} {site.calls['themed']}"


@pytest.fixture(scope="module", params=["llhttp", "tornado"])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    live_app = make_app(tmp_path_factory.mktemp("cached"), LIVE_CACHE_WAIT_S=1.5)
    made: list[Site] = []

    def make_server() -> Any:
        add_views(live_app.live, made[0], live_app.app)
        return live_app.server(http=request.param)

    made.append(Site(live_app, None))  # type: ignore[arg-type]
    with serving(make_server) as served:
        made[0].served = served
        # Until the log is followed nothing is kept.
        wait_for(lambda: made[0].ask("warm")[1]["Cache-Status"] == HIT)
        yield made[0]
    assert state_of(live_app.app).on_commit == []
    with live_app.app.app_context():
        live_app.db.engine.dispose()
    live_app.log.close()


def test_page_is_made_once_and_served_until_an_event(site: Site) -> None:
    first = site.ask("once")
    second = site.ask("once")
    assert first[1]["Cache-Status"] == STORED
    assert second[1]["Cache-Status"] == HIT
    assert first[2] == second[2] == b"call 1 of once"
    assert second[1]["Age"] == "0"
    assert first[1]["ETag"] == second[1]["ETag"]
    assert second[1].get_all("X-Request-ID") != first[1].get_all("X-Request-ID")
    assert len(second[1].get_all("Date")) == len(second[1].get_all("Content-Length")) == 1
    site.live_app.publish("chat")
    assert site.ask("once")[2] == b"call 1 of once"
    # Committed here, so that it counts from the very next request on.
    site.live_app.publish("posts")
    assert site.ask("once")[2] == b"call 2 of once"


def test_commit_ends_the_pages_of_its_channel_only(site: Site) -> None:
    for post_id in (1, 2):
        assert site.ask("", f"/post/{post_id}")[2] == b"call 1"
    site.live_app.publish("post:1")
    assert site.ask("", "/post/1")[2] == b"call 2"
    assert site.ask("", "/post/2")[2] == b"call 1"


@pytest.mark.parametrize(
    "case", ["cookie", "session", "no-store", "private", "vary-all", "missing", "stream", "fails"]
)
def test_response_that_is_not_for_all_is_not_kept(site: Site, case: str) -> None:
    first = site.ask(case)
    second = site.ask(case)
    assert HIT not in (first[1]["Cache-Status"], second[1]["Cache-Status"])
    assert site.calls[case] == 2


def test_response_to_be_revalidated_by_caches_behind_is_kept(site: Site) -> None:
    assert site.statuses("no-cache") == [STORED, HIT]


@pytest.mark.parametrize(
    "headers",
    [
        {"Cookie": "a=1; session=x"},
        {"Authorization": "Bearer x"},
        {"Range": "bytes=0-1"},
        {"If_Match": "*"},
    ],
)
def test_request_of_somebody_or_for_a_part_is_left_alone(
    site: Site, headers: dict[str, str]
) -> None:
    case = f"somebody={next(iter(headers))}"
    assert site.statuses(case) == [STORED, HIT]
    site.ask(case, **headers)
    assert site.calls[case] == 2
    assert site.statuses(case, 1) == [HIT]


@pytest.mark.parametrize("method", ["POST", "OPTIONS"])
def test_other_methods_are_left_alone(site: Site, method: str) -> None:
    assert site.ask("method", method=method)[1]["Cache-Status"] is None


def test_other_cookies_tell_pages_apart(site: Site) -> None:
    assert site.statuses("cookies", Cookie="sessions=1") == [STORED, HIT]
    assert site.statuses("cookies", Cookie="sessions=2") == [STORED, HIT]


def test_field_that_is_taken_for_the_url_tells_pages_apart(site: Site) -> None:
    assert site.statuses("poison", X_Forwarded_Host="evil.example") == [STORED, HIT]
    assert site.statuses("poison") == [STORED, HIT]
    assert site.statuses("poison", Host="other.example") == [STORED, HIT]


def test_spelling_of_the_url_tells_pages_apart(site: Site) -> None:
    _, fields, _ = site.ask("spelling", "/page")
    assert fields["Cache-Status"] == STORED
    _, fields, _ = site.ask("spelling", "/%70age")
    assert fields["Cache-Status"] == STORED


def test_large_request_is_left_alone(site: Site) -> None:
    assert site.statuses("large", X_Junk="x" * 9000) == [None, None]


def test_response_that_varies_is_kept_for_each_value(site: Site) -> None:
    for language in ("de", "en"):
        assert site.statuses("vary", Accept_Language=language) == [STORED, HIT]
    assert site.statuses("vary", 1, Accept_Language="de") == [HIT]
    assert site.statuses("vary") == [STORED, HIT]


def test_declared_key_shares_pages_of_people_with_a_session(site: Site) -> None:
    asked = [
        site.ask("", "/themed", Cookie=f"theme={theme}; session={person}")[2]
        for theme, person in (("dark", "a"), ("dark", "b"), ("light", "a"), ("dark", "c"))
    ]
    assert asked == [b"dark 1", b"dark 1", b"light 2", b"dark 1"]


def test_head_is_answered_from_the_page_of_a_get(site: Site) -> None:
    whole = site.ask("head")
    status, headers, body = site.ask("head", method="HEAD")
    assert (status, headers["Cache-Status"], body) == (200, HIT, b"")
    assert headers["Content-Length"] == str(len(whole[2]))
    assert site.calls["head"] == 1


def test_head_makes_no_page(site: Site) -> None:
    site.ask("head-first", method="HEAD")
    assert site.statuses("head-first", 1) == [STORED]


def test_client_that_has_the_page_gets_304(site: Site) -> None:
    tag = site.ask("tag")[1]["ETag"]
    for tags in (tag, f'"other", W/{tag}', "*"):
        status, headers, body = site.ask("tag", If_None_Match=tags)
        assert (status, headers["ETag"], body) == (304, tag, b"")
        assert headers["Content-Length"] is headers["Content-Type"] is None
    assert site.ask("tag", If_None_Match='"other"')[0] == 200
    assert site.calls["tag"] == 1


def test_client_that_has_the_page_gets_304_for_a_miss_too(site: Site) -> None:
    site.ask("tag-miss")
    site.calls["tag-miss"] = 0
    tag = site.ask("tag-miss")[1]["ETag"]
    site.live_app.publish("posts")
    status, headers, _ = site.ask("tag-miss", If_None_Match=tag)
    assert (status, headers["Cache-Status"]) == (304, STORED)
    assert site.ask("tag-miss")[2] == b"call 1 of tag-miss"


def test_client_that_has_the_date_gets_304(site: Site) -> None:
    date = site.ask("modified")[1]["Last-Modified"]
    assert site.ask("modified", If_Modified_Since=date)[0] == 304
    earlier = "Mon, 01 Jan 2001 00:00:00 GMT"
    assert site.ask("modified", If_Modified_Since=earlier)[0] == 200
    # With If-None-Match the date does not count (RFC 9110, section 13.1.3).
    assert site.ask("modified", If_None_Match='"x"', If_Modified_Since=date)[0] == 200


def test_many_who_miss_at_once_are_answered_by_one_call(site: Site) -> None:
    site.go_on.clear()
    before = site.stats()["collapsed"]
    with ThreadPoolExecutor(30) as pool:
        asked = [pool.submit(site.ask, "wait-many") for _ in range(30)]
        assert site.entered.acquire(timeout=20)
        wait_for(lambda: _waiting(site) == 29)
        site.go_on.set()
        answers = [each.result() for each in asked]
    assert {body for _, _, body in answers} == {b"call 1 of wait-many"}
    assert sorted(headers["Cache-Status"] for _, headers, _ in answers) == sorted(
        [STORED, *["flasknado; fwd=uri-miss; collapsed"] * 29]
    )
    assert site.stats()["collapsed"] == before + 29


def test_who_waits_too_long_goes_by_itself(site: Site) -> None:
    site.go_on.clear()
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(site.ask, "wait-long") for _ in range(2)]
        assert site.entered.acquire(timeout=20)
        # The second is in the view as well, after LIVE_CACHE_WAIT_S.
        assert site.entered.acquire(timeout=20)
        site.go_on.set()
        answers = sorted(each.result()[2] for each in asked)
    assert site.calls["wait-long"] == 2
    assert len(answers) == 2


def test_response_from_before_a_commit_is_not_kept_after_it(site: Site) -> None:
    site.go_on.clear()
    with ThreadPoolExecutor(2) as pool:
        early = pool.submit(site.ask, "wait-race")
        assert site.entered.acquire(timeout=20)
        site.live_app.publish("posts")
        # Who asks after the commit waits for no response from before it.
        late = pool.submit(site.ask, "wait-race")
        assert site.entered.acquire(timeout=20)
        site.go_on.set()
        assert early.result()[1]["Cache-Status"] == NOT_STORED
        assert late.result()[1]["Cache-Status"] == STORED
    assert site.calls["wait-race"] == 2
    assert site.statuses("wait-race", 1) == [HIT]


def test_others_get_the_page_although_the_first_has_left(site: Site) -> None:
    site.go_on.clear()
    with ThreadPoolExecutor(1) as pool:
        with socket.create_connection(site.served.address) as first:
            first.sendall(b"GET /page?wait-left HTTP/1.1\r\nHost: a\r\n\r\n")
            assert site.entered.acquire(timeout=20)
            second = pool.submit(site.ask, "wait-left", Host="a")
            wait_for(lambda: _waiting(site) == 1)
        site.go_on.set()
        assert second.result()[2] == b"call 1 of wait-left"


def test_view_is_not_called_for_a_client_that_has_left_alone(site: Site) -> None:
    server = site.served.server
    container = server.container
    assert container is not None
    if server.layer == "tornado":
        pytest.skip("the test cannot see there that the server knows of the client's leave")
    site.go_on.clear()
    with ThreadPoolExecutor(16) as pool:
        busy = [pool.submit(site.ask, f"wait-busy-{number}") for number in range(16)]
        for _ in busy:
            assert site.entered.acquire(timeout=20)
        with socket.create_connection(site.served.address) as left:
            left.sendall(b"GET /page?left HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_for(lambda: container.pool.queued == 1)
            # Who only closes its half may still want the response; a reset does not.
            left.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wait_for(lambda: server.counters.connections_open == 16)
        site.go_on.set()
        for each in busy:
            each.result()
    wait_for(lambda: container.pool.idle)
    assert site.calls["left"] == 0
    assert not site.front._open
    assert site.statuses("left", Host="a") == [STORED, HIT]


def test_hits_and_misses_are_counted(site: Site) -> None:
    before = site.stats()
    site.statuses("counted", 3)
    after = site.stats()
    changes = {name: after[name] - before[name] for name in ("hit", "miss", "bypass", "pages")}
    assert changes == {"hit": 2, "miss": 1, "bypass": 0, "pages": 1}
    assert after["held_bytes"] > before["held_bytes"]


def _waiting(site: Site) -> int:
    return sum(len(flight.waiters or ()) for flight in list(site.front._open))
