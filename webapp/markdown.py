"""Posts' Markdown as HTML that is safe in a page: CommonMark, then an allow-list (nh3).

It is rendered when a post is written, not when it is read. A few characters may ask for much:
a cell for each column of each row of a table, or a long address wherever a short name of it
stands. So there is a budget for elements, nesting and length, and what exceeds it is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from html import escape, unescape
from typing import NamedTuple

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

MAX_TOKENS = 20_000
"""Beginnings, ends and texts of elements; an ordinary post of the full length has hundreds."""
MAX_DEPTH = 40
"""Elements inside one another; quotes and lists alone are cut at 20."""
MAX_HTML_CHARACTERS = 200_000

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
_TOKEN_CHARACTERS = 8  # of a tag, at the least


class TooMuchMarkupError(ValueError):
    """A text's Markdown is over the budget; one sentence for its author."""


class Rendered(NamedTuple):
    """What becomes of a text."""

    html: str
    """Safe in a page; at most `MAX_HTML_CHARACTERS`."""
    words: str
    """The same as plain text on one line."""


# The rule for what may be written and the post that keeps it ask for the same text in turn.
@lru_cache(maxsize=4)
def render(text: str) -> Rendered:
    """Return the HTML and the words of a post's body. May be called on any thread.

    Raises:
        TooMuchMarkupError: it would cost too much to make, to keep or to show.
    """
    tokens = _parse(text)
    _check_size(tokens)
    html = nh3.clean(
        _renderer.renderer.render(tokens, _renderer.options, {}),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes=_SCHEMES,
        link_rel="nofollow noopener ugc",
    )
    if len(html) > MAX_HTML_CHARACTERS:
        raise _too_long()
    return Rendered(html, " ".join(unescape(nh3.clean(html, tags=set())).split()))


def render_any(text: str) -> str:
    """Return the HTML of a text from before the budget: without its markup if it exceeds that."""
    try:
        return render(text).html
    except TooMuchMarkupError:
        return f"<pre>{escape(text, quote=False)}</pre>"


def render_any_words(text: str) -> str:
    """Return the words of a text on one line; of one over the budget, the text as it is."""
    try:
        return render(text).words
    except TooMuchMarkupError:
        return " ".join(text.split())


def excerpt(words: str, max_characters: int) -> str:
    """Return the beginning of a text that is on one line, cut at a word."""
    if len(words) <= max_characters:
        return words
    cut = words[: max_characters - 1]
    return (cut.rpartition(" ")[0] or cut) + "…"


class _Tokens(list[Token]):
    """The parser's output, which stops it at the budget: a table's cells come all at once."""

    def append(self, token: Token) -> None:
        if len(self) == MAX_TOKENS:
            raise _too_many()
        super().append(token)


def _parse(text: str) -> list[Token]:
    state = StateCore(text, _renderer, {})
    state.tokens = _Tokens()
    _renderer.core.process(state)
    return state.tokens


def _check_size(tokens: Sequence[Token]) -> None:
    """Measure the HTML before it is made: here a link's address costs nothing yet."""
    count = depth = size = 0
    for block in tokens:
        for token in (block, *(block.children or ())):
            count += 1
            depth += token.nesting
            size += _TOKEN_CHARACTERS + len(token.content) * (token.type != "inline")
            size += sum(len(str(value)) for value in token.attrs.values())
            if depth > MAX_DEPTH:
                raise TooMuchMarkupError(
                    f"A post has at most {MAX_DEPTH} quotes, lists and emphases inside one another:"
                    " take some of them away."
                )
    if count > MAX_TOKENS:
        raise _too_many()
    if size > MAX_HTML_CHARACTERS:
        raise _too_long()


def _too_many() -> TooMuchMarkupError:
    return TooMuchMarkupError(
        "A post has a limited number of table cells, list items, emphases and links; this one has"
        " too many: shorten its tables and lists, or make two posts of it."
    )


def _too_long() -> TooMuchMarkupError:
    return TooMuchMarkupError(
        f"A post has at most {MAX_HTML_CHARACTERS} characters as a page, with its links written"
        " out; this one has more: shorten its links, or make two posts of it."
    )
