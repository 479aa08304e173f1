"""A page in a real browser that follows live events with live.js, and what it has seen."""

from __future__ import annotations

from typing import Any

from selenium import webdriver

from tests.support.poll import poll

DEADLINE_S = 30.0

_CONNECT = """
const [options, done] = arguments;
Object.assign(window, { seen: [], ids: [], resets: [], errors: [], statuses: [], presence: [] });
const { presence, identify, ...given } = options;
import("/live/live.js").then(({ connect }) => {
  window.live = connect({
    retryMs: 100,
    ...given,
    ...(identify && { identify: ({ data }) => data[identify] }),
    ...(presence && { onPresence: (event) => window.presence.push(event) }),
    onEvent: (event) => { window.seen.push(event.data); window.ids.push(event.id); },
    onReset: (reset) => window.resets.push(reset),
    onError: (error) => window.errors.push(error),
    onStatus: (status) => window.statuses.push(status),
  });
  done(null);
}).catch((error) => done(String(error)));
"""


class Page:
    """One tab. Its methods bring the tab to the front first, as WebDriver wants it."""

    def __init__(self, browser: webdriver.Chrome, url: str) -> None:
        self.browser = browser
        browser.switch_to.new_window("tab")
        self.handle = browser.current_window_handle
        browser.get(url)

    def run(self, script: str, *arguments: Any) -> Any:
        """Return what a script returns, run in the page."""
        self.browser.switch_to.window(self.handle)
        return self.browser.execute_script(script, *arguments)

    def log_in(self, user: str) -> None:
        """Have the browser send this user's cookie from now on."""
        self.run("document.cookie = `user=${arguments[0]}; path=/`", user)

    def connect(self, *channels: str, **options: Any) -> Page:
        """Have the page import live.js and follow channels; `options` are those of connect().

        With `presence=True` it also asks who is there; `identify` is the item of an event's data
        that names what the event creates.
        """
        self.browser.switch_to.window(self.handle)
        options = {"channels": list(channels), **options}
        error = self.browser.execute_async_script(_CONNECT, options)
        assert error is None, error
        return self

    def read(self, name: str) -> Any:
        """Return a variable of the page."""
        return self.run("return window[arguments[0]]", name)

    @property
    def seen(self) -> list[Any]:
        """The data of every event that the page was given, in that order."""
        data: list[Any] = self.read("seen")
        return data

    @property
    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.run("return window.live.status")
        return status

    def wait_until_open(self, transport: str | None = None) -> Page:
        """Wait until events arrive, over this transport if one is named."""

        def is_open(status: dict[str, Any]) -> bool:
            return status["state"] == "open" and transport in (None, status["transport"])

        poll(lambda: self.status, is_open, DEADLINE_S)
        return self

    def wait_for(self, expected: list[Any]) -> None:
        """Wait until the page has seen as many events as this; fails unless they are these."""
        poll(lambda: self.seen, lambda seen: len(seen) >= len(expected), DEADLINE_S)
        assert self.seen == expected

    def set_state(self, state: str) -> None:
        """Have the browser freeze the tab, as it does with one that is not looked at, or thaw it.

        Page Lifecycle; `state` is `frozen` or `active`.
        """
        self.browser.switch_to.window(self.handle)
        self.browser.execute_cdp_cmd("Page.setWebLifecycleState", {"state": state})

    def answer_alert(self) -> None:
        """Press the button of the page's alert."""
        self.browser.switch_to.window(self.handle)
        self.browser.switch_to.alert.accept()

    def close(self) -> None:
        """Close the tab, as its user would."""
        self.browser.switch_to.window(self.handle)
        self.browser.close()
        self.browser.switch_to.window(self.browser.window_handles[0])
