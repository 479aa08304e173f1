"""HTML in events: what is rendered, and how each library gets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, session

from flasknado.live.errors import InvalidEvent
from flasknado.live.event import Cursor, Event, marked
from flasknado.live.formats import Format
from flasknado.live.html import (
    ACTIONS,
    SSE_FORMATS,
    WEBSOCKET_FORMATS,
    check_fragment,
    fragment_of,
)
from tests.flasknado.live.helpers import EventSourceParser, LiveApp, Message

LI = '<li id="n1">\n  one &lt;\n</li>'


def html_event(
    html: str = LI, action: str | None = "append", target: str | None = "notes"
) -> Event:
    data = json.dumps({"html": html, "action": action, "target": target}, ensure_ascii=False)
    return Event(7, "a", marked("note", html=True, by="b" * 16), data)


def block(wire_format: Format, event: Event) -> Message:
    """Return what an EventSource dispatches for an event."""
    parser = EventSourceParser()
    parser.feed(wire_format.event("e", event).decode())
    (message,) = parser.messages
    assert message.id == "e:7"
    return message


def frame_text(data: bytes) -> str:
    """Return the text of one frame of a server, of up to 64 KiB."""
    assert data[0] == 0x81
    return data[4 if data[1] == 126 else 2 :].decode()


MARKUP: dict[str, tuple[str, str]] = {
    "data": ("note", LI),
    "turbo": (
        "message",
        f'<turbo-stream action="append" target="notes"><template>{LI}</template></turbo-stream>',
    ),
    "htmx": ("message", f'<hx-partial hx-target="#notes" hx-swap="beforeend">{LI}</hx-partial>'),
    "htmx2": ("message", f'<div hx-swap-oob="beforeend:#notes">{LI}</div>'),
    "datastar": (
        "datastar-patch-elements",
        'selector #notes\nmode append\nelements <li id="n1">\nelements   one &lt;\nelements </li>',
    ),
}


@pytest.mark.parametrize("name", MARKUP)
def test_fragment_is_written_as_each_library_takes_it(name: str) -> None:
    event_name, markup = MARKUP[name]
    plain, chunked = SSE_FORMATS[name]
    message = block(plain, html_event())
    assert (message.event, message.data) == (event_name, markup)
    assert plain.event("e", html_event()) in chunked.event("e", html_event())
    if name in WEBSOCKET_FORMATS:
        assert frame_text(WEBSOCKET_FORMATS[name].event("e", html_event())) == markup


def test_json_clients_get_the_fragment_as_data() -> None:
    body = block(SSE_FORMATS["json"][0], html_event()).body
    assert body["event"] == "note"
    assert body["data"] == {"html": LI, "action": "append", "target": "notes"}
    assert body["by"] == "b" * 16


def test_fragment_of_comments_alone_is_looked_at_once() -> None:
    event = html_event(
        "<!---->" * 5000 + "x", "replace", "n1"
    )  # in all ways it would take for ever
    assert block(SSE_FORMATS["htmx2"][0], event).data.startswith(
        '<div hx-swap-oob="outerHTML:#n1">'
    )
    event = html_event("<!-- one --> <!-- two --><p>x</p>", "replace", "n1")
    assert "--><p hx-swap-oob=" in block(SSE_FORMATS["htmx2"][0], event).data


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_has_a_word_in_every_library(action: str) -> None:
    event = html_event("<p>x</p>", action, "n1")
    turbo = block(SSE_FORMATS["turbo"][0], event).data
    assert turbo.startswith(f'<turbo-stream action="{action}" target="n1">')
    assert ("<template>" in turbo) is (action != "remove")
    htmx = block(SSE_FORMATS["htmx"][0], event).data
    assert f'hx-swap="{ACTIONS[action].htmx}"' in htmx
    htmx2 = block(SSE_FORMATS["htmx2"][0], event).data
    assert f'hx-swap-oob="{ACTIONS[action].htmx}:#n1"' in htmx2
    # htmx 2 would put the element with the attribute in the place of one that is replaced.
    assert htmx2.startswith("<p hx-swap-oob" if action == "replace" else "<div hx-swap-oob")
    datastar = block(SSE_FORMATS["datastar"][0], event).data
    assert f"mode {ACTIONS[action].datastar}\n" in datastar + "\n"
    assert ("elements" in datastar) is (action != "remove")


@pytest.mark.parametrize("name", MARKUP)
def test_fragment_without_a_target_is_written_as_it_is(name: str) -> None:
    message = block(SSE_FORMATS[name][0], html_event("<p>x</p>", None, None))
    assert message.data == ("elements <p>x</p>" if name == "datastar" else "<p>x</p>")


EVIL = '<img src=x onerror=alert(1)><turbo-stream action="remove" target="notes"></turbo-stream>'


@pytest.mark.parametrize("name", MARKUP)
@pytest.mark.parametrize(
    "data", [{"html": EVIL, "action": "append", "target": "notes"}, EVIL, {"content": EVIL}]
)
def test_text_of_an_ordinary_event_never_becomes_markup(name: str, data: Any) -> None:
    """Whatever it looks like: who publishes data has not said that it is HTML."""
    event = Event(7, "a", "html", json.dumps(data))
    assert fragment_of(event) is None
    texts = [block(SSE_FORMATS[name][0], event).data]
    assert block(SSE_FORMATS[name][0], event).event == "html"
    if name in WEBSOCKET_FORMATS:
        texts.append(frame_text(WEBSOCKET_FORMATS[name].event("e", event)))
        texts.append(frame_text(WEBSOCKET_FORMATS[name].message(json.dumps({"data": EVIL}))))
    for text in texts:
        assert "<" not in text
    said = json.loads(texts[0])
    assert (said if name == "data" else said["data"]) == data


def test_loss_reloads_the_page_where_the_library_can() -> None:
    cursor = Cursor("e", 9)

    def message(name: str) -> Message:
        parser = EventSourceParser()
        parser.feed(SSE_FORMATS[name][0].reset(cursor).decode())
        assert parser.last_event_id == "e:9"
        return parser.messages[0]

    refresh = '<turbo-stream action="refresh"></turbo-stream>'
    assert (message("turbo").event, message("turbo").data) == ("message", refresh)
    assert frame_text(WEBSOCKET_FORMATS["turbo"].reset(cursor)) == refresh
    assert message("datastar").event == "datastar-patch-elements"
    assert "location.reload()" in message("datastar").data
    for name in ("data", "htmx", "htmx2"):
        assert message(name).event == "reset"
        assert json.loads(frame_text(WEBSOCKET_FORMATS[name].reset(cursor)))["event"] == "reset"


@pytest.mark.parametrize(
    ("action", "target", "message"),
    [
        ("append", None, "needs a target"),
        (None, "", "is not a target"),
        (None, "7up", "is not a target"),
        (None, 'x" onload="', "is not a target"),
        (None, "x" * 129, "is not a target"),
        ("explode", "x", "'explode' is not an action: use one of append, prepend"),
    ],
)
def test_fragment_for_nowhere_is_refused(
    action: str | None, target: str | None, message: str
) -> None:
    with pytest.raises(InvalidEvent, match=message):
        check_fragment("<p>", action, target)


@pytest.fixture
def templates(live_app: LiveApp) -> Flask:
    from jinja2 import DictLoader

    live_app.app.jinja_loader = DictLoader(
        {
            "note.html": "<li>{{ text }}{{ session.user }}{{ request.remote_addr }}</li>",
            "link.html": "{{ url_for('static', filename='a') }} {{ target }}",
            "tag.html": "{{ live.tag('user:ann') }}",
        }
    )
    return live_app.app


def test_fragment_is_rendered_as_nobody_in_the_transaction(
    live_app: LiveApp, templates: Flask
) -> None:

    @templates.teardown_request
    def end(error: BaseException | None) -> None:
        # As applications do: not to the session of whoever publishes.
        live_app.db.session.remove()

    @templates.post("/note")
    def write() -> str:
        session["user"] = "ann"
        live_app.db.session.add(live_app.Note(text="<b>"))
        live_app.live.render("a", "note.html", text="<b>", target="notes", action="append")
        live_app.db.session.commit()
        return "written"

    with live_app.live.capture() as events, templates.test_client() as client:
        assert client.post("/note", environ_base={"REMOTE_ADDR": "10.1.2.3"}).text == "written"
    (event,) = events
    assert (event.channel, event.name) == ("a", "html")
    html = "<li>&lt;b&gt;None</li>"  # neither user nor address
    assert json.loads(event.data) == {"html": html, "action": "append", "target": "notes"}
    with templates.app_context():
        assert live_app.db.session.query(live_app.Note).count() == 1


def test_rollback_takes_the_fragment_with_it(live_app: LiveApp, templates: Flask) -> None:
    with templates.app_context(), live_app.live.capture() as events:
        live_app.live.render("a", "note.html", text="x")
        live_app.db.session.rollback()
        live_app.live.render("a", None, target="n1", action="remove", event="gone")
        live_app.db.session.commit()
    assert [(e.name, json.loads(e.data)["action"]) for e in events] == [("gone", "remove")]


def test_paths_are_those_of_the_mount_and_never_of_the_client(
    make_live_app: Callable[..., LiveApp], live_app: LiveApp, templates: Flask
) -> None:
    @templates.post("/link")
    def link() -> str:
        live_app.live.render("a", "link.html", context={"target": "of the template"})
        live_app.db.session.commit()
        return ""

    with live_app.live.capture() as events, templates.test_client() as client:
        client.post("/link", environ_overrides={"SCRIPT_NAME": "/shop"}, headers={"Host": "evil"})
    assert json.loads(events[0].data)["html"] == "/shop/static/a of the template"


def test_long_name_leaves_no_room_for_what_is_noted_with_it() -> None:
    assert marked("n" * 110, html=True, by="b" * 16)
    with pytest.raises(InvalidEvent, match="may have at most 110 characters"):
        marked("n" * 111, html=True, by="b" * 16)
