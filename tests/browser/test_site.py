"""The bundled application's pages use live.js: they update themselves in every tab."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.browser.page import DEADLINE_S, Page
from tests.support.person import Person
from tests.support.poll import poll
from tests.support.process import ServerProcess, server_process

OpenPage = Callable[[str], Page]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    env = {
        "DATABASE_URL": f"sqlite:///{tmp_path}/app.db",
        "SECRET_KEY": "a-secret-for-tests-that-is-long-enough-to-pass",
    }
    with server_process(env=env) as server:
        yield server


def text_of(page: Page, selector: str) -> list[str]:
    """Return the texts of the elements that a selector finds."""
    script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent.trim())"
    texts: list[str] = page.run(script, selector)
    return texts


def test_timeline_and_post_update_themselves_in_every_tab(
    server: ServerProcess, open_page: OpenPage
) -> None:
    ann = Person(server.url, "ann")
    ann.register()
    ann.write("First")
    timelines = [open_page(server.url) for _ in range(2)]
    posts = [open_page(f"{server.url}/post/1") for _ in range(2)]
    for page in (*timelines, *posts):
        poll(lambda page=page: text_of(page, "[data-live-status]"), ["Live"].__eq__, DEADLINE_S)
        page.run("window.notReloaded = true")

    ann.write("<b>Second</b>")
    answer = ann.session.post(
        f"{server.url}/api/v1/posts/1/comments",
        json={"body": "<i>well</i>"},
        headers=ann.token(),
        timeout=DEADLINE_S,
    )
    assert answer.status_code == 201, answer.text

    for page in timelines:
        poll(lambda page=page: text_of(page, "[data-pill]"), ["Show 1 new post"].__eq__)
        page.run("document.querySelector('[data-pill]').click()")
        assert text_of(page, ".card h2") == ["<b>Second</b>", "First"]
    for page in posts:
        poll(lambda page=page: text_of(page, ".comment-body"), ["<i>well</i>"].__eq__)
    for page in (*timelines, *posts):
        assert page.read("notReloaded") is True
        log = [entry for entry in page.browser.get_log("browser") if server.url in entry["message"]]
        assert [entry for entry in log if entry["level"] == "SEVERE"] == []


def test_page_without_its_script_is_a_page(server: ServerProcess) -> None:
    ann = Person(server.url, "ann")
    ann.register()
    ann.write("First")
    page = ann.get("/").text
    assert "First" in page
    assert 'rel="modulepreload" href="/live/live.js"' in page
    assert ann.get("/live/live.js").status_code == 200
