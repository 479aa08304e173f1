"""`flasknado --debug`, as a developer meets it: one server for all of this file."""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.poll import poll
from tests.support.process import ServerProcess, server_process

APP = """
import os
import threading

from flask import Flask, render_template

app = Flask(__name__)
begun = threading.Event()


@app.get("/")
def index():
    return render_template("index.html", text="first", pid=os.getpid())


@app.get("/held")
def held():
    begun.set()
    while "second" not in open(__file__).read():
        threading.Event().wait(0.05)
    return "answered by the first"


@app.get("/begun")
def has_begun():
    return str(begun.is_set())


@app.get("/fail")
def fail():
    hidden = "<in the frame>"
    return hidden.nothing


@app.get("/stream-fails")
def stream_fails():
    def parts():
        raise ValueError("before its first part")
        yield ""

    return parts()


@app.get("/strict")
def strict():
    return "<!doctype html><p>strict", {"Content-Security-Policy": "script-src 'none'"}
"""
NATIVE = """
from tornado.web import RequestHandler


class Fails(RequestHandler):
    def get(self):
        raise ValueError("<native>")


class Page(RequestHandler):
    def get(self):
        self.write("<!doctype html><p>native")


routes = [("/native/fail", Fails), ("/native/page", Page)]
"""
TEMPLATE = (
    "<!doctype html><html><head><title>t</title></head><body>{{ text }} {{ pid }}</body></html>"
)
FILES = {
    "app.py": APP,
    "native.py": NATIVE,
    "templates/index.html": TEMPLATE,
    "static/page.css": "p {}",
}
BROWSER = {"Accept": "text/html,application/xhtml+xml", "Sec-Fetch-Dest": "document"}
SCRIPT = re.compile(
    r'<script type="module" src="(/-/debug/reload\.js)\?version=([0-9a-f]+)\.(\d+)">'
)
TIMEOUT_S = 30


class Project:
    """A folder with an application, and the server that develops it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server: ServerProcess

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def ask(self, path: str = "/", **headers: str) -> requests.Response:
        return requests.get(
            self.server.url + path, headers={**BROWSER, **headers}, timeout=TIMEOUT_S
        )

    def version(self) -> tuple[str, int]:
        """Return the worker's part of the page's version, and the number of its changes."""
        found = SCRIPT.search(self.ask().text)
        assert found is not None
        return found[2], int(found[3])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("project"))
    for name, text in FILES.items():
        project.write(name, text)
    command = ("-m", "flasknado", "--debug", "app:app", "--handlers", "native:routes")
    with server_process(command, cwd=project.folder) as project.server:
        yield project


@pytest.fixture
def project(running: Project) -> Iterator[Project]:
    """Return the project, which is as it was at the beginning when the test ends."""
    yield running
    for name, text in FILES.items():
        if (running.folder / name).read_text(encoding="utf-8") != text:
            running.write(name, text)
    poll(lambda: running.ask().text, lambda page: "<body>first" in page)


def test_page_has_the_script_and_keeps_its_length(project: Project) -> None:
    for path, body in (("/", "</html>"), ("/native/page", "<p>native")):
        answer = project.ask(path)
        script = SCRIPT.search(answer.text)
        assert script is not None, path
        assert answer.text.endswith(f"{body}{script[0]}</script>")
        assert int(answer.headers["Content-Length"]) == len(answer.content)
        assert project.ask(script[1]).headers["Content-Type"].startswith("text/javascript")


def test_what_is_no_page_or_fetched_by_a_script_stays_as_it_is(project: Project) -> None:
    assert "<script" not in project.ask("/static/page.css").text
    fetched = {"Sec-Fetch-Dest": "empty"}
    assert "<script" not in project.ask(**fetched).text


def test_policy_that_forbids_the_script_is_told_once_and_leaves_the_page(project: Project) -> None:
    for _ in range(2):
        assert project.ask("/strict").text == "<!doctype html><p>strict"
    project.server.wait_for_output(r"/strict cannot reload itself: .*script-src 'none'")
    assert project.server.output.count("cannot reload itself") == 1


def test_change_of_code_restarts_and_running_requests_are_answered(project: Project) -> None:
    answers: list[str] = []
    held = threading.Thread(target=lambda: answers.append(project.ask("/held").text))
    held.start()
    poll(lambda: project.ask("/begun").text, lambda text: "True" in text)
    worker, changes = project.version()
    with requests.get(
        f"{project.server.url}/-/debug/events", stream=True, timeout=TIMEOUT_S
    ) as events:
        lines = events.iter_lines(decode_unicode=True)
        assert next(line for line in lines if line.startswith("data:")) == (
            f"data: {worker}.{changes}"
        )
        project.write("app.py", APP.replace('text="first"', 'text="second"'))
        assert list(lines)[-1:] in ([], [""])  # browsers are told to come back
    poll(lambda: project.ask().text, lambda page: "<body>second" in page)
    held.join(TIMEOUT_S)
    assert [answer.partition("<script")[0] for answer in answers] == ["answered by the first"]
    assert project.version()[0] != worker
    project.server.wait_for_output(r"app\.py changed: restarting")


def test_change_of_a_template_reaches_browsers_without_a_restart(project: Project) -> None:
    worker, changes = project.version()
    with requests.get(
        f"{project.server.url}/-/debug/events", stream=True, timeout=TIMEOUT_S
    ) as events:
        data = (
            line.partition(": ")[2]
            for line in events.iter_lines(decode_unicode=True)
            if line.startswith("data:")
        )
        assert next(data) == f"{worker}.{changes}"
        project.write("templates/index.html", TEMPLATE.replace("<body>", "<body>first new "))
        assert next(data) == f"{worker}.{changes + 1}"
        assert "<body>first new " in project.ask().text
        project.write("static/page.css", "p { color: red }")
        assert next(data) == f'{{"version": "{worker}.{changes + 2}", "name": "page.css"}}'
    assert project.ask("/static/page.css").text == "p { color: red }"


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("def broken(: '<b>'", "SyntaxError"),
        ("import nowhere_at_all", "ModuleNotFoundError: No module named"),
    ],
)
def test_application_that_cannot_be_imported_is_a_page_until_it_is_mended(
    project: Project, line: str, error: str
) -> None:
    project.write("app.py", f"{APP}\n{line}\n")
    answer = poll(lambda: project.ask("/any/path"), lambda answer: error in answer.text)
    assert answer.status_code == 500
    shown, _, _ = answer.text.partition("<!--")  # where Werkzeug has it as it is
    assert html.escape(line, quote=False).split("'")[0] in shown
    assert "<b>" not in shown
    assert SCRIPT.search(answer.text), "the page reloads when the file is saved"
    text = project.ask("/", Accept="application/json")
    assert text.status_code == 500
    assert text.headers["Content-Type"].startswith("text/plain")
    assert error in text.text.splitlines()[-1]
    assert "flasknado" not in text.text
    project.server.wait_for_output(error)
    project.write("app.py", APP)
    poll(lambda: project.ask().text, lambda page: "<body>first" in page)


def test_debugger_looks_into_frames_for_who_knows_the_pin(project: Project) -> None:
    page = project.ask("/fail")
    assert page.status_code == 500
    assert "&#39;nothing&#39;" in page.text
    assert "EVALEX = true" in page.text
    assert "EVALEX_TRUSTED = false" in page.text
    secret = re.search(r'SECRET = "(\w+)"', page.text)
    frames = re.findall(r'id="frame-(\d+)"', page.text)
    assert secret is not None
    session = requests.Session()

    def debugger(**arguments: str) -> requests.Response:
        query = {"__debugger__": "yes", "s": secret[1], **arguments}
        return session.get(f"{project.server.url}/fail", params=query, timeout=TIMEOUT_S)

    look = {"cmd": "hidden[::-1]", "frm": frames[-1]}
    assert ">emarf eht ni<" not in html.unescape(debugger(**look).text)
    assert debugger(cmd="pinauth", pin="000-000-001").json()["auth"] is False
    pin = project.server.wait_for_output(r"The debugger's PIN: ([\d-]+)")[1]
    assert debugger(cmd="pinauth", pin=pin).json()["auth"] is True
    assert ">emarf eht ni<" in html.unescape(debugger(**look).text)


def test_error_before_the_first_part_of_a_stream_is_shown(project: Project) -> None:
    answer = project.ask("/stream-fails")
    assert answer.status_code == 500
    assert "before its first part" in answer.text
    assert "Werkzeug Debugger" in answer.text


def test_error_of_a_native_handler_is_a_page_or_text(project: Project) -> None:
    page = project.ask("/native/fail")
    assert page.status_code == 500
    assert "<h1>ValueError: &lt;native&gt;</h1>" in page.text
    assert SCRIPT.search(page.text)
    text = project.ask("/native/fail", Accept="*/*")
    assert text.headers["Content-Type"].startswith("text/plain")
    assert text.text.splitlines()[-1] == "ValueError: <native>"
    assert "tornado" not in text.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "rebound.example"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
        {"X-Real-IP": "127.0.0.1"},
        {"Via": "1.1 tunnel"},
        {"X-Forwarded-Host": "localhost"},
    ],
    ids=lambda headers: next(iter(headers)),
)
def test_who_comes_through_a_proxy_or_by_another_name_gets_no_traceback(
    project: Project, headers: dict[str, str]
) -> None:
    for path in ("/fail", "/native/fail"):
        answer = project.ask(path, **headers)
        assert answer.status_code == 500
        assert "Traceback" not in answer.text
        assert "EVALEX" not in answer.text
    assert project.ask("/console", **headers).status_code == 404
    resource = "/?__debugger__=yes&cmd=resource&f=debugger.js"
    assert "html" in project.ask(resource, **headers).headers["Content-Type"]


def test_each_request_has_a_line_in_the_terminal(project: Project) -> None:
    project.ask("/static/page.css?token=secret")
    project.server.wait_for_output(
        r"(?m)^\d\d:\d\d:\d\d 200 GET /static/page\.css\?token=\S+ \d+ ms$"
    )
    assert "secret" not in project.server.output
    assert "/-/debug/" not in project.server.output


PROGRAM = """
import names  # before the workers are forked, and so the same in all of them

import flasknado


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [names.NAME]


def build():
    return flasknado.HTTPServer(flasknado.WSGIContainer(application))


if __name__ == "__main__":
    flasknado.serve(build, debug=True)
"""


def test_command_begins_anew_when_what_it_has_loaded_itself_changes(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    names = tmp_path / "names.py"
    names.write_text("NAME = b'first'")
    with server_process(("program.py",), cwd=tmp_path) as server:

        def ask() -> str:
            return requests.get(server.url, timeout=TIMEOUT_S).text

        assert ask() == "first"
        names.write_text("NAME = b'second")
        server.wait_for_output(r"names\.py has changed, but cannot be loaded: unterminated string")
        assert ask() == "first"
        names.write_text("NAME = b'second'")
        poll(ask, lambda text: text == "second", 60)
        assert server.output.count(f"Listening at: {server.url} ({server.pid})") == 2
