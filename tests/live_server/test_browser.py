"""Two real browsers at the bundled application."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.support.person import PASSWORD
from tests.support.process import ServerProcess
from tests.support.programs import need

DEADLINE_S = 30
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-sync",
)


def open_browser(profile: Path) -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    options.binary_location = need("chromium")
    for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    return webdriver.Chrome(options=options, service=Service(need("chromedriver")))


@pytest.fixture
def browsers(tmp_path: Path) -> Iterator[tuple[webdriver.Chrome, webdriver.Chrome]]:
    first = open_browser(tmp_path / "first")
    try:
        second = open_browser(tmp_path / "second")
        try:
            yield first, second
        finally:
            second.quit()
    finally:
        first.quit()


def fill_in(browser: webdriver.Chrome, **fields: str) -> None:
    """Type into the fields of the form, and send it."""
    for name, text in fields.items():
        browser.find_element(By.NAME, name).send_keys(text)
    last = browser.find_element(By.NAME, name)
    last.find_element(By.XPATH, "./ancestor::form").submit()


def test_post_written_in_one_browser_appears_in_another_without_reloading(
    server: ServerProcess, browsers: tuple[webdriver.Chrome, webdriver.Chrome]
) -> None:
    writer, reader = browsers
    writer.get(server.url + "/register")
    fill_in(writer, username="ann", password=PASSWORD)
    WebDriverWait(writer, DEADLINE_S).until(lambda browser: "/register" not in browser.current_url)
    reader.get(server.url + "/")
    reader.execute_script("window.notReloaded = true")
    assert "Fresh news" not in reader.page_source

    writer.get(server.url + "/write")
    fill_in(writer, title="Fresh news", body="<b>bold</b> and *starred*")

    pill = reader.find_element(By.CSS_SELECTOR, "[data-pill]")
    WebDriverWait(reader, DEADLINE_S).until(lambda _: pill.is_displayed())
    pill.click()
    WebDriverWait(reader, DEADLINE_S).until(lambda browser: "Fresh news" in browser.page_source)
    assert reader.execute_script("return window.notReloaded") is True
    assert not [entry for entry in reader.get_log("browser") if entry["level"] == "SEVERE"], (
        "the page reports errors"
    )
