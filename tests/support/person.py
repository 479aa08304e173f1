"""A person at the bundled application: a browser's session, its forms and their tokens."""

from __future__ import annotations

import re

import requests

PASSWORD = "correct horse battery"
TIMEOUT_S = 20
_TOKEN = re.compile(r'name="csrf_token"[^>]*value="([^"]+)"')


class Person:
    """Somebody with cookies who fills in forms; `url` is the server's."""

    def __init__(self, url: str, username: str = "") -> None:
        self.url = url
        self.username = username
        self.session = requests.Session()

    def get(self, path: str, **options: object) -> requests.Response:
        return self.session.get(self.url + path, timeout=TIMEOUT_S, **options)  # type: ignore[arg-type]

    def send_form(self, path: str, **fields: str) -> requests.Response:
        """Fill in and send the form of a page; returns the page that it leads to."""
        match = _TOKEN.search(self.get(path).text)
        assert match is not None, f"the page {path} has no form with a token"
        return self.session.post(
            self.url + path, data={"csrf_token": match[1], **fields}, timeout=TIMEOUT_S
        )

    def register(self) -> requests.Response:
        answer = self.send_form("/register", username=self.username, password=PASSWORD)
        assert answer.ok, answer.text
        return answer

    def log_in(self, password: str = PASSWORD) -> requests.Response:
        return self.send_form("/login", username=self.username, password=password)

    def write(self, title: str, body: str = "A text.") -> requests.Response:
        answer = self.send_form("/write", title=title, body=body)
        assert answer.ok, answer.text
        return answer

    def token(self, password: str = PASSWORD) -> dict[str, str]:
        """Return the `Authorization` header of a fresh token of the API."""
        answer = requests.post(
            self.url + "/api/v1/tokens",
            json={"username": self.username, "password": password},
            timeout=TIMEOUT_S,
        )
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}
