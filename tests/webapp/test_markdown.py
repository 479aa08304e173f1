"""Posts' Markdown: what it becomes, and what never gets through."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.markdown import (
    _TAGS,
    MAX_DEPTH,
    MAX_HTML_CHARACTERS,
    TooMuchMarkupError,
    excerpt,
    render,
    render_any,
)


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("*a* **b** `c` ~~d~~", "<em>a</em> <strong>b</strong> <code>c</code> <s>d</s>"),
        ("# Title", "<h1>Title</h1>"),
        ("- a\n- b", "<li>a</li>"),
        ("3. a", '<ol start="3">'),
        ("> said", "<blockquote>"),
        ("a | b\n--|--\n1 | 2", "<td>1</td>"),
        ("```\n<b>\n```", "<pre><code>&lt;b&gt;"),
        ("[x](https://x.example)", 'href="https://x.example" rel="nofollow noopener ugc"'),
        ("[x](/post/1)", 'href="/post/1"'),
    ],
)
def test_markdown_becomes_html(text: str, html: str) -> None:
    assert html in render(text).html


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<a href='javascript:alert(1)'>x</a>",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "[x](vbscript:x)",
        "<javascript:alert(1)>",
        "![x](https://spy.example/x.png)",
        '[x](https://x.example "onmouseover=alert(1)")',
        "<style>body{display:none}</style>",
        "<iframe src=https://x.example></iframe>",
        "<form action=https://x.example><input>",
    ],
)
def test_markdown_lets_nothing_active_through(text: str) -> None:
    html = render(text).html.lower()

    for forbidden in ("<script", "<img", "<style", "<iframe", "<form", "<input", " onerror=x"):
        assert forbidden not in html
    assert 'href="javascript' not in html
    assert 'href="data' not in html
    assert 'href="vbscript' not in html


LENGTH = 20_000
COLUMNS = "|".join("a" * 100) + "\n" + "|".join("-" * 100) + "\n"
COSTLY = {
    "a table of empty cells": COLUMNS + "x\n" * 9_800,
    "a table in a quote": "> " + COLUMNS.replace("\n", "\n> ", 1) + "> x\n" * 4_800,
    "a table of emphases": "a|b\n-|-\n" + "*a*|`b`\n" * 2_400,
    "a list of many items": "- a\n" * 5_000,
    "many paragraphs": "a\n\n" * 6_600,
    "emphases in one another": "*" * 10_000 + "a" + "*" * 9_999,
    "emphases side by side": "_a_ *b* " * 2_500,
    "a long link with a short name": f"[a]: https://x.example/{'y' * 9_900}\n\n{'[a]' * 3_350}",
    "a long title with a short name": f'[a]: /x "{"y" * 9_900}"\n\n{"[a]" * 3_350}',
}


@pytest.mark.parametrize("text", COSTLY.values(), ids=COSTLY)
def test_markdown_that_costs_too_much_is_refused_soon(text: str) -> None:
    assert len(text) <= LENGTH
    started = time.thread_time()

    with pytest.raises(TooMuchMarkupError, match=r"^A post has .*\.$"):
        render(text)

    assert time.thread_time() - started < 5


@pytest.mark.parametrize(
    "mark", [">", "> ", "[", "]", "*", "**x", "a**b", "~~a", "- ", "> - ", "<", "<a ", "&", '"']
)
@pytest.mark.parametrize("unit", ["{}", "{}[a](", "{}`", "{}\n", "[a]({})"])
def test_markdown_of_hostile_nesting_is_bounded_or_refused(mark: str, unit: str) -> None:
    text = (unit.format(mark) * LENGTH)[:LENGTH]
    started = time.thread_time()

    try:
        html = render(text).html
    except TooMuchMarkupError:
        html = render_any(text)

    assert time.thread_time() - started < 5
    assert 0 < len(html) <= MAX_HTML_CHARACTERS
    assert depth_of(html) <= MAX_DEPTH


@given(st.lists(st.sampled_from([*'*_~`[]()<>#-|!&\\"\n 1.ax', "[a]: /x\n", "|-|-|\n"])))
def test_markdown_of_anything_is_bounded_and_safe(pieces: list[str]) -> None:
    html = render_any("".join(pieces))

    assert len(html) <= MAX_HTML_CHARACTERS
    assert depth_of(html) <= MAX_DEPTH
    assert set(re.findall(r"</?([a-z0-9]+)", html)) <= _TAGS


def test_markdown_of_an_ordinary_long_post_is_within_the_budget() -> None:
    section = (
        "## A heading\n\nSome *words* of a [post](https://x.example/page) with `code`.\n\n"
        "- one\n- two\n  1. three\n\n> said\n\na | b | c\n--|---|--\n1 | 2 | 3\n4 | 5 | 6\n\n"
    )

    assert render((section * 200)[:LENGTH]).html.count("<table>") > 100


def depth_of(html: str) -> int:
    """Return how many elements are inside one another at the most."""
    deepest = depth = 0
    for closing, name in re.findall(r"<(/?)([a-z0-9]+)", html):
        if name not in ("br", "hr"):
            depth += -1 if closing else 1
            deepest = max(deepest, depth)
    return deepest


def test_excerpt_is_plain_text_on_one_line() -> None:
    words = render("# Title\n\n*a* & `<b>`\n\n- c").words

    assert words == "Title a & <b> c"
    assert excerpt(words, 50) == words


@pytest.mark.parametrize("length", [10, 11, 280])
def test_excerpt_is_cut_at_a_word(length: int) -> None:
    cut = excerpt("word " * 200, length)

    assert len(cut) <= length
    assert cut.endswith("word…")


def test_excerpt_of_one_long_word_is_cut_in_it() -> None:
    assert excerpt("x" * 500, 10) == "x" * 9 + "…"
