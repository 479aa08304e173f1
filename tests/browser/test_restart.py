"""A server that is killed and started again: no page misses an event or gets one twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.browser.page import DEADLINE_S, Page
from tests.browser.servers import kill, running
from tests.flasknado.live.helpers import LiveApp, make_app
from tests.support.poll import poll

OpenPage = Callable[[str], Page]

EVENT_SOURCE = """
window.seen = []; window.opened = 0;
const query = new URLSearchParams({ channel: "a", after: arguments[0] });
window.source = new EventSource(`/live/events?${query}`);
source.onopen = () => { window.opened += 1; };
source.addEventListener("note", (event) => {
  window.seen.push(JSON.parse(event.data).data);
  window.lastEventId = event.lastEventId;
});
source.addEventListener("reset", () => window.seen.push("reset"));
"""


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[LiveApp]:
    """Return an application on the server's database, in another process than the server."""
    live_app = make_app(tmp_path)
    yield live_app
    live_app.engine().dispose()


def test_every_transport_resumes_after_the_server_was_killed(
    tmp_path: Path, publisher: LiveApp, open_page: OpenPage
) -> None:
    cursor = publisher.cursor()
    with running(tmp_path) as server:
        port = server.port
        pages = [open_page(server.url).connect("a", after=cursor) for _ in range(2)]
        for kind in ("websocket", "sse", "poll"):
            page = open_page(server.url).connect("a", after=cursor, transports=[kind], share=False)
            pages.append(page.wait_until_open(kind))
        plain = open_page(server.url)
        plain.run(EVENT_SOURCE, cursor)
        for number in range(10):
            publisher.publish("a", data=number)
        for page in (*pages, plain):
            page.wait_for(list(range(10)))
        kill(server)

    # Nobody serves: the pages notice, and events are committed all the same.
    for page in pages:
        poll(lambda page=page: page.status["state"], lambda state: state != "open", DEADLINE_S)
    for number in range(10, 15):
        publisher.publish("a", data=number)

    with running(tmp_path, port):
        for number in range(15, 20):
            publisher.publish("a", data=number)
        for page in (*pages, plain):
            page.wait_for(list(range(20)))
        for page in pages:
            page.wait_until_open()
            assert page.read("resets") == []
        assert plain.read("lastEventId") == publisher.cursor()
        assert plain.read("opened") == 2


def test_pages_come_back_by_ticket_after_a_deploy(
    tmp_path: Path, publisher: LiveApp, open_page: OpenPage
) -> None:
    cursor = publisher.cursor()

    def asked() -> int:
        return len((tmp_path / "asked").read_text().splitlines())

    with running(tmp_path) as server:
        pages = [
            open_page(server.url)
            .connect("a", "b", after=cursor, transports=[kind], share=False)
            .wait_until_open(kind)
            for kind in ("websocket", "sse")
        ]
        publisher.publish("a", data=1)
        for page in pages:
            page.wait_for([1])
        assert asked() == 2 * len(pages)
        port = server.port
        server.stop()
    publisher.publish("b", data=2)
    with running(tmp_path, port):
        publisher.publish("a", data=3)
        for page in pages:
            page.wait_for([1, 2, 3])
            assert page.read("resets") == []
        assert asked() == 2 * len(pages)
