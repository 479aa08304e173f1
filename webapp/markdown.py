"""Posts' Markdown as HTML that is safe in a page: CommonMark, then an allow-list (nh3)."""

from __future__ import annotations

from html import unescape

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup

# Raw HTML in a post is shown as text. Images are not fetched from other sites, which would tell
# them who reads; their alternative text stays.
_renderer = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
_renderer.disable("image")

_TAGS = set(
    """a blockquote br code del em h1 h2 h3 h4 h5 h6 hr li ol p pre s strong
    table tbody td th thead tr ul""".split()  # noqa: SIM905
)
_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}}
_SCHEMES = {"http", "https", "mailto"}


def render(text: str) -> Markup:
    """Return the HTML of a post's body. May be called on any thread."""
    html = nh3.clean(
        _renderer.render(text),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes=_SCHEMES,
        link_rel="nofollow noopener ugc",
    )
    return Markup(html)


def excerpt(text: str, max_characters: int) -> str:
    """Return the beginning of a post's body as plain text on one line, cut at a word."""
    words = " ".join(unescape(nh3.clean(_renderer.render(text), tags=set())).split())
    if len(words) <= max_characters:
        return words
    cut = words[: max_characters - 1]
    return (cut.rpartition(" ")[0] or cut) + "…"
