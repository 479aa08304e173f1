"""What pages and application say to each other beside events, and the end of their access."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import abort

from flasknado.live.tickets import Identity
from tests.browser.page import DEADLINE_S, Page
from tests.browser.servers import Site
from tests.support.poll import poll

OpenPage = Callable[[str], Page]

SEND = """
const [channel, data, done] = arguments;
live.send(channel, data).then(
  (reply) => done({ reply }),
  (error) => done({ code: error.code ?? null, message: error.message }),
);
"""


def send(page: Page, channel: str, data: Any) -> Any:
    page.browser.switch_to.window(page.handle)
    return page.browser.execute_async_script(SEND, channel, data)


def test_pages_send_messages_and_get_their_own_replies_over_one_connection(
    site: Site, open_page: OpenPage
) -> None:
    @site.live_app.live.on_message("chat:*")
    def on_message(channel: str, data: Any) -> Any:
        if data == "secret":
            abort(403, "not that")
        site.live_app.live.publish(channel, "said", data)
        site.live_app.db.session.commit()
        return {"heard": data}

    cursor = site.cursor
    pages = [open_page(site.url).connect("chat:1", after=cursor) for _ in range(2)]
    for number, page in enumerate(pages):
        page.wait_until_open("websocket")
        assert send(page, "chat:1", number) == {"reply": {"heard": number}}
        refused = send(page, "chat:1", "secret")
        assert (refused["code"], refused["message"]) == (403, "not that")
        assert send(page, "elsewhere", 1)["code"] == 403
    for page in pages:
        page.wait_for([0, 1])
    assert site.connections == 1


def test_message_without_a_websocket_is_refused_at_once(site: Site, open_page: OpenPage) -> None:
    page = open_page(site.url).connect("a", transports=["sse"]).wait_until_open()
    assert "needs a WebSocket" in send(page, "a", 1)["message"]


def test_signals_arrive_in_order_with_the_events(site: Site, open_page: OpenPage) -> None:
    page = open_page(site.url).connect("a", after=site.cursor).wait_until_open()
    site.publish("a", 1)
    page.wait_for([1])
    with site.live_app.app.app_context():
        site.live_app.live.signal("a", "typing", "ann")
    page.wait_for([1, "ann"])
    site.publish("a", 2)
    page.wait_for([1, "ann", 2])


@pytest.mark.parametrize("kind", ["websocket", "sse"])
def test_pages_are_told_how_many_are_there_also_those_that_share_a_connection(
    kind: str, make_site: Callable[..., Site], open_page: OpenPage
) -> None:
    site = make_site(LIVE_PRESENCE=["a"])

    def visit(user: str) -> Page:
        page = open_page(site.url)
        page.log_in(user)
        return page.connect("a", presence=True, key=site.key(user), transports=[kind])

    def counts(page: Page) -> list[int]:
        return [event["data"]["count"] for event in page.read("presence")]

    first = visit("1")
    poll(lambda: counts(first)[-1:], [1].__eq__, DEADLINE_S)
    other = visit("2")
    for page in (first, other):
        poll(lambda page=page: counts(page)[-1:], [2].__eq__, DEADLINE_S)
    later = visit("1")
    poll(lambda: counts(later)[-1:], [2].__eq__, DEADLINE_S)
    assert site.connections == 2
    other.close()
    for page in (first, later):
        poll(lambda page=page: counts(page)[-1:], [1].__eq__, DEADLINE_S)
        assert page.seen == []


def test_revoked_page_comes_back_if_it_may_and_is_told_if_it_may_not(
    site: Site, open_page: OpenPage
) -> None:
    live = site.live_app.live
    logged_in = True

    @live.identity
    def who() -> Identity:
        return Identity("ann")

    @live.authorize
    def may_read(channel: str) -> bool:
        if not logged_in:
            abort(401, "log in again")
        return True

    def revoke() -> None:
        with site.live_app.app.app_context():
            live.revoke("ann")
            site.live_app.db.session.commit()

    page = open_page(site.url).connect("a", after=site.cursor).wait_until_open("websocket")
    revoke()
    opened = lambda: [status["state"] for status in page.read("statuses")].count("open")  # noqa: E731
    poll(opened, lambda count: count == 2, DEADLINE_S)
    site.publish("a", 1)
    page.wait_for([1])

    logged_in = False
    revoke()
    [error] = poll(lambda: page.read("errors"), bool, DEADLINE_S)
    assert error == {"channel": "a", "code": 401, "message": "log in again"}
    poll(lambda: site.connections, lambda count: count == 0)
