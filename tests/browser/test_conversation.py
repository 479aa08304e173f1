"""What pages and application say to each other beside events, and the end of their access."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Event
from typing import Any

import pytest
from flask import abort, g, request

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

SEND_MANY = """
const [count, done] = arguments;
Promise.allSettled(Array.from({ length: count }, (_, n) => live.send("chat:1", n))).then((all) =>
  done(all.map(({ value, reason }) => value ?? reason.code ?? reason.message)));
"""


def send(page: Page, channel: str, data: Any) -> Any:
    page.browser.switch_to.window(page.handle)
    return page.browser.execute_async_script(SEND, channel, data)


def test_pages_send_messages_and_get_their_own_replies_over_one_connection(
    make_site: Callable[..., Site], open_page: OpenPage
) -> None:
    site = make_site(LIVE_MAX_MESSAGES_PER_S=1000)
    publishing = True

    @site.live_app.live.on_message("chat:*")
    def on_message(channel: str, data: Any) -> Any:
        if data == "secret":
            abort(403, "not that")
        if publishing:
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
    publishing = False
    answers = pages[1].browser.execute_async_script(SEND_MANY, 103)
    assert answers == [*({"heard": number} for number in range(100)), 429, 429, 429]


@pytest.mark.parametrize("kind", ["sse", "poll"])
def test_messages_without_a_websocket_go_in_requests_in_order_and_say_what_fails(
    kind: str, site: Site, open_page: OpenPage
) -> None:
    heard: list[Any] = []

    @site.live_app.live.on_message("chat:*")
    def on_message(channel: str, data: Any) -> Any:
        if data == "secret":
            abort(403, "not that")
        heard.append(data)
        return {"heard": data}

    page = open_page(site.url)
    page.log_in("ann")
    options = {"transports": [kind], "key": site.key("ann"), "retryMs": 1_000_000}
    page.connect("chat:1", "a", **options).wait_until_open(kind)
    assert send(page, "chat:1", "first") == {"reply": {"heard": "first"}}
    assert send(page, "chat:1", "secret") == {"code": 403, "message": "not that"}
    assert send(page, "a", 1)["code"] == 404
    assert send(page, "elsewhere", 1)["code"] == 403
    answers = page.browser.execute_async_script(SEND_MANY, 103)
    assert answers == [*({"heard": number} for number in range(100)), 429, 429, 429]
    assert heard == ["first", *range(100)]
    # Events come in short streams from some servers, and a message need not wait for the next.
    page.run("window.dispatchEvent(new Event('offline'))")
    poll(lambda: page.status["state"], "waiting".__eq__, DEADLINE_S)
    assert send(page, "chat:1", "between") == {"reply": {"heard": "between"}}
    # Another tab has logged somebody else in: what this page says is not said by them.
    page.log_in("bob")
    assert send(page, "chat:1", "as whom?")["code"] == 401
    page.log_in("ann")
    page.run("window.fetch = () => Promise.reject(new TypeError('lost'))")
    assert "may not have arrived" in send(page, "chat:1", "lost")["message"]
    page.run("live.close()")
    assert send(page, "chat:1", "late")["message"] == "there is no connection"
    assert heard[101:] == ["between"]


def test_page_stops_a_run_that_is_its_own(site: Site, open_page: OpenPage) -> None:
    live = site.live_app.live
    live.identity(lambda: Identity(g.user) if g.user else None)

    def endless() -> Iterator[int]:
        yield 1
        ended.wait(DEADLINE_S)

    ended = Event()

    @site.live_app.app.post("/run")
    def run() -> Any:
        return live.run(endless(), channel="a")

    stop = (
        "return live.stop(arguments[0]).then(String, ({ code, message }) => `${code} ${message}`)"
    )
    page = open_page(site.url)
    page.log_in("ann")
    page.connect("a", after=site.cursor, share=False)
    started = page.run("return fetch('/run', { method: 'POST' }).then((answer) => answer.json())")
    page.log_in("bob")
    assert page.run(stop, started["run"]).startswith("403 you may not stop")
    page.log_in("ann")
    assert page.run(stop, started["run"]) == "true"
    ended.set()
    poll(lambda: page.run(stop, started["run"]), "false".__eq__, DEADLINE_S)
    assert page.run(stop, "nonsense").startswith("404 ")


def test_what_a_page_causes_for_others_comes_back_to_the_others_only(
    site: Site, open_page: OpenPage
) -> None:
    """Over a connection that it shares, and on every transport of its own."""
    live, db = site.live_app.live, site.live_app.db

    def publish(data: Any) -> str:
        live.publish("a", "said", data, to_others=True)
        db.session.commit()
        return "published"

    @site.live_app.app.post("/act")
    def act() -> str:
        return publish(request.get_json())

    @live.on_message("a")
    def on_message(channel: str, data: Any) -> str:
        return publish(data)

    cursor = site.cursor
    kinds: list[dict[str, Any]] = [{}, {}]
    kinds += [{"share": False, "transports": [kind]} for kind in ("websocket", "sse", "poll")]
    pages = [open_page(site.url).connect("a", after=cursor, **options) for options in kinds]
    for page in pages:
        page.wait_until_open()
    poll(lambda: site.connections, (4).__eq__, DEADLINE_S)  # a long-poll is not always there
    said: list[list[Any]] = [[] for _ in pages]
    for number, page in enumerate(pages):
        page.run(
            "return fetch('/act', { method: 'POST', body: arguments[0], headers: {"
            " 'Content-Type': 'application/json', 'X-Live-Connection': live.connection } }"
            ").then((answer) => answer.text())",
            str(number),
        )
        assert send(page, "a", -number) == {"reply": "published"}
        for other, heard in enumerate(said):
            heard += [] if other == number else [number, -number]
    site.publish("a", "last")
    for page, heard in zip(pages, said, strict=True):
        page.wait_for([*heard, "last"])


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
    site = make_site(LIVE_PRESENCE=["a"], LIVE_PRESENCE_GRACE_S=0.2)

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


def test_page_that_shares_a_connection_is_told_who_is_there_when_it_comes(
    make_site: Callable[..., Site], open_page: OpenPage
) -> None:
    """Not only who has joined last, which is all that was said on that connection."""
    site = make_site(LIVE_PRESENCE_USERS=["a", "b"], LIVE_PRESENCE_GRACE_S=0.2)

    def visit(user: str, *channels: str) -> Page:
        page = open_page(site.url)
        page.log_in(user)
        return page.connect(*channels, presence=True, key=site.key(user))

    def told(page: Page, channel: str) -> Any:
        """Return whom a page knows to be there, from all that it was told."""
        users = None
        for event in page.read("presence"):
            if event["channel"] == channel:
                data = event["data"]
                if "users" in data:
                    users = {each["user"] for each in data["users"]}
                if users is not None:
                    users |= {each["user"] for each in data.get("join", [])}
                    users -= {each["user"] for each in data.get("leave", [])}
        return users

    def wait_for(page: Page, channel: str, *users: str) -> None:
        poll(lambda: told(page, channel), lambda known: known == set(users), DEADLINE_S)

    first = visit("ann", "a", "b")
    wait_for(first, "a", "ann")
    other = visit("bob", "a", "b")
    wait_for(first, "a", "ann", "bob")
    wait_for(first, "b", "ann", "bob")
    later = visit("ann", "a")
    wait_for(later, "a", "ann", "bob")
    later.run("live.subscribe('b')")
    wait_for(later, "b", "ann", "bob")
    poll(lambda: site.connections, (2).__eq__, DEADLINE_S)
    other.close()
    wait_for(later, "b", "ann")


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
