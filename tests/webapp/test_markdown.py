"""Posts' Markdown: what it becomes, and what never gets through."""

from __future__ import annotations

import time

import pytest

from webapp.markdown import excerpt, render


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
    assert html in render(text)


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
    html = render(text).lower()

    for forbidden in ("<script", "<img", "<style", "<iframe", "<form", "<input", " onerror=x"):
        assert forbidden not in html
    assert 'href="javascript' not in html
    assert 'href="data' not in html
    assert 'href="vbscript' not in html


@pytest.mark.parametrize("mark", [">", "[", "*", "- ", "<", "&", "**x", "[a]("])
def test_markdown_of_hostile_nesting_is_rendered_soon(mark: str) -> None:
    started = time.perf_counter()

    assert render(mark * (20_000 // len(mark)))

    assert time.perf_counter() - started < 5


def test_excerpt_is_plain_text_on_one_line() -> None:
    assert excerpt("# Title\n\n*a* & `<b>`\n\n- c", 50) == "Title a & <b> c"


@pytest.mark.parametrize("length", [10, 11, 280])
def test_excerpt_is_cut_at_a_word(length: int) -> None:
    cut = excerpt("word " * 200, length)

    assert len(cut) <= length
    assert cut.endswith("word…")


def test_excerpt_of_one_long_word_is_cut_in_it() -> None:
    assert excerpt("x" * 500, 10) == "x" * 9 + "…"
