"""`make screenshots`: pictures of the bundled application's pages, and the README's one.

On a desktop and a phone, light and dark, in var/screenshots/; the README's picture, two windows
and a post that arrives, in docs/pictures/two-windows.png.
"""

from __future__ import annotations

import base64
import shutil
import struct
import tempfile
import zlib
from contextlib import ExitStack
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.live_server.test_browser import open_browser
from tests.support.person import Person
from tests.support.process import PROJECT_ROOT, ServerProcess, server_process

OUTPUT = PROJECT_ROOT / "var" / "screenshots"
PICTURE = PROJECT_ROOT / "docs" / "pictures" / "two-windows.png"
DEVICES = {"desktop": (1280, 900, 1, False), "phone": (390, 844, 2, True)}
SCHEMES = ("light", "dark")
PAGES = {
    "timeline": "/",
    "post": "/post/2",
    "profile": "/grace",
    "write": "/write",
    "search": "/search?q=two",
    "news": "/notifications",
    "settings": "/account",
    "sessions": "/account/sessions",
    "tokens": "/account/tokens",
    "admin": "/admin",
    "content": "/admin/content",
    "chat": "/chat",
    "pulse": "/pulse",
    "api": "/api/docs",
    "conflict": "conflict",
}
PASSWORD = "flasknado-demo"
DEADLINE_S = 30
_SIDE_BY_SIDE = """<!doctype html><style>
body {{ margin: 0; padding: 28px; display: flex; gap: 28px; background: #dfe6e4 }}
img {{ width: 560px; border-radius: 10px; box-shadow: 0 4px 18px rgb(0 0 0 / 30%) }}
</style><img src="data:image/png;base64,{left}"><img src="data:image/png;base64,{right}">"""


def picture(width: int = 320, height: int = 200) -> bytes:
    """Return a PNG picture of its own, for an attachment."""
    rows = b"".join(
        b"\0" + bytes(v for x in range(width) for v in (40 + y // 2, 90 + x // 4, 140))
        for y in range(height)
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


class Window:
    """A browser of one person."""

    def __init__(self, browser: webdriver.Chrome, url: str) -> None:
        self.browser, self.url = browser, url

    def log_in(self, name: str) -> None:
        self.browser.get(f"{self.url}/login")
        self.browser.find_element(By.NAME, "username").send_keys(name)
        self.browser.find_element(By.NAME, "password").send_keys(PASSWORD)
        self.browser.find_element(By.CSS_SELECTOR, "main form button").click()
        WebDriverWait(self.browser, DEADLINE_S).until(lambda b: "/login" not in b.current_url)

    def look(self, device: str, scheme: str) -> None:
        """Be a desktop or a phone, light or dark."""
        width, height, scale, mobile = DEVICES[device]
        self.browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile},
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def wait_until_live(self) -> None:
        script = "const e = document.querySelector('[data-live-status]');"
        script += "return !e || e.dataset.state === 'on'"
        WebDriverWait(self.browser, DEADLINE_S).until(lambda b: b.execute_script(script))

    def draw(self) -> None:
        """Make the charts of the pulse move, and wait until they do."""
        for button in self.browser.find_elements(By.CSS_SELECTOR, "[data-do]"):
            WebDriverWait(self.browser, DEADLINE_S).until(lambda _, b=button: b.is_enabled())
            button.click()
        points = "document.querySelector('polyline').getAttribute('points') ?? ''"
        script = f"return ({points}).split(' ').length > 8"
        WebDriverWait(self.browser, DEADLINE_S).until(lambda b: b.execute_script(script))

    def shoot(self) -> bytes:
        taken = self.browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
        return base64.b64decode(taken["data"])


def fill(server: ServerProcess) -> None:
    """Add what the demonstration lacks: an attachment, notifications, a mention, a profile."""
    grace, ada = Person(server.url, "grace"), Person(server.url, "ada")
    for person in (grace, ada):
        person.log_in(PASSWORD)
    token = grace.token(PASSWORD)
    for name, data in (("harbour.png", picture()), ("notes.txt", b"Notes\n" * 400)):
        sent = grace.session.post(
            f"{server.url}/api/v1/attachments/2",
            files={"file": (name, data)},
            headers=token,
            timeout=30,
        )
        assert sent.ok, sent.text
    about = {"about": "I write about compilers, ships and things that come in pairs."}
    grace.session.patch(f"{server.url}/api/v1/me", json=about, headers=token, timeout=30)
    ada.send_form("/account/tokens", name="backup script")
    comment = {"body": "Good, @ada. I left two windows open over the weekend."}
    path = f"{server.url}/api/v1/posts/1/comments"
    assert grace.session.post(path, json=comment, headers=token, timeout=30).status_code == 201


def take_all(window: Window) -> None:
    for name, path in PAGES.items():
        if name == "conflict":
            conflict(window)
        else:
            window.browser.get(window.url + path)
        window.wait_until_live()
        if name == "pulse":
            window.draw()
        for device in DEVICES:
            for scheme in SCHEMES:
                window.look(device, scheme)
                (OUTPUT / f"{name}-{device}-{scheme}.png").write_bytes(window.shoot())


def conflict(window: Window) -> None:
    """Have two edits of one post meet."""
    window.browser.get(f"{window.url}/post/1/edit")
    window.browser.find_element(By.NAME, "body").send_keys("\n\nOne more sentence.")
    ada = Person(window.url, "ada")
    change = {"body": "The other window was faster.\n\nIt had this to say."}
    path = f"{window.url}/api/v1/posts/1"
    changed = ada.session.patch(path, json=change, headers=ada.token(PASSWORD), timeout=30)
    assert changed.ok, changed.text
    window.browser.find_element(By.CSS_SELECTOR, "main form button").click()


def two_windows(reader: Window, writer: Window) -> None:
    """Take the README's picture: a reader's timeline, and what a writer has just published."""
    for window in (reader, writer):
        window.look("desktop", "light")
        window.browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": 620, "height": 700, "deviceScaleFactor": 1.5, "mobile": False},
        )
    reader.browser.get(reader.url)
    reader.wait_until_live()
    writer.browser.get(f"{writer.url}/write")
    writer.browser.find_element(By.NAME, "title").send_keys("It has just arrived over there")
    text = "Nobody reloads anything. The post and its event were *one* transaction."
    writer.browser.find_element(By.NAME, "body").send_keys(text)
    writer.browser.find_element(By.CSS_SELECTOR, "main form button").click()
    pill = reader.browser.find_element(By.CSS_SELECTOR, "[data-pill]")
    WebDriverWait(reader.browser, DEADLINE_S).until(lambda _: pill.is_displayed())
    writer.wait_until_live()
    left, right = (base64.b64encode(w.shoot()).decode() for w in (writer, reader))
    page = _SIDE_BY_SIDE.format(left=left, right=right)
    browser = reader.browser
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 1204, "height": 690, "deviceScaleFactor": 1, "mobile": False},
    )
    with tempfile.NamedTemporaryFile("w", suffix=".html") as file:
        file.write(page)
        file.flush()
        browser.get(f"file://{file.name}")
        PICTURE.parent.mkdir(parents=True, exist_ok=True)
        PICTURE.write_bytes(reader.shoot())


def main() -> None:
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir(parents=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        env = {
            "DATABASE_URL": f"sqlite:///{folder}/app.db",
            "UPLOAD_DIR": f"{folder}/uploads",
            "SECRET_KEY": "a-secret-for-pictures-that-is-long-enough",
        }
        flask = ("-m", "flask", "--app", "webapp")
        for command in (("demo",), ("users", "promote", "ada")):
            with server_process((*flask, *command), env=env, ready=False) as made:
                assert made.wait() == 0, made.output
        server = stack.enter_context(server_process(env=env))
        fill(server)
        windows = []
        for name in ("ada", "grace"):
            browser = open_browser(folder / name)
            stack.callback(browser.quit)
            windows.append(Window(browser, server.url))
            windows[-1].log_in(name)
        take_all(windows[0])
        two_windows(windows[1], windows[0])
    print(f"{len(list(OUTPUT.iterdir()))} pictures are in {OUTPUT}")  # noqa: T201


if __name__ == "__main__":
    main()
