"""The tabs of one origin share a connection, and none of them misses or repeats an event."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import g
from tornado.web import RequestHandler

from flasknado.live.tickets import ANONYMOUS
from tests.browser.page import DEADLINE_S, Page
from tests.browser.servers import Site
from tests.browser.test_conversation import send
from tests.support.poll import poll

OpenPage = Callable[[str], Page]


def test_seven_tabs_share_one_connection_and_each_gets_every_event(
    site: Site, open_page: OpenPage
) -> None:
    cursor = site.cursor
    site.publish("a", 0, 1, 2)
    pages = []
    for number in range(7):
        pages.append(open_page(site.url).connect("a", after=cursor))
        site.publish("a", 3 + number)
    for page in pages:
        page.wait_until_open("websocket")
    site.publish("a", *range(10, 30))
    for page in pages:
        page.wait_for(list(range(30)))
        assert page.read("resets") == []
    assert site.connections == 1
    assert [page.status["leader"] for page in pages].count(True) == 1


def test_closed_leader_is_succeeded_by_another_tab_without_loss(
    site: Site, open_page: OpenPage
) -> None:
    cursor = site.cursor
    pages = [open_page(site.url).connect("a", after=cursor).wait_until_open() for _ in range(3)]
    published = 0
    while pages:
        site.publish("a", *range(published, published + 5))
        [leader] = [page for page in pages if page.status["leader"]]
        leader.close()
        pages.remove(leader)
        site.publish("a", *range(published + 5, published + 10))
        published += 10
        for page in pages:
            page.wait_for(list(range(published)))
            page.wait_until_open()
        poll(lambda: site.connections, lambda count: count == min(1, len(pages)))


def test_tab_that_reloads_follows_on_where_its_page_begins(site: Site, open_page: OpenPage) -> None:
    first = open_page(site.url).connect("a", after=site.cursor).wait_until_open()
    second = open_page(site.url).connect("a", after=site.cursor).wait_until_open()
    site.publish("a", 1)
    first.wait_for([1])
    first.run("location.reload()")
    cursor = site.cursor
    site.publish("a", 2)
    first.connect("a", after=cursor).wait_for([2])
    second.wait_for([1, 2])
    assert site.connections == 1


def test_tabs_with_different_channels_are_merged_into_one_connection(
    site: Site, open_page: OpenPage
) -> None:
    cursor = site.cursor
    one = open_page(site.url).connect("a", "b", after=cursor).wait_until_open()
    other = open_page(site.url).connect("b", "c", after=cursor).wait_until_open()
    for number in range(5):
        for channel in "abcd":
            site.publish(channel, f"{channel}{number}")
    one.wait_for([f"{channel}{number}" for number in range(5) for channel in "ab"])
    other.wait_for([f"{channel}{number}" for number in range(5) for channel in "bc"])
    assert site.connections == 1

    other.run("live.unsubscribe(['b']); live.subscribe(['d'])")
    later = open_page(site.url).connect("d").wait_until_open()
    poll(lambda: (other.run("return live.cursor"), later.run("return live.cursor")), all)
    for channel in "abcd":
        site.publish(channel, f"{channel}5")
    other.wait_for([f"{channel}{n}" for n in range(5) for channel in "bc"] + ["c5", "d5"])
    later.wait_for(["d5"])


@pytest.mark.parametrize("kind", ["websocket", "sse", "poll"])
def test_tabs_with_an_older_cursor_catch_up_in_the_midst_of_events(
    kind: str, site: Site, open_page: OpenPage
) -> None:
    cursor = site.cursor
    stop = threading.Event()

    def publish() -> int:
        for number in itertools.count(1):
            site.publish("a", number)
            if stop.is_set():
                return number
        raise AssertionError

    with ThreadPoolExecutor(1) as thread:
        published = thread.submit(publish)
        pages = []
        for _ in range(4):
            pages.append(open_page(site.url).connect("a", after=cursor, transports=[kind]))
            poll(lambda: len(pages[-1].seen) > 20)
        stop.set()
        expected = list(range(1, published.result(DEADLINE_S) + 1))
    for page in pages:
        page.wait_for(expected)
        assert page.read("resets") == []
    assert site.connections <= 1  # long-poll is between two answers now and then


@pytest.mark.parametrize("keyed", [True, False])
def test_tabs_of_different_users_do_not_share(site: Site, open_page: OpenPage, keyed: bool) -> None:
    """One browser in which one user logs out and another in: ann's tab stays ann's."""
    site.live_app.live.on_message("*")(lambda channel, data: [g.user, data])
    pages = {}
    for user in ("ann", "bob"):
        page = open_page(site.url)
        page.log_in(user)
        key = site.key(user) if keyed else None
        pages[user] = page.connect("a", f"user:{user}", key=key).wait_until_open("websocket")
    assert site.connections == 2
    for user, page in pages.items():
        assert page.status["leader"]
        assert page.read("errors") == []
        assert send(page, "a", 1) == {"reply": [user, 1]}
        assert send(page, f"user:{user}", 2) == {"reply": [user, 2]}
    # A second tab of each user joins the first.
    later = open_page(site.url).connect("a", key=site.key("bob") if keyed else None)
    later.wait_until_open()
    assert not later.status["leader"]
    assert send(later, "a", 3) == {"reply": ["bob", 3]}
    assert site.connections == 2


@pytest.mark.parametrize("kind", ["websocket", "sse", "poll"])
@pytest.mark.parametrize("share", [True, False])
def test_page_whose_user_has_changed_is_told_and_reads_no_more(
    site: Site, open_page: OpenPage, kind: str, share: bool
) -> None:
    page, other = open_page(site.url), open_page(site.url)
    page.log_in("ann")
    options = {"key": site.key("ann"), "transports": [kind], "share": share}
    for each in (page, other):
        each.connect("a", "b", after=site.cursor, **options).wait_until_open(kind)
    site.publish("a", 1)
    for each in (page, other):
        each.wait_for([1])
    page.log_in("bob")

    def told(page: Page) -> list[dict[str, Any]]:
        site.cut()  # again and again: a long-poll may have been asked for in between
        errors: list[dict[str, Any]] = page.read("errors")
        return errors

    for each in (page, other):
        errors = poll(lambda each=each: told(each), lambda found: len(found) == 2, DEADLINE_S)
        assert [(error["channel"], error["code"]) for error in errors] == [("a", 401), ("b", 401)]
        assert "load it again" in errors[0]["message"]
        assert each.status["state"] == "closed"
    site.publish("a", 2)
    poll(lambda: site.connections, lambda count: count == 0)
    assert page.seen == other.seen == [1]

    # As ann again, a page may take up where it left off.
    page.log_in("ann")
    page.run("live.subscribe(['a'], { after: arguments[0] })", page.read("ids")[-1])
    page.wait_for([1, 2])


def test_page_of_nobody_goes_on_as_whoever_logs_in(site: Site, open_page: OpenPage) -> None:
    cursor = site.cursor
    pages = [
        open_page(site.url).connect("a", after=cursor).wait_until_open("websocket")
        for _ in range(2)
    ]
    assert site.connections == 1
    pages[0].log_in("ann")
    pages[0].run("live.subscribe(['user:ann'], { after: arguments[0] })", site.cursor)
    site.publish("user:ann", 1)
    pages[0].wait_for([1])
    site.publish("a", 2)
    for page, expected in zip(pages, ([1, 2], [2]), strict=True):
        page.wait_for(expected)
        assert page.read("errors") == []
    poll(lambda: site.connections, (1).__eq__, DEADLINE_S)


def test_page_waits_for_a_server_that_cannot_say_yet_whose_it_is(
    make_site: Callable[..., Site], open_page: OpenPage
) -> None:
    asked = itertools.count()

    class Overloaded(RequestHandler):
        def get(self) -> None:
            if next(asked) < 2:
                self.set_status(503)
            else:
                self.write({"who": ANONYMOUS})

    site = make_site([("/live/who", Overloaded)])
    pages = [open_page(site.url).connect("a") for _ in range(2)]
    for page in pages:
        page.wait_until_open()
    assert site.connections == 1


def test_page_of_a_server_that_does_not_say_whose_it_is_connects_alone(
    make_site: Callable[..., Site], open_page: OpenPage
) -> None:
    site = make_site([("/live/who", type("Unknown", (RequestHandler,), {}))])  # answers 405
    pages = [open_page(site.url).connect("a") for _ in range(2)]
    for page in pages:
        page.wait_until_open()
    assert site.connections == 2


def test_leader_that_waits_in_an_alert_is_overtaken(site: Site, open_page: OpenPage) -> None:
    cursor = site.cursor
    options = {"after": cursor, "overtakeMs": 2000}
    pages = [open_page(site.url).connect("a", **options).wait_until_open() for _ in range(3)]
    site.publish("a", 1)
    for page in pages:
        page.wait_for([1])
    [stuck] = [page for page in pages if page.status["leader"]]
    others = [page for page in pages if page is not stuck]
    stuck.run("setTimeout(() => alert('stop'), 100)")
    site.publish("a", 2)
    poll(lambda: [page.status["leader"] for page in others].count(True), (1).__eq__, DEADLINE_S)
    for page in others:
        page.wait_until_open().wait_for([1, 2])

    stuck.answer_alert()
    site.publish("a", 3)
    for page in pages:
        page.wait_for([1, 2, 3])
        assert page.read("resets") == []
    assert [page.status["leader"] for page in pages].count(True) == 1
    assert not stuck.status["leader"]
    poll(lambda: site.connections, (1).__eq__, DEADLINE_S)


def test_leader_that_answers_is_not_overtaken(site: Site, open_page: OpenPage) -> None:
    options = {"overtakeMs": 400}
    pages = [open_page(site.url).connect("a", **options).wait_until_open() for _ in range(3)]
    leaders = [page.status["leader"] for page in pages]
    count = "window.pings = 0; const heard = new BroadcastChannel(arguments[0]);"
    name = f"flasknado-live 2 {site.url}/live/ anonymous"
    pages[0].run(count + "heard.onmessage = ({ data }) => pings += data.type === 'pong';", name)
    poll(lambda: pages[0].read("pings"), lambda pings: pings > 10, DEADLINE_S)
    assert [page.status["leader"] for page in pages] == leaders
    assert site.connections == 1


def test_frozen_leader_hands_over_and_catches_up_when_it_resumes(
    site: Site, open_page: OpenPage
) -> None:
    cursor = site.cursor
    pages = [open_page(site.url).connect("a", after=cursor).wait_until_open() for _ in range(2)]
    [frozen] = [page for page in pages if page.status["leader"]]
    [other] = [page for page in pages if page is not frozen]
    frozen.set_state("frozen")
    site.publish("a", 1)
    other.wait_until_open().wait_for([1])
    assert other.status["leader"]
    poll(lambda: site.connections, (1).__eq__, DEADLINE_S)
    frozen.set_state("active")
    site.publish("a", 2)
    for page in pages:
        page.wait_for([1, 2])
    assert not frozen.status["leader"]
    assert site.connections == 1


def test_leader_that_is_frozen_without_being_told_is_overtaken(
    site: Site, open_page: OpenPage
) -> None:
    """As in browsers that suspend a page without the events of Page Lifecycle."""
    cursor = site.cursor
    options = {"after": cursor, "overtakeMs": 1000}
    frozen = open_page(site.url)
    frozen.run(
        "const { addEventListener } = document; document.addEventListener = (name, ...given) =>"
        " ['freeze', 'resume'].includes(name) || addEventListener.call(document, name, ...given)"
    )
    frozen.connect("a", **options).wait_until_open()
    other = open_page(site.url).connect("a", **options).wait_until_open()
    assert frozen.status["leader"]
    frozen.set_state("frozen")
    site.publish("a", 1)
    other.wait_for([1])
    assert other.status["leader"]
    frozen.set_state("active")
    site.publish("a", 2)
    for page in (frozen, other):
        page.wait_for([1, 2])
    assert not frozen.status["leader"]
    poll(lambda: site.connections, (1).__eq__, DEADLINE_S)


def test_tabs_whose_connections_are_cut_again_and_again_get_every_event_once(
    site: Site, open_page: OpenPage
) -> None:
    cursor = site.cursor
    quick = {"after": cursor, "retryMs": 50, "maxRetryMs": 200}
    pages = [open_page(site.url).connect("a", "b", **quick) for _ in range(3)]
    for kind in ("sse", "poll"):
        alone = open_page(site.url).connect("a", "b", transports=[kind], share=False, **quick)
        pages.append(alone)
    expected = []
    for cut in range(6):
        for number in range(20):
            expected.append([cut, number])
            site.publish("ab"[number % 2], [cut, number])
        for page in pages:
            page.wait_until_open()
        site.cut()
    for page in pages:
        page.wait_for(expected)
        assert page.read("resets") == []
