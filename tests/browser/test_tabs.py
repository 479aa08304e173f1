"""The tabs of one origin share a connection, and none of them misses or repeats an event."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.browser.page import DEADLINE_S, Page
from tests.browser.servers import Site
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


def test_tabs_of_different_keys_do_not_share(site: Site, open_page: OpenPage) -> None:
    pages = [open_page(site.url).connect("a", key=key).wait_until_open() for key in ("1", "2")]
    assert [page.status["leader"] for page in pages] == [True, True]
    assert site.connections == 2


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
