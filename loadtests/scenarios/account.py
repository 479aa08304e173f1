"""Logging in through the form, as a browser does: a session cookie and a CSRF token."""

from __future__ import annotations

import re
from itertools import count

from locust import FastHttpUser

# The accounts of `flask --app webapp demo`.
NAME, PASSWORD = "ada", "flasknado-demo"
_TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')
_numbers = count(1)


def log_in(user: FastHttpUser) -> str:
    """Log the user in and return the token for the forms that follow; raises `ValueError`."""
    form = {"username": NAME, "password": PASSWORD, "csrf_token": _token(user, "/login")}
    user.client.post("/login", data=form)
    return _token(user, "/write")


def write_post(user: FastHttpUser, token: str) -> None:
    """Send a new post; anything but the redirect to it is a failure."""
    number = next(_numbers)
    form = {"title": f"Post {number}", "body": "Written *under load*.", "csrf_token": token}
    with user.client.post(
        "/write", data=form, allow_redirects=False, catch_response=True
    ) as response:
        if response.status_code != 302:
            response.failure(f"the post was answered {response.status_code} instead of 302")


def _token(user: FastHttpUser, path: str) -> str:
    found = _TOKEN.search(user.client.get(path).text or "")
    if found is None:
        raise ValueError(f"{path} shows no form with a CSRF token")
    return found[1]
