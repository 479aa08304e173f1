"""The examples in JavaScript of `docs/live.md`, in a browser, at the page's own application."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from tests.browser.page import DEADLINE_S, Page
from tests.docs.examples import EPOCH, commands, curl, examples, running_shop
from tests.support.poll import poll

OpenPage = Callable[[str], Page]

SHOWS = re.compile(r"^// shows: (.*)$", re.M)
RUN = """
window.shown = [];
window.show = (text) => window.shown.push(text);
const script = document.createElement("script");
script.type = "module";
script.textContent = arguments[0];
document.head.append(script);
"""


def test_page_of_the_example_updates_itself(tmp_path: Path, open_page: OpenPage) -> None:
    with running_shop(tmp_path) as server:
        page = open_page(server.url)
        [(publish, _)] = [
            pair
            for example in examples()
            if example.language == "console"
            for pair in commands(example)
            if "-d title" in pair[0]
        ]
        curl(server, publish, 1, tmp_path)
        items = "return [...document.querySelectorAll('li')].map((item) => item.textContent)"
        poll(lambda: page.run(items), ["post.created: Hello"].__eq__, DEADLINE_S)
        assert page.run("return document.querySelector('ul').dataset.cursor") == f"{EPOCH}:0"

        scripts = [example.text for example in examples() if example.language == "js"]
        assert len(scripts) >= 3
        for script in scripts:
            page.run(RUN, script)
            # What comes over different ways has no order between them.
            expected = sorted(SHOWS.findall(script))
            poll(lambda: sorted(page.read("shown")), expected.__eq__, DEADLINE_S)
