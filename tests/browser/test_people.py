"""People at the bundled application: each journey in real windows, without a word in the console.

Two windows (two people) and one server serve all of them; one journey restarts it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from selenium import webdriver
from selenium.common.exceptions import JavascriptException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from config import Settings
from tests.browser.screenshots import picture
from tests.live_server.test_browser import open_browser
from tests.support.poll import poll
from tests.support.process import PROJECT_ROOT, ServerProcess, server_process
from tests.support.programs import need
from webapp import create_app, demo
from webapp.database import migrate_if_needed
from webapp.extensions import db
from webapp.models import ADMIN, User

DEADLINE_S = 30.0
PASSWORD = "flasknado-demo"
AXE = PROJECT_ROOT / "tests" / "javascript" / "node_modules" / "axe-core" / "axe.min.js"
LEFT_EARLY = "WebSocket is closed before the connection is established"
"""What Chromium says of a page that is left while it connects."""
ACCESSIBLE = (
    "/",
    "/post/2",
    "/grace",
    "/write",
    "/post/1/edit",
    "/search?q=two",
    "/notifications",
    "/account",
    "/account/profile",
    "/account/sessions",
    "/account/tokens",
    "/admin",
    "/admin/content",
    "/chat",
    "/pulse",
    "/api/docs",
    "/nothing/here",
)


_AXE_RUN = """
const [rules, done] = arguments;
axe.run(rules ? { runOnly: rules } : {}).then(({ violations }) => done(violations.map(
  ({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`)));
"""


class Window:
    """A browser window of one person."""

    def __init__(self, browser: webdriver.Chrome, url: str, name: str) -> None:
        self.browser, self.url, self.name = browser, url, name
        self.expected: tuple[str, ...] = ()
        """Parts of what Chromium itself says of answers that a journey is about."""

    def open(self, path: str) -> Window:
        self.browser.get(self.url + path)
        return self

    def open_live(self, path: str) -> Window:
        self.open(path)
        self.wait_for_state("Live")
        return self

    def find(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.browser.execute_script(script, *arguments)

    def text(self, selector: str) -> str:
        script = "return document.querySelector(arguments[0])?.textContent.trim() ?? ''"
        try:
            return str(self.run(script, selector))
        except JavascriptException:
            return ""  # between two pages

    def wait_for(self, selector: str, part: str) -> None:
        poll(lambda: self.text(selector), lambda text: part in text, DEADLINE_S)

    def wait_for_state(self, state: str) -> None:
        poll(lambda: self.text("[data-live-status]"), state.__eq__, DEADLINE_S)

    def wait_for_path(self, path: str) -> None:
        poll(lambda: self.run("return location.pathname"), path.__eq__, DEADLINE_S)

    def type(self, **fields: str) -> None:
        """Type into fields of the page's form, instead of what is in them."""
        for name, text in fields.items():
            field = self.find(f"main [name={name}]")
            field.clear()
            field.send_keys(text)

    def press(self, label: str) -> None:
        path = f"//main//button[normalize-space()='{label}']"
        self.browser.find_element(By.XPATH, path).click()

    def log_in(self) -> Window:
        self.browser.delete_all_cookies()
        self.open("/login")
        self.type(username=self.name, password=PASSWORD)
        self.press("Log in")
        self.wait_for_path("/")
        return self

    def log_out(self) -> None:
        self.find("header form:not([role]) button").click()

    def complaints(self) -> list[str]:
        """Return what the console has got since the last time, but for what is expected."""
        log = [entry["message"] for entry in self.browser.get_log("browser")]
        expected = (*self.expected, LEFT_EARLY)
        return [line for line in log if not any(part in line for part in expected)]

    def write(self, title: str, body: str) -> str:
        """Publish a post and return its path."""
        self.open("/write")
        self.type(title=title, body=body)
        self.press("Publish")
        poll(lambda: self.text("h1"), title.__eq__, DEADLINE_S)
        return str(self.run("return location.pathname"))


class House:
    """The server, which may be ended and started again at the same place, and two people."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.env = {
            "DATABASE_URL": f"sqlite:///{folder}/app.db",
            "UPLOAD_DIR": f"{folder}/uploads",
            "SECRET_KEY": "a-secret-for-tests-that-is-long-enough-to-pass",
        }
        self._folder, self._stack = folder, stack
        settings = Settings(**{name.lower(): value for name, value in self.env.items()})
        app = create_app(settings)
        migrate_if_needed(app)
        with app.app_context():
            demo.add()
            db.session.query(User).filter_by(username="ada").update({"role": ADMIN})
            db.session.commit()
            db.engine.dispose()
        self.server: ServerProcess
        self.start()
        self.ada, self.grace = self._window("ada"), self._window("grace")

    def start(self) -> None:
        self._server = ExitStack()
        self.server = self._server.enter_context(server_process(env=self.env))
        self.env["PORT"] = str(self.server.port)

    def stop(self) -> None:
        self._server.close()

    def _window(self, name: str) -> Window:
        browser = open_browser(self._folder / name)
        self._stack.callback(browser.quit)
        return Window(browser, self.server.url, name).log_in()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    need("chromium")
    need("chromedriver")
    with ExitStack() as stack:
        house = House(tmp_path_factory.mktemp("house"), stack)
        yield house
        house.stop()


@pytest.fixture
def people(house: House) -> Iterator[tuple[Window, Window]]:
    """Return Ada, who is an administrator, and Grace; both are logged in and see no error."""
    for window in (house.ada, house.grace):
        window.complaints()
        window.expected = ()
    yield house.ada, house.grace
    for window in (house.ada, house.grace):
        assert window.complaints() == []


def test_two_people_on_one_post_see_each_other(people: tuple[Window, Window]) -> None:
    ada, grace = people
    path = ada.write("Two people", "Both are *here*.")
    ada.open_live(path)
    unread = int(ada.text("[data-unread]").rpartition(" ")[2])
    grace.open_live(path)
    ada.wait_for("[data-reading]", "2 reading")

    def typed() -> str:
        grace.find("#body").send_keys("x")  # again, if it is not connected yet
        return ada.text("[data-typing]")

    poll(typed, "grace is typing".__eq__, DEADLINE_S)
    assert grace.text("[data-typing]") == ""
    poll(lambda: ada.text("[data-typing]"), "".__eq__, DEADLINE_S)

    grace.type(body="Hello, <b>Ada</b>.")
    grace.press("Comment")

    ada.wait_for("[data-comments]", "Hello, <b>Ada</b>.")
    ada.wait_for("#comments-heading", "1 comment")
    ada.wait_for("[data-notice]", "grace commented on “Two people”.")
    assert ada.text("[data-unread]").endswith(f" {unread + 1}")
    # An administrator may delete what has just arrived, and it goes everywhere.
    ada.find("[data-comments] .comment:last-child summary").click()
    ada.press("Delete this comment")
    ada.wait_for(".flash", "The comment is deleted.")
    grace.wait_for("#comments-heading", "0 comments")


def test_new_posts_wait_behind_a_button_and_counts_move(people: tuple[Window, Window]) -> None:
    ada, grace = people
    grace.open_live("/")
    first = grace.run("return document.querySelector('.card').textContent")

    path = ada.write("Fresh", "News.")
    ada.open(path)
    ada.type(body="A remark.")
    ada.press("Comment")
    ada.wait_for("#comments-heading", "1 comment")

    grace.wait_for("[data-pill]", "Show 1 new post")
    assert grace.run("return document.querySelector('.card').textContent") == first
    grace.find("[data-pill]").click()
    grace.wait_for(".card", "Fresh")
    grace.wait_for(".card", "1 comment")
    assert grace.run("return document.activeElement.matches('.card')") is True
    assert grace.run("return document.querySelector('time').title") != ""


def test_page_tells_that_the_server_is_away_and_misses_nothing(
    house: House, people: tuple[Window, Window]
) -> None:
    for window in people:
        window.expected = ("ERR_CONNECTION", "503 (Service Unavailable)", "WebSocket connection")
    _, grace = people
    grace.open_live("/post/1")
    grace.run("window.notReloaded = true")
    token = requests.post(
        f"{grace.url}/api/v1/tokens",
        json={"username": "ada", "password": PASSWORD},
        timeout=DEADLINE_S,
    ).json()["access_token"]

    house.stop()
    stopped_at = time.monotonic()
    grace.wait_for_state("Reconnecting…")
    assert time.monotonic() - stopped_at < 10
    house.start()
    answer = requests.post(
        f"{grace.url}/api/v1/posts/1/comments",
        json={"body": "While you were away."},
        headers={"Authorization": f"Bearer {token}"},
        timeout=DEADLINE_S,
    )
    assert answer.status_code == 201, answer.text

    grace.wait_for("[data-comments]", "While you were away.")
    grace.wait_for_state("Live")
    assert grace.run("return window.notReloaded") is True


def test_log_out_in_one_tab_ends_the_other(people: tuple[Window, Window]) -> None:
    ada, _ = people
    ada.expected = ("403 (Forbidden)",)  # a connection that is made as the log-out arrives
    ada.open_live("/post/1")
    first = ada.browser.current_window_handle
    ada.browser.switch_to.new_window("tab")
    ada.open_live("/")

    ada.log_out()
    ada.wait_for(".flash", "You are logged out.")
    ada.browser.close()
    ada.browser.switch_to.window(first)

    poll(lambda: ada.text("header nav"), lambda text: "Log in" in text, DEADLINE_S)
    ada.log_in()


def test_draft_survives_a_session_that_ended_and_is_gone_once_it_is_sent(
    people: tuple[Window, Window],
) -> None:
    _, grace = people
    grace.open("/write")
    grace.type(title="Long thought", body="Many words, typed for an hour.")
    grace.browser.delete_all_cookies()

    grace.press("Publish")
    grace.wait_for_path("/login")
    grace.type(username="grace", password=PASSWORD)
    grace.press("Log in")
    grace.wait_for_path("/write")
    grace.wait_for("[data-notice]", "What you had typed here is back.")
    assert grace.run("return document.querySelector('#body').value").startswith("Many words")
    grace.press("Publish")
    poll(lambda: grace.text("h1"), "Long thought".__eq__, DEADLINE_S)

    grace.open("/write")
    assert grace.run("return document.querySelector('#body').value") == ""
    assert grace.run("return Object.keys(localStorage).filter((n) => n.startsWith('draft'))") == []


def test_two_edits_of_one_post_meet(people: tuple[Window, Window]) -> None:
    ada, _ = people
    ada.expected = ("409 (CONFLICT)",)
    path = ada.write("Edited twice", "At first.")
    ada.open(f"{path}/edit")
    first = ada.browser.current_window_handle
    ada.browser.switch_to.new_window("tab")
    ada.open(f"{path}/edit")
    ada.type(body="From the second tab.")
    ada.press("Save")
    ada.wait_for(".prose", "From the second tab.")
    ada.browser.close()
    ada.browser.switch_to.window(first)

    ada.type(body="From the first tab.")
    ada.press("Save")

    ada.wait_for("h1", "Somebody was faster")
    assert "From the second tab." in ada.text(".source")
    assert ada.run("return document.querySelector('#body').value") == "From the first tab."
    ada.press("Save mine")
    ada.wait_for(".prose", "From the first tab.")


def test_preview_is_shown_beside_what_is_typed(people: tuple[Window, Window]) -> None:
    ada, _ = people
    ada.open("/write")
    ada.type(title="T", body="Some *emphasis*")
    ada.run("window.notReloaded = true")

    ada.press("Preview")

    ada.wait_for("[data-preview] em", "emphasis")
    assert ada.run("return window.notReloaded") is True
    ada.run("localStorage.clear()")


def test_upload_shows_its_progress_and_the_picture(
    people: tuple[Window, Window], tmp_path: Path
) -> None:
    ada, _ = people
    path = ada.write("With a picture", "Below.")
    file = tmp_path / "harbour.png"
    file.write_bytes(picture() + b"\0" * 4_000_000)
    ada.open(path)
    ada.browser.execute_cdp_cmd("Network.enable", {})
    ada.run(
        " const text = document.querySelector('[data-progress-text]');"
        "new MutationObserver(() => sessionStorage.setItem('steps',"
        " (sessionStorage.getItem('steps') ?? '') + text.textContent + ';'))"
        ".observe(text, { childList: true })"
    )
    ada.browser.execute_cdp_cmd(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 2_000_000},
    )
    try:
        ada.find(".attach summary").click()
        ada.find("#file").send_keys(str(file))
        ada.press("Upload")
        script = "return document.querySelector('.attachment img')?.naturalWidth ?? 0"

        def width() -> int:
            try:
                return int(ada.run(script))
            except (JavascriptException, StaleElementReferenceException):
                return 0

        poll(width, (320).__eq__, DEADLINE_S)
    finally:
        ada.browser.execute_cdp_cmd(
            "Network.emulateNetworkConditions",
            {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1},
        )
    steps = ada.run("return sessionStorage.getItem('steps')")
    assert "%" in steps, steps
    assert steps.endswith("Almost done;")


def test_beginning_of_a_long_post_comes_word_by_word(people: tuple[Window, Window]) -> None:
    ada, _ = people
    ada.open(ada.write("Long", "It goes on and on. " * 40))

    ada.press("Read me the beginning")

    ada.wait_for("[data-summary] span", "It goes on and on. It goes")
    ada.open("/")


def test_search_finds_while_one_types_and_the_chat_says_it_to_everybody(
    people: tuple[Window, Window],
) -> None:
    ada, grace = people
    grace.open("/search")
    grace.find("#q").send_keys("two hal")
    grace.wait_for("[data-results]", "Two halves, one process")
    grace.wait_for("[data-found]", "1 result")
    assert grace.run("return location.search") == "?q=two%20hal"

    ada.open_live("/chat")
    grace.open_live("/chat")
    ada.find("#say").send_keys("Good <i>morning</i>")
    ada.press("Say")
    for window in (ada, grace):
        window.wait_for("[data-chat]", "Good <i>morning</i>")


def test_pulse_moves_while_every_thread_is_busy(people: tuple[Window, Window]) -> None:
    ada, _ = people
    ada.open("/pulse")
    ada.wait_for_state("Live")

    ada.press("Keep every thread busy")

    ada.wait_for("[data-said]", "threads are busy")
    ada.wait_for("[data-chart=threads_busy] [data-value]", "16")
    ada.wait_for("[data-chart=threads_busy] [data-value]", "0")


def test_pages_are_accessible(people: tuple[Window, Window]) -> None:
    if not AXE.exists():
        missing = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        missing("axe-core is missing: npm --prefix tests/javascript ci")
    ada, _ = people
    ada.expected = ("404 (NOT FOUND)",)
    source = AXE.read_text(encoding="utf-8")
    faults: dict[str, list[str]] = {}
    for path in ACCESSIBLE:
        ada.open(path)
        ada.run(source)
        # In the dark only the colours are others.
        for scheme, rules in (("light", None), ("dark", ["color-contrast"])):
            feature = {"name": "prefers-color-scheme", "value": scheme}
            ada.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
            found = ada.browser.execute_async_script(_AXE_RUN, rules)
            if found:
                faults[f"{path} {scheme}"] = found
    assert faults == {}


def test_server_of_these_journeys_logged_no_error(house: House) -> None:
    house.server.signal(signal.SIGTERM)
    house.server.wait()
    assert "[ERROR]" not in house.server.output
    assert "Traceback" not in house.server.output
