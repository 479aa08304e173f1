"""HTML in events, and how the libraries that put it into a page want it written. Pure.

An event with HTML has as data `{"html", "action", "target"}`: a fragment, and what to do with the
element of that id. Only `Live.render` makes one, which its stored name shows: what an application
publishes otherwise may be anybody's text, and never becomes markup here.

Formats: `data` (the HTML, or the JSON data, alone), `turbo` (Turbo Streams), `htmx` (htmx 4),
`htmx2` (htmx 2 with its extensions) and `datastar`. Whatever is not HTML is JSON in all of them,
with `<` escaped, so that a library that takes it for markup finds none.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Final, NamedTuple

from flasknado.live.errors import InvalidEvent
from flasknado.live.event import BY, HTML, Cursor, Event, shown_name
from flasknado.live.formats import (
    SSE,
    SSE_CHUNKED,
    WEBSOCKET,
    Chunked,
    Format,
    Sse,
    WebSocket,
    json_control,
    json_event,
    sse_block,
)
from flasknado.websocket import codec

MAX_TARGET_CHARS = 128
_TARGET = re.compile(r"[A-Za-z][A-Za-z0-9_-]*\Z")
_FIRST_TAG = re.compile(r"\A\s*+(?>(?><!--.*?-->)\s*+)*+<[A-Za-z][^\s/>]*", re.S)


class _Swap(NamedTuple):
    """One action, in the words of htmx and of Datastar."""

    htmx: str
    datastar: str


ACTIONS: Final = {
    "append": _Swap("beforeend", "append"),
    "prepend": _Swap("afterbegin", "prepend"),
    "before": _Swap("beforebegin", "before"),
    "after": _Swap("afterend", "after"),
    "replace": _Swap("outerHTML", "replace"),
    "update": _Swap("innerHTML", "inner"),
    "remove": _Swap("delete", "remove"),
}
"""What can be done with a target: the words of Turbo."""


class Fragment(NamedTuple):
    """What an event with HTML says. Without a target the fragment itself says where it goes."""

    html: str
    action: str | None
    target: str | None


def check_fragment(html: str, action: str | None, target: str | None) -> Fragment:
    """Return a fragment; raises `InvalidEvent` for an action or target that is none."""
    if target is None:
        if action is not None:
            raise InvalidEvent(f"the action {action!r} needs a target: the id of an element")
        return Fragment(html, None, None)
    if len(target) > MAX_TARGET_CHARS or _TARGET.match(target) is None:
        raise InvalidEvent(
            f"{target[:80]!a} is not a target: use the id of an element, of up to "
            f"{MAX_TARGET_CHARS} ASCII letters, digits, _ and -, beginning with a letter"
        )
    action = action or "replace"
    if action not in ACTIONS:
        raise InvalidEvent(f"{action!r} is not an action: use one of {', '.join(ACTIONS)}")
    return Fragment(html, action, target)


def fragment_of(event: Event) -> Fragment | None:
    """Return the HTML of an event that `Live.render` has published."""
    if not event.name.partition(BY)[0].endswith(HTML):
        return None
    said = json.loads(event.data)
    return Fragment(said["html"], said["action"], said["target"])


class Dialect(ABC):
    """How one library wants HTML. Stateless; one instance each."""

    __slots__ = ()

    @abstractmethod
    def markup(self, fragment: Fragment) -> str:
        """Return a fragment as the library takes it."""

    def sse(self, event_id: str, event: Event, fragment: Fragment) -> bytes:  # noqa: ARG002
        """Return a fragment as a block of an event stream."""
        return sse_block(event_id=event_id, data=self.markup(fragment))

    def reset(self) -> str | None:
        """Return what reloads the page, where the library can do that."""
        return None


class Plain(Dialect):
    """The HTML alone, under the name of its event."""

    __slots__ = ()

    def markup(self, fragment: Fragment) -> str:
        return fragment.html

    def sse(self, event_id: str, event: Event, fragment: Fragment) -> bytes:
        return sse_block(event_id=event_id, event=shown_name(event), data=fragment.html)


class Turbo(Dialect):
    """Turbo Streams (handbook, "Come Alive with Turbo Streams")."""

    __slots__ = ()

    def markup(self, fragment: Fragment) -> str:
        if fragment.target is None:
            return fragment.html
        opening = f'<turbo-stream action="{fragment.action}" target="{fragment.target}">'
        if fragment.action == "remove":
            return f"{opening}</turbo-stream>"
        return f"{opening}<template>{fragment.html}</template></turbo-stream>"

    def reset(self) -> str:
        return '<turbo-stream action="refresh"></turbo-stream>'


class Htmx(Dialect):
    """htmx 4: `<hx-partial>`."""

    __slots__ = ()

    def markup(self, fragment: Fragment) -> str:
        if fragment.target is None or fragment.action is None:
            return fragment.html
        swap = ACTIONS[fragment.action].htmx
        html = fragment.html
        return f'<hx-partial hx-target="#{fragment.target}" hx-swap="{swap}">{html}</hx-partial>'


class Htmx2(Dialect):
    """htmx 2: out-of-band swaps.

    What replaces an element must be one element itself, which gets the attribute; for the
    other actions htmx takes the children of the element with the attribute.
    """

    __slots__ = ()

    def markup(self, fragment: Fragment) -> str:
        html = fragment.html
        if fragment.target is None or fragment.action is None:
            return html
        oob = f'hx-swap-oob="{ACTIONS[fragment.action].htmx}:#{fragment.target}"'
        if fragment.action == "replace":
            first = _FIRST_TAG.match(html)
            if first is not None:
                return f"{html[: first.end()]} {oob}{html[first.end() :]}"
        return f"<div {oob}>{html}</div>"


class Datastar(Dialect):
    """Datastar 1: `datastar-patch-elements`, of event streams only."""

    __slots__ = ()

    def markup(self, fragment: Fragment) -> str:
        lines: list[str] = []
        if fragment.target is not None and fragment.action is not None:
            mode = ACTIONS[fragment.action].datastar
            lines += [f"selector #{fragment.target}", f"mode {mode}"]
        if fragment.action != "remove":
            lines += [f"elements {line}" for line in re.split("\r\n|\r|\n", fragment.html)]
        return "\n".join(lines)

    def sse(self, event_id: str, event: Event, fragment: Fragment) -> bytes:  # noqa: ARG002
        data = self.markup(fragment)
        return sse_block(event_id=event_id, event="datastar-patch-elements", data=data)

    def reset(self) -> str:
        script = '<script data-effect="el.remove()">location.reload()</script>'
        return f"selector body\nmode append\nelements {script}"


class HtmlSse(Sse):
    """Server-sent events with HTML for one library, without a name; others are named, and JSON."""

    __slots__ = ("_dialect",)

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    def event(self, epoch: str, event: Event) -> bytes:
        event_id = f"{epoch}:{event.offset}"
        fragment = fragment_of(event)
        if fragment is not None:
            return self._dialect.sse(event_id, event, fragment)
        if isinstance(self._dialect, Plain):
            data = event.data
        else:
            data = json_event(epoch, event).decode()
        return sse_block(event_id=event_id, event=shown_name(event), data=_without_markup(data))

    def reset(self, cursor: Cursor) -> bytes:
        text = self._dialect.reset()
        if text is None:
            return super().reset(cursor)
        name = "datastar-patch-elements" if isinstance(self._dialect, Datastar) else None
        return sse_block(event_id=str(cursor), event=name, data=text)


class HtmlWebSocket(WebSocket):
    """Text messages with HTML for one library; everything else is JSON."""

    takes_forms = True

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    def event(self, epoch: str, event: Event) -> bytes:
        fragment = fragment_of(event)
        if fragment is not None:
            text = self._dialect.markup(fragment)
        elif isinstance(self._dialect, Plain):
            text = _without_markup(event.data)
        else:
            text = _without_markup(json_event(epoch, event).decode())
        return codec.frame(codec.TEXT, text.encode())

    def reset(self, cursor: Cursor) -> bytes:
        text = self._dialect.reset() or json_control("reset", cursor).decode()
        return codec.frame(codec.TEXT, text.encode())

    def message(self, text: str) -> bytes:
        return super().message(_without_markup(text))


def _without_markup(text: str) -> str:
    """Return the same JSON without `<`, which it has in strings only."""
    return text.replace("<", "\\u003c")


_DIALECTS: Final[dict[str, Dialect]] = {
    "data": Plain(),
    "turbo": Turbo(),
    "htmx": Htmx(),
    "htmx2": Htmx2(),
    "datastar": Datastar(),
}

_HTML_SSE: Final = {name: HtmlSse(dialect) for name, dialect in _DIALECTS.items()}

SSE_FORMATS: Final[dict[str, tuple[Format, Format]]] = {
    "json": (SSE, SSE_CHUNKED),
    **{name: (plain, Chunked(plain)) for name, plain in _HTML_SSE.items()},
}
"""The formats of an event stream, each plain and chunked."""

WEBSOCKET_FORMATS: Final[dict[str, WebSocket]] = {
    "json": WEBSOCKET,
    **{n: HtmlWebSocket(dialect) for n, dialect in _DIALECTS.items() if n != "datastar"},
}


def check_format(name: str, formats: Mapping[str, object]) -> str:
    """Return the name of a format; raises `InvalidEvent` if there is none of that name."""
    if name not in formats:
        raise InvalidEvent(f"there is no format {name[:80]!a}: use one of {', '.join(formats)}")
    return name
