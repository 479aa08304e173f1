"""Development mode in a real browser: pages reload by themselves, also once an error is mended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.browser.page import Page
from tests.support.poll import poll
from tests.support.process import server_process

APP = """
from flask import Flask, render_template

app = Flask(__name__)


@app.get("/")
def index():
    return render_template("index.html", text="first")


@app.after_request
def secure(response):
    response.headers["Content-Security-Policy"] = "default-src 'self'"
    return response
"""
TEMPLATE = '<!doctype html><link rel="stylesheet" href="/static/a.css"><p>{{ text }}</p>'


def test_page_reloads_for_templates_and_code_and_a_mended_error_and_not_for_styles(
    tmp_path: Path, open_page: Callable[[str], Page]
) -> None:
    for name, text in (("app.py", APP), ("templates/index.html", TEMPLATE), ("static/a.css", "")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with server_process(("-m", "flasknado", "--debug", "app:app"), cwd=tmp_path) as server:
        page = open_page(server.url)

        def shows(text: str) -> None:
            poll(lambda: page.run("return document.body.innerText"), lambda shown: text in shown)

        shows("first")
        poll(lambda: "GET / " in server.output)
        page.run("window.same = true")
        (tmp_path / "static" / "a.css").write_text("p { color: rgb(1, 2, 3) }")
        color = "return getComputedStyle(document.querySelector('p')).color"
        poll(lambda: page.run(color), lambda color: color == "rgb(1, 2, 3)")
        assert page.run("return window.same"), "styles are changed in place"

        (tmp_path / "templates" / "index.html").write_text(TEMPLATE.replace("</p>", " new</p>"))
        shows("first new")
        (tmp_path / "app.py").write_text(APP.replace("first", "second"))
        shows("second new")
        (tmp_path / "app.py").write_text(APP + "def broken(:")
        shows("SyntaxError")
        (tmp_path / "app.py").write_text(APP.replace("first", "mended"))
        shows("mended new")
