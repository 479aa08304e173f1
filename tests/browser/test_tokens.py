"""The example of a token stream in a browser: reloaded, in two tabs, stopped, and killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.browser.page import Page
from tests.support.poll import poll
from tests.support.process import ServerProcess, server_process

OpenPage = Callable[[str], Page]

ASK = """
document.querySelector("[name=prompt]").value = arguments[0];
document.querySelector("#ask button").click();
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    arguments = ("-m", "flasknado", "--bind", "127.0.0.1:0", "--graceful-timeout", "2")
    env = {
        "DATABASE": str(tmp_path_factory.mktemp("tokens") / "tokens.db"),
        "SECRET_KEY": "of a test",
        "FLASK_LIVE_RUN_LOST_AFTER_S": "1",
        "FLASK_LIVE_RETRY_S": "0.1",
    }
    application = ("examples.tokens:app", "--handlers", "flasknado.live:routes")
    with server_process((*arguments, *application), env=env) as server:
        yield server


def text(page: Page, name: str) -> str:
    return str(page.run(f"return document.getElementById('{name}').textContent"))


def test_answer_goes_on_after_a_reload_and_another_tab_sees_the_same(
    server: ServerProcess, open_page: OpenPage
) -> None:
    page = open_page(server.url)
    poll(lambda: page.run("return events.readyState"), lambda state: state == 1)
    page.run(ASK, "why?")
    poll(lambda: text(page, "answer"), lambda answer: answer.startswith("You asked: "))
    page.browser.refresh()
    whole = "You asked: why? And this is the answer, word by word. "
    began = text(page, "answer")
    assert whole.startswith(began)
    assert began != whole
    other = open_page(server.url)
    for tab in (page, other):
        poll(lambda tab=tab: text(tab, "state"), lambda state: state == "finished")
        assert text(tab, "answer") == whole


def test_answer_is_stopped_by_its_client(server: ServerProcess, open_page: OpenPage) -> None:
    page = open_page(server.url)
    poll(lambda: page.run("return events.readyState"), lambda state: state == 1)
    page.run(ASK, "how long? " * 100)
    poll(lambda: text(page, "answer"), lambda answer: "long" in answer)
    page.run("document.getElementById('stop').click()")
    poll(lambda: text(page, "state"), lambda state: state == "stopped")
    answer = text(page, "answer")
    assert not answer.endswith("word by word. ")
    assert page.run("return document.getElementById('stop').hidden")


def test_answer_of_a_killed_worker_is_said_to_be_interrupted(
    server: ServerProcess, open_page: OpenPage
) -> None:
    page = open_page(server.url)
    poll(lambda: page.run("return events.readyState"), lambda state: state == 1)
    page.run(ASK, "how long? " * 100)
    poll(lambda: text(page, "answer"), lambda answer: "long" in answer)
    path = Path(f"/proc/{server.pid}/task/{server.pid}/children")
    (worker,) = path.read_text().split()
    os.kill(int(worker), signal.SIGKILL)
    poll(
        lambda: text(page, "state"),
        lambda state: state == "the server that ran it has stopped",
    )
    page.run(ASK, "and now?")
    poll(lambda: text(page, "state"), lambda state: state == "finished")
    assert text(page, "answer").startswith("You asked: and now?")
