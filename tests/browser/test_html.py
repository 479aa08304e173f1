"""Pages without JavaScript of their own: what is rendered appears in them, by each library."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from flask import render_template_string, request, send_file
from jinja2 import DictLoader
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.browser.page import Page
from tests.flasknado.live.helpers import LiveApp, make_app
from tests.support.poll import poll
from tests.support.process import PROJECT_ROOT, server_process
from tests.support.programs import missing
from tests.support.serving import Serving, serving

MODULES = PROJECT_ROOT / "tests" / "javascript" / "node_modules"
VENDORED = PROJECT_ROOT / "examples" / "static" / "htmx"

LIBRARIES = {
    "turbo": ["@hotwired/turbo/dist/turbo.es2017-umd.js"],
    "htmx": ["htmx.org/dist/htmx.js", "htmx.org/dist/ext/hx-sse.js", "htmx.org/dist/ext/hx-ws.js"],
    "htmx2": ["htmx2/dist/htmx.js", "htmx-ext-sse/dist/sse.js", "htmx-ext-ws/dist/ws.js"],
}
EVENTS = "/live/events?tag={{ live.tag('a') }}&after={{ after }}&format="
SOCKET = "/live/socket?channel=a&after={{ after }}&format="
STREAMS = {
    ("turbo", "sse"): f'<turbo-stream-source src="{EVENTS}turbo"></turbo-stream-source>',
    ("turbo", "websocket"): (
        f'<turbo-stream-source src="ws://{{{{ request.host }}}}{SOCKET}turbo">'
        "</turbo-stream-source>"
    ),
    ("htmx", "sse"): (
        f'<div id="stream" hx-sse:connect="{EVENTS}htmx"></div>'
        '<div hx-get="/again" hx-trigger="reset from:#stream" hx-target="#status"></div>'
    ),
    ("htmx", "websocket"): (
        f'<div hx-ws:connect="{SOCKET}htmx"><form hx-ws:send>'
        '<input name="text" value="hello"><button>Send</button></form></div>'
    ),
    ("htmx2", "sse"): (
        f'<div hx-ext="sse" sse-connect="{EVENTS}htmx2">'
        '<div sse-swap="message" hx-swap="none"></div></div>'
    ),
    ("htmx2", "websocket"): (
        f'<div hx-ext="ws" ws-connect="{SOCKET}htmx2"><form ws-send>'
        '<input name="text" value="hello"><button>Send</button></form></div>'
    ),
}
PAGE = """<!doctype html><html><head><title>Notes</title>
{% for script in scripts %}<script src="/library/{{ script }}"></script>{% endfor %}
</head><body><ul id="notes"><li id="first">first</li></ul><p id="status">none</p>
{{ stream | safe }}</body></html>"""
NOTE = '<li id="{{ id }}">{{ text }}</li>'


@pytest.fixture(scope="module")
def rendering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveApp, Serving]]:
    """Serve a page for each library and transport."""
    if not (MODULES / "htmx2").is_dir():
        missing("the libraries of the pages are missing: run npm ci in tests/javascript")
    live_app = make_app(tmp_path_factory.mktemp("html"))
    app = live_app.app
    app.jinja_loader = DictLoader({"note.html": NOTE})

    @app.get("/page/<library>/<transport>")
    def page(library: str, transport: str) -> str:
        after = request.args.get("after") or live_app.live.cursor()
        stream = render_template_string(STREAMS[library, transport], after=after)
        return render_template_string(PAGE, scripts=LIBRARIES[library], stream=stream)

    @app.get("/again")
    def again() -> str:
        return "read again"

    @app.get("/library/<path:name>")
    def library(name: str) -> Any:
        return send_file(MODULES / name, max_age=3600)

    @live_app.live.on_message("a")
    def take(channel: str, data: Any) -> None:
        live_app.live.render(
            channel, "note.html", target="notes", action="append", id="sent", **data
        )
        live_app.db.session.commit()

    with ExitStack() as stack:
        stack.callback(lambda: live_app.engine().dispose())
        yield live_app, stack.enter_context(serving(live_app.server))


def notes(page: Page) -> list[str]:
    script = "return [...document.querySelectorAll('#notes > li')].map((li) => li.textContent)"
    return list(page.run(script))


@pytest.mark.parametrize(("library", "transport"), STREAMS)
def test_page_follows_what_is_rendered(
    rendering: tuple[LiveApp, Serving],
    open_page: Callable[[str], Page],
    library: str,
    transport: str,
) -> None:
    live_app, served = rendering
    page = open_page(f"{served.url}/page/{library}/{transport}")
    page.run("window.notReloaded = true")

    def render(template: str | None, target: str, action: str, **values: Any) -> None:
        live_app.live.render("a", template, target=target, action=action, **values)

    evil = "<script>document.title = 'evil'</script>"
    with live_app.app.app_context():
        live_app.live.publish("a", "note", {"html": evil, "content": evil, "text": evil})
        render("note.html", "notes", "append", id="second", text=evil)
        render("note.html", "notes", "prepend", id="zeroth", text="zeroth")
        render("note.html", "second", "before", id="half", text="half")
        render("note.html", "second", "after", id="third", text="third")
        render("note.html", "third", "replace", id="third", text="last")
        render(None, "first", "remove")
        render("note.html", "status", "update", id="updated", text="updated")
        live_app.db.session.commit()
    poll(lambda: page.run("return document.getElementById('status').textContent"), "updated".__eq__)
    assert notes(page) == ["zeroth", "half", evil, "last"]
    if transport == "websocket" and library != "turbo":
        page.browser.find_element(By.TAG_NAME, "button").click()
        poll(lambda: notes(page)[-1], "hello".__eq__)
    assert page.run("return window.notReloaded") is True
    assert page.run("return document.title") == "Notes"


def test_page_of_turbo_reloads_where_events_were_lost(
    rendering: tuple[LiveApp, Serving], open_page: Callable[[str], Page]
) -> None:
    _, served = rendering
    page = open_page(f"{served.url}/page/turbo/sse")
    page.run("document.getElementById('status').textContent = 'stale'")
    stream = "/live/events?channel=a&format=turbo&after=another:1"
    script = "document.querySelector('turbo-stream-source').setAttribute('src', arguments[0]);"
    again = "document.body.append(document.querySelector('turbo-stream-source'))"
    page.run(script + again, stream)
    poll(lambda: page.run("return document.getElementById('status').textContent"), "none".__eq__)


def test_page_of_htmx_is_told_that_events_were_lost(
    rendering: tuple[LiveApp, Serving], open_page: Callable[[str], Page]
) -> None:
    _, served = rendering
    page = open_page(f"{served.url}/page/htmx/sse?after=another:1")
    status = "return document.getElementById('status').textContent"
    poll(lambda: page.run(status), "read again".__eq__)


def test_example_shows_notes_in_every_page(
    browser: webdriver.Chrome, open_page: Callable[[str], Page], tmp_path: Path
) -> None:
    command = ("-m", "flasknado.process.cli", "--bind", "127.0.0.1:0", "examples.live_html:app")
    env = {"DATABASE": str(tmp_path / "notes.db")}
    with server_process((*command, "--handlers", "flasknado.live:routes"), env=env) as server:
        reader, writer = open_page(server.url), open_page(server.url)
        reader.run("window.notReloaded = true")
        writer.run("document.querySelector('input').value = 'one <b> note'")
        writer.run("document.querySelector('form').submit()")
        poll(lambda: "one <b> note" in "".join(notes(reader)))
        reader.run("document.querySelector('li form').submit()")
        poll(lambda: notes(writer) == [])


def test_copies_beside_the_example_are_those_of_the_release() -> None:
    if not (MODULES / "htmx.org").is_dir():
        missing("the libraries of the pages are missing: run npm ci in tests/javascript")
    release = MODULES / "htmx.org" / "dist"
    for name, original in (("htmx.min.js", "htmx.min.js"), ("hx-sse.min.js", "ext/hx-sse.min.js")):
        text, _, _ = (release / original).read_text().partition("//# sourceMappingURL")
        assert (VENDORED / name).read_text().strip() == text.strip()
