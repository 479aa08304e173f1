"""The examples in JavaScript of `docs/live.md`, in a browser, at the page's own application."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from tests.browser.page import DEADLINE_S, Page
from tests.docs.walkthrough import Walk, blocks, commands
from tests.support.poll import poll

OpenPage = Callable[[str], Page]

SHOWS = re.compile(r"^// shows: (.*)$", re.M)
ITEMS = "return [...document.querySelectorAll('li')].map((item) => item.textContent)"
RUN = """
window.shown = [];
window.show = (text) => window.shown.push(text);
const script = document.createElement("script");
script.type = "module";
script.textContent = arguments[0];
document.head.append(script);
"""


def test_page_of_the_example_updates_itself(tmp_path: Path, open_page: OpenPage) -> None:
    page = blocks("docs/live.md")
    application, serving, *others = page
    with Walk(tmp_path) as walk:
        walk.follow([application, serving])
        assert walk.server is not None
        first = open_page(walk.server.url)
        (publish, printed), *_ = [
            pair
            for block in others
            if block.language == "console"
            for pair in commands(block)
            if "-d title" in pair[0]
        ]
        walk.command(publish, printed)
        poll(lambda: first.run(ITEMS), ["Hello"].__eq__, DEADLINE_S)

        scripts = [block.text for block in page if block.language == "js"]
        assert len(scripts) >= 3
        for script in scripts:
            first.run(RUN, script)
            # What comes over different ways has no order between them.
            expected = sorted(SHOWS.findall(script))
            poll(lambda: sorted(first.read("shown")), expected.__eq__, DEADLINE_S)

        # The page's own script once more, with a cursor that is older than the rows.
        second = open_page(walk.server.url)
        own = second.run("return document.querySelector('script').textContent")
        cursor = first.run("return document.querySelector('ul').dataset.cursor")
        second.run("document.querySelector('ul').dataset.cursor = arguments[0]", cursor)
        second.run(RUN, own)
        walk.command(publish.replace("Hello", "More"), printed)
        # Added by the script twice, as it runs twice; what was on the page is not added again.
        poll(lambda: second.run(ITEMS), ["Hello", "More", "More"].__eq__, DEADLINE_S)
