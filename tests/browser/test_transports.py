"""Which transport a page ends up with, what it is told, and that it loses nothing on the way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from flask import g, request
from tornado.web import RequestHandler

from flasknado.live import OriginPolicy
from flasknado.live.log import retention
from flasknado.live.options import LiveOptions
from flasknado.live.origins import CORS_KEY
from tests.browser.page import DEADLINE_S, Page
from tests.browser.servers import Site
from tests.support.poll import poll

OpenPage = Callable[[str], Page]
MakeSite = Callable[..., Site]

TRANSPORTS = ("websocket", "sse", "poll")


class Refusing(RequestHandler):
    """A proxy that does not know WebSocket."""

    refuses: ClassVar[bool] = True
    asked: ClassVar[int] = 0

    def get(self) -> None:
        type(self).asked += 1
        self.set_status(426)


class Hanging(RequestHandler):
    """A proxy that takes a request and keeps whatever the answer is to itself."""

    async def get(self) -> None:
        self.gone = asyncio.Event()
        if self.request.path.endswith("/events"):
            self.set_header("Content-Type", "text/event-stream")
            await self.flush()
        await self.gone.wait()

    def on_connection_close(self) -> None:
        self.gone.set()


class Overloaded(RequestHandler):
    """A server that is too busy, and says for how long."""

    def get(self) -> None:
        self.set_status(503)
        self.set_header("Retry-After", "7")
        self.write({"message": "too many", "success": False, "code": 503})


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_transport_delivers_what_was_missed_and_what_comes(
    kind: str, site: Site, open_page: OpenPage
) -> None:
    cursor = site.cursor
    site.publish("a", *range(300))
    page = open_page(site.url).connect("a", "b", after=cursor, transports=[kind])
    page.wait_until_open(kind)
    site.publish("a", "line\nbreak \u2028 \U0001f300", None, {"x": [1.5]})
    page.wait_for([*range(300), "line\nbreak \u2028 \U0001f300", None, {"x": [1.5]}])
    page.run("live.close()")
    assert page.status["state"] == "closed"
    poll(lambda: site.connections, lambda count: count == 0)


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_page_without_a_cursor_begins_with_what_comes(
    kind: str, site: Site, open_page: OpenPage
) -> None:
    site.publish("a", "before")
    page = open_page(site.url).connect("a", transports=[kind])
    poll(lambda: page.run("return live.cursor"))
    site.publish("a", "after")
    page.wait_for(["after"])


def test_page_begins_with_the_newest_events_of_its_channels(
    site: Site, open_page: OpenPage
) -> None:
    """On a connection of its own, and on one that has been further for long."""
    first = open_page(site.url).connect("a", after=site.cursor).wait_until_open()
    site.publish("a", 1, 2, 3, 4)
    site.publish("b", "b1", "b2")
    first.wait_for([1, 2, 3, 4])
    kinds: list[dict[str, Any]] = [{}]
    kinds += [{"share": False, "transports": [kind]} for kind in TRANSPORTS]
    pages = [
        open_page(site.url).connect("a", "b", "user:ann", last=1, **options) for options in kinds
    ]
    for page in pages:
        page.wait_for([4, "b2"])
        [error] = poll(lambda page=page: page.read("errors"), bool, DEADLINE_S)
        assert (error["channel"], error["code"]) == ("user:ann", 403)
    site.publish("a", 5)
    for page in pages:
        page.wait_for([4, "b2", 5])
    page.run("live.subscribe('a', { last: 2 }); live.unsubscribe('b')")  # 'a' is where it is
    page.run("live.subscribe('b', { last: 5 })")
    page.wait_for([4, "b2", 5, "b1", "b2"])
    first.run("live.subscribe('c', { last: 3, after: arguments[0] })", site.cursor)
    site.publish("c", 6)
    first.wait_for([1, 2, 3, 4, 5, 6])
    wrong = "try { live.subscribe('d', arguments[0]) } catch (error) { return error.message }"
    assert first.run(wrong, {"last": -1}) == "last is a number of events, not -1"
    assert first.run(wrong, {"after": 7}) == "after is a cursor, such as 3f2a9c01:42, not 7"


@pytest.mark.parametrize("kind", TRANSPORTS[:2])
def test_page_follows_a_pattern_and_gets_each_event_once(
    kind: str, make_site: MakeSite, open_page: OpenPage
) -> None:
    site = make_site(LIVE_PATTERNS=["post:*"])
    site.live_app.live.on_message("post:2")(lambda channel, data: data)
    cursor = site.cursor
    site.publish("post:1", 1)
    site.publish("post:2", 2)
    options = {"after": cursor, "transports": [kind]}
    page = open_page(site.url).connect("post:*", "post:1", **options)
    other = open_page(site.url).connect("post:1", "a", **options)
    page.wait_for([1, 2])
    other.wait_for([1])
    site.publish("post:1", 3)
    site.publish("post:3", 4)
    page.wait_for([1, 2, 3, 4])
    other.wait_for([1, 3])
    # It begins again under the pattern, beside what it has by name.
    page.run("live.unsubscribe('post:*')")
    page.run("live.subscribe('post:*', { after: arguments[0] })", cursor)
    page.wait_for([1, 2, 3, 4, 2, 4])
    page.run("live.unsubscribe('post:1')")
    site.publish("post:1", 5)
    page.wait_for([1, 2, 3, 4, 2, 4, 5])
    other.wait_for([1, 3, 5])
    assert page.run("return live.send('post:2', 'hello')") == "hello"
    poll(lambda: site.connections, (1).__eq__, DEADLINE_S)


def test_page_that_reloads_when_it_is_reset_does_not_do_so_for_ever(
    site: Site, open_page: OpenPage
) -> None:
    """Its cursor is always the same, as from a cache; that of another log, and no cursor at all."""
    loads: list[str] = []

    @site.live_app.app.get("/kept")
    def kept() -> str:
        loads.append("kept")
        return (
            '<!doctype html><title>kept</title><script type="module">'
            "import { connect } from '/live/live.js'; window.seen = []; window.resets = [];"
            "const given = { onEvent: ({ data }) => seen.push(data), share: false,"
            " transports: ['sse'], onReset(reset) { resets.push(reset); location.reload(); } };"
            "window.live = connect({ ...given, channels: ['a'], after: '0ther:5' });"
            "connect({ ...given, channels: ['b'], after: 'garbage' });</script>"
        )

    site.publish("a", "missed")
    page = open_page(site.url + "/kept")
    ready = (
        "return window.live?.status.state === 'open' && resets.length === 0"
        " && ![null, '0ther:5'].includes(live.cursor)"
    )
    poll(lambda: page.run(ready), bool, DEADLINE_S)
    assert 2 <= len(loads) <= 3  # each of the two cursors may have been first
    site.publish("a", 1)
    page.wait_for([1])
    # The page knows of the reset only for the cursors that it was loaded with.
    page.connect("a", after="another:1")
    poll(lambda: len(page.read("resets")), (1).__eq__, DEADLINE_S)


def test_row_that_was_written_between_the_cursor_and_the_rows_is_shown_once(
    site: Site, open_page: OpenPage
) -> None:
    cursor = site.cursor
    rows = [{"id": number} for number in range(1, 5)]
    site.publish("a", *rows[:3])  # all of it is in the rows that the page has read
    page = open_page(site.url)
    options = {"after": cursor, "identify": "id", "share": False}
    page.connect("a", seen=[1, 2, 3], **options).wait_until_open()
    site.publish("a", rows[3])
    page.wait_for([rows[3]])
    # The page reads once more, with a cursor from before 4 and rows from after 5.
    page.run("live.unsubscribe('a')")
    site.publish("a", {"id": 5}, {"id": 6}, {})
    again = {"after": page.read("ids")[0], "seen": [4, "5"]}
    page.run("live.subscribe('a', arguments[0])", again)
    page.wait_for([rows[3], {"id": 6}, {}])
    # An id that is used again names something else.
    site.publish("a", {"id": 5})
    page.wait_for([rows[3], {"id": 6}, {}, {"id": 5}])


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_cursor_of_another_log_is_answered_with_a_reset(
    kind: str, site: Site, open_page: OpenPage
) -> None:
    site.publish("a", "missed")
    page = open_page(site.url).connect("a", after="0ther:5", transports=[kind])
    poll(lambda: page.read("resets"))
    site.publish("a", 1, 2)
    page.wait_for([1, 2])
    [reset] = page.read("resets")
    assert reset["channels"] == ["a"]
    assert int(page.read("ids")[0].split(":")[1]) == int(reset["cursor"].split(":")[1]) + 1


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_reset_of_one_tab_is_none_of_the_others(
    kind: str, make_site: MakeSite, open_page: OpenPage
) -> None:
    site = make_site(LIVE_HEARTBEAT_S=0.5)
    oldest = site.cursor
    one = open_page(site.url).connect("a", after=oldest, transports=[kind]).wait_until_open(kind)
    site.publish("a", 1, 2)
    one.wait_for([1, 2])
    with site.live_app.engine().begin() as connection:
        options = LiveOptions(retention_events=1)
        retention.prune_batch(connection, options, 10, retention.cut_of(connection, options))
    ahead = site.cursor.split(":")[0] + ":999"
    for after in ("0ther:5", ahead, oldest):
        other = open_page(site.url).connect("a", "b", after=after, transports=[kind])
        # Long-poll hears of the head with the next event.
        if kind == "poll" and after == ahead:
            site.publish("a", "news")
            one.wait_for([1, 2, "news"])
        [reset] = poll(lambda other=other: other.read("resets"))
        assert reset["channels"] == ["a", "b"]
    expected = [*one.seen, 3]
    site.publish("a", 3)
    other.wait_for([3])
    one.wait_for(expected)
    assert one.read("resets") == []


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_channel_that_is_refused_is_told_and_the_others_go_on(
    kind: str, site: Site, open_page: OpenPage
) -> None:
    page = open_page(site.url).connect("a", "user:ann", "b", after=site.cursor, transports=[kind])
    [error] = poll(lambda: page.read("errors"))
    assert (error["channel"], error["code"]) == ("user:ann", 403)
    site.publish("a", 1)
    site.publish("b", 2)
    page.wait_for([1, 2])


def test_page_behind_a_proxy_without_websocket_uses_server_sent_events_and_remembers(
    make_site: MakeSite, open_page: OpenPage
) -> None:
    class Proxy(Refusing):
        pass

    site = make_site([("/live/socket", Proxy)])
    page = open_page(site.url).connect("a", after=site.cursor).wait_until_open("sse")
    site.publish("a", 1, 2)
    page.wait_for([1, 2])
    assert Proxy.asked == 1
    page.run("live.close()")
    page.connect("a", after=site.cursor).wait_until_open("sse")
    assert Proxy.asked == 1


def test_page_behind_a_proxy_that_breaks_streams_too_uses_long_poll(
    make_site: MakeSite, open_page: OpenPage
) -> None:
    site = make_site([("/live/socket", Hanging), ("/live/events", Hanging)])
    cursor = site.cursor
    site.publish("a", 0)
    page = open_page(site.url).connect("a", after=cursor, timeoutMs=300).wait_until_open("poll")
    for number in range(1, 5):
        site.publish("a", number)
        page.wait_for(list(range(number + 1)))


def test_better_transport_is_tried_again_and_taken_without_a_gap(
    site: Site, open_page: OpenPage
) -> None:
    page = open_page(site.url)
    # What the last page of this origin found out: that only long-poll works.
    page.run(
        "localStorage.setItem(`flasknado-live ${location.origin}/live/`,"
        " JSON.stringify({ kind: 'poll', until: Date.now() + 1e6 }))"
    )
    page.connect("a", after=site.cursor, upgradeMs=400).wait_until_open("poll")
    count = 0
    while page.status["transport"] != "websocket":
        site.publish("a", count)
        count += 1
        assert count < 1000
    site.publish("a", count)
    page.wait_for(list(range(count + 1)))
    transports = [status["transport"] for status in page.read("statuses")]
    assert transports == [None, "poll", "websocket"]


def test_silent_connection_is_taken_for_dead_and_made_again(
    make_site: MakeSite, open_page: OpenPage
) -> None:
    site = make_site(LIVE_HEARTBEAT_S=1000)
    page = open_page(site.url).connect("a", after=site.cursor, silenceMs=400)
    states = lambda: [status["state"] for status in page.read("statuses")]  # noqa: E731
    poll(states, lambda states: states.count("open") >= 2, DEADLINE_S)
    site.publish("a", 1)
    page.wait_for([1])


def test_heartbeat_that_is_missed_is_noticed_before_the_second(
    make_site: MakeSite, open_page: OpenPage
) -> None:
    site = make_site(LIVE_HEARTBEAT_S=1000)
    page = open_page(site.url).connect("a", after=site.cursor, heartbeatMs=600)
    page.wait_until_open()
    opened_at = time.monotonic()
    states = lambda: [status["state"] for status in page.read("statuses")]  # noqa: E731
    poll(states, lambda states: "waiting" in states, DEADLINE_S)
    # 1.2 s, on a machine with nothing else to do.
    assert time.monotonic() - opened_at < 5


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_browser_that_goes_offline_shows_it_at_once_and_comes_back(
    kind: str, site: Site, open_page: OpenPage
) -> None:
    page = open_page(site.url).connect("a", after=site.cursor, transports=[kind])
    page.wait_until_open(kind)
    page.run("window.dispatchEvent(new Event('offline'))")
    states = lambda: [status["state"] for status in page.read("statuses")]  # noqa: E731
    poll(states, lambda states: "waiting" in states, DEADLINE_S)
    page.run("window.dispatchEvent(new Event('online'))")
    site.publish("a", 1)
    page.wait_for([1])


def test_server_that_asks_for_time_gets_it(make_site: MakeSite, open_page: OpenPage) -> None:
    site = make_site([("/live/(?:socket|events|poll)", Overloaded)])
    page = open_page(site.url).connect("a")
    poll(lambda: page.status["state"], lambda state: state == "waiting", DEADLINE_S)
    assert page.status["retryMs"] >= 7000


def test_faulty_handler_of_the_page_does_not_stop_the_events(
    site: Site, open_page: OpenPage
) -> None:
    page = open_page(site.url).connect("a", after=site.cursor).wait_until_open()
    page.run("const { push } = seen; seen.push = (x) => { push.call(seen, x); throw Error('no'); }")
    site.publish("a", 1, 2)
    page.wait_for([1, 2])


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_page_of_another_origin_is_let_in_by_policy_and_token(
    kind: str, site: Site, make_site: MakeSite, open_page: OpenPage
) -> None:
    other = make_site(database="other.db")
    other.live_app.app.extensions[CORS_KEY] = OriginPolicy([site.url])

    @other.live_app.live.authorize
    def may_read(channel: str) -> bool:
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return "s3cret" in (bearer, request.args.get("access_token"))

    cursor = other.cursor
    other.publish("a", 1)
    page = open_page(site.url + "/open").connect(
        "a", url=f"{other.url}/live", after=cursor, token="s3cret", transports=[kind]
    )
    page.wait_for([1])
    other.publish("a", 2)
    page.wait_for([1, 2])
    page.run("live.close()")
    page.connect("a", url=f"{other.url}/live", token="wrong", transports=[kind])
    [error] = poll(lambda: page.read("errors"), bool, DEADLINE_S)
    assert error["code"] == 403


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("kind", TRANSPORTS)
def test_page_of_another_origin_sends_its_cookies_where_it_is_told_to(
    kind: str, share: bool, site: Site, make_site: MakeSite, open_page: OpenPage
) -> None:
    other = make_site(database="other.db")
    other.live_app.app.extensions[CORS_KEY] = OriginPolicy([site.url])
    cursor = other.cursor
    other.publish("user:ann", 1)
    page = open_page(site.url + "/open")
    page.log_in("ann")
    options = {"url": f"{other.url}/live", "transports": [kind], "share": share}
    page.connect("user:ann", after=cursor, credentials="include", **options).wait_for([1])
    other.publish("user:ann", 2)
    page.wait_for([1, 2])
    other.live_app.live.on_message("user:ann")(lambda channel, data: [g.user, data])
    assert page.run("return live.send('user:ann', 'hello')") == ["ann", "hello"]
    assert page.read("errors") == []


def test_module_is_cached_and_revalidated(site: Site, open_page: OpenPage) -> None:
    page = open_page(site.url)
    fetched = page.browser.execute_async_script(
        "const done = arguments[0]; fetch('/live/live.js').then((response) =>"
        " done([response.status, Object.fromEntries(response.headers)]))"
    )
    status, headers = fetched
    assert status == 200
    assert headers["content-type"] == "text/javascript; charset=utf-8"
    assert headers["cache-control"] == "public, max-age=600"
    assert headers["etag"]


@pytest.mark.parametrize("transport", ["websocket", "sse"])
def test_page_follows_compressed_events_across_connections(
    make_site: MakeSite, open_page: OpenPage, transport: str
) -> None:
    before = [] if transport == "websocket" else [(r"/live/socket", Refusing)]
    site = make_site(before, LIVE_COMPRESSION=True)
    page = open_page(site.url).connect("a", after=site.cursor)
    texts = [f"{n} is all work and no play " * 50 for n in range(3)]
    for text in texts:
        site.publish("a", text)
        poll(lambda: page.run("return window.seen"), lambda seen, text=text: text in seen)
        # The stream ends without the trailer that gzip has.
        site.cut()
    assert page.run("return window.seen") == texts
