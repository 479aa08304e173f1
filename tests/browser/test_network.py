"""A network that changes or falls silent: what a page notices of it, and how soon it is back.

Heartbeats are far apart here, so that nothing but what a test does can be what the page noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from flasknado.http.limits import Limits
from tests.browser.page import DEADLINE_S, Page
from tests.browser.servers import Site
from tests.support.poll import poll
from tests.support.silent_proxy import SilentProxy, silent_proxy

OpenPage = Callable[[str], Page]

TRANSPORTS = ("websocket", "sse", "poll")
NEVER_MS = 1_000_000


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    # A browser whose network has changed uses no idle connection of the old one again, so there
    # are none here.
    limits = Limits(keep_alive_timeout_s=0.1, header_timeout_s=0.3)
    return make_site(LIVE_HEARTBEAT_S=NEVER_MS / 1000, server={"limits": limits})


@pytest.fixture
def proxy(site: Site) -> Iterator[SilentProxy]:
    with silent_proxy(site.served.address) as proxy:
        yield proxy


def connect(proxy: SilentProxy, open_page: OpenPage, site: Site, kind: str) -> Page:
    page = open_page(f"http://127.0.0.1:{proxy.port}")
    page.connect("a", after=site.cursor, transports=[kind], timeoutMs=NEVER_MS)
    return page


def lose(proxy: SilentProxy) -> None:
    """Lose the connection that a page has."""
    poll(lambda: proxy.open, (1).__eq__, DEADLINE_S)
    proxy.lose()


def say(page: Page, event: str) -> None:
    target = "document" if event == "visibilitychange" else "window"
    page.run(f"{target}.dispatchEvent(new Event('{event}'))")


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_page_whose_connection_was_lost_is_back_as_soon_as_the_browser_is_online(
    kind: str, site: Site, proxy: SilentProxy, open_page: OpenPage
) -> None:
    page = connect(proxy, open_page, site, kind).wait_until_open(kind)
    lose(proxy)
    site.publish("a", 1)
    say(page, "online")
    page.wait_for([1])
    site.publish("a", 2)
    page.wait_for([1, 2])
    assert page.read("resets") == []


@pytest.mark.parametrize("kind", TRANSPORTS[:2])
def test_page_whose_try_got_lost_tries_again_as_soon_as_the_browser_is_online(
    kind: str, site: Site, proxy: SilentProxy, open_page: OpenPage
) -> None:
    page = open_page(f"http://127.0.0.1:{proxy.port}")
    page.run("return import('/live/live.js').then(() => 0)")
    poll(lambda: proxy.open, (0).__eq__, DEADLINE_S)
    before = proxy.accepted
    proxy.silence()
    options = {"share": False, "transports": [kind], "timeoutMs": NEVER_MS}
    page.connect("a", after=site.cursor, **options)
    poll(lambda: proxy.accepted, lambda accepted: accepted > before, DEADLINE_S)
    assert page.status["state"] == "connecting"
    proxy.lose()
    site.publish("a", 1)

    def seen() -> list[int]:
        say(page, "online")  # what has only just begun is not begun again
        return page.seen

    poll(seen, [1].__eq__, DEADLINE_S)


def test_page_that_is_looked_at_again_finds_out_that_its_connection_was_lost(
    site: Site, proxy: SilentProxy, open_page: OpenPage
) -> None:
    page = connect(proxy, open_page, site, "websocket").wait_until_open()
    say(page, "visibilitychange")
    site.publish("a", 1)
    page.wait_for([1])
    assert site.connections == 1
    lose(proxy)
    site.publish("a", 2)
    say(page, "visibilitychange")
    page.wait_for([1, 2])


def test_good_connection_is_kept_when_the_page_is_looked_at_again(
    site: Site, proxy: SilentProxy, open_page: OpenPage
) -> None:
    page = connect(proxy, open_page, site, "websocket").wait_until_open()
    page.run(
        "window.sockets = 0; const Real = WebSocket;"
        "window.WebSocket = class extends Real {"
        " constructor(...given) { super(...given); sockets += 1; } }"
    )
    say(page, "visibilitychange")
    page.run("return new Promise((done) => setTimeout(done, 3500))")
    site.publish("a", 1)
    page.wait_for([1])
    assert page.read("sockets") == 0


def test_browser_without_a_network_shows_it_and_is_back_with_it(
    site: Site, proxy: SilentProxy, open_page: OpenPage
) -> None:
    """The browser's own events, and tries that came to nothing meanwhile."""
    page = open_page(f"http://127.0.0.1:{proxy.port}")
    slow = {"retryMs": 100, "maxRetryMs": NEVER_MS}
    page.connect("a", after=site.cursor, transports=["sse"], **slow).wait_until_open()
    conditions = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    page.browser.execute_cdp_cmd("Network.enable", {})
    for offline, state in ((True, "waiting"), (False, "open")):
        page.browser.execute_cdp_cmd(
            "Network.emulateNetworkConditions", {"offline": offline, **conditions}
        )
        poll(lambda: page.status["state"], state.__eq__, DEADLINE_S)
    site.publish("a", 1)
    page.wait_for([1])


def test_page_behind_a_hidden_one_notices_that_the_shared_connection_is_silent(
    make_site: Callable[..., Site], open_page: OpenPage
) -> None:
    """A browser slows the timers of a hidden page down, here to nothing."""
    site = make_site(LIVE_HEARTBEAT_S=1000)
    with silent_proxy(site.served.address) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        cursor = site.cursor
        hidden = open_page(url)
        hidden.run("window.setInterval = () => 0;")
        options = {"after": cursor, "silenceMs": 2000, "overtakeMs": 400}
        hidden.connect("a", **options).wait_until_open()
        page = open_page(url).connect("a", **options).wait_until_open()
        assert hidden.status["leader"]
        proxy.lose()
        site.publish("a", 1)
        page.wait_for([1])
        hidden.wait_for([1])
        assert "waiting" in [status["state"] for status in page.read("statuses")]


def test_page_whose_timers_are_slow_overtakes_a_leader_that_hangs(
    site: Site, open_page: OpenPage
) -> None:
    """Hidden for minutes, a page gets a timer's tick once a minute; here five times too late."""
    cursor = site.cursor
    stuck = open_page(site.url).connect("a", after=cursor).wait_until_open()
    slow = open_page(site.url)
    slow.run(
        "const real = window.setInterval;window.setInterval = (call, ms) => real(call, 5 * ms);"
    )
    slow.connect("a", after=cursor, overtakeMs=400).wait_until_open()
    assert stuck.status["leader"]
    stuck.run("setTimeout(() => alert('stop'), 100)")
    poll(lambda: slow.status["leader"], bool, DEADLINE_S)
    site.publish("a", 1)
    slow.wait_for([1])
    stuck.answer_alert()
    stuck.wait_for([1])
