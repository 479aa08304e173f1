"""Attacks on the bundled application: guessers, texts that cost much, pages of other sites."""

from __future__ import annotations

import collections
import http.client
import json
import socket
import threading
import time
from typing import TYPE_CHECKING

from tests.siege.attack import Attack, Report, Target
from tests.siege.sockets import handshake, server_frames, subscribe

if TYPE_CHECKING:
    from tests.support.person import Person

GUESSERS = 24
TABLE = "|a|b|\n|-|-|\n" + "|x|y|\n" * 3_000
"""The text of a post that is one table, of nearly 20,000 characters."""


def _json(target: Target, path: str, body: object, fields: dict[str, str]) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(*target.address, timeout=30)
    try:
        data = json.dumps(body)
        connection.request("POST", path, data, {"Content-Type": "application/json", **fields})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _person(target: Target, word: str) -> Person:
    """Return somebody new, who is logged in."""
    from tests.support.person import Person  # which takes long to import

    person = Person(target.url, f"{word}{time.monotonic_ns()}"[:20])
    person.register()
    return person


def guessers(target: Target, seconds: float) -> Report:
    """Guess passwords on 24 connections, each guess from an address of its own by its own word."""
    report = Report()
    ends = time.monotonic() + seconds
    answers: list[int] = []

    def guess(number: int) -> None:
        tried = 0
        while time.monotonic() < ends:
            tried += 1
            forged = {"X-Forwarded-For": f"203.0.{number}.{tried % 256}"}
            guessed = {"username": f"somebody{number % 3}", "password": f"guess {number} {tried}"}
            answers.append(_json(target, "/api/v1/tokens", guessed, forged)[0])

    threads = [threading.Thread(target=guess, args=(n,), daemon=True) for n in range(GUESSERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report.answers = collections.Counter(map(str, answers))
    report.sent_bytes = 250 * len(answers)
    report.expect(
        report.answers["401"] <= 80, f"guesses are bounded, not {report.answers['401']} of them"
    )
    if seconds > 4:
        report.expect(report.answers["429"], f"then 429 is answered: {dict(report.answers)}")
    return report


def tables(target: Target, seconds: float) -> Report:
    """Write posts that are one table, and have the greatest that is taken viewed all the time."""
    report = Report()
    person = _person(target, "mallory")
    fields = person.token()
    post_id = 0
    for rows in (3_000, 1_500, 700, 300):
        text = TABLE[: len(TABLE) - 6 * (3_000 - rows)]
        status, said = _json(target, "/api/v1/posts", {"title": "t", "body": text}, fields)
        report.sent_bytes += len(text)
        report.answers[str(status)] += 1
        if status == 201:
            post_id = json.loads(said)["id"]
            break
    report.expect(report.answers["422"], f"a costly text is refused: {dict(report.answers)}")
    ends = time.monotonic() + seconds
    connection = http.client.HTTPConnection(*target.address, timeout=30)
    while time.monotonic() < ends:
        connection.request("GET", f"/post/{post_id}")
        response = connection.getresponse()
        response.read()
        report.answers[str(response.status)] += 1
    connection.close()
    report.expect(set(report.answers) <= {"200", "201", "422"}, "views of it are answered")
    return report


def cross_site(target: Target, seconds: float) -> Report:
    """Open a WebSocket from another site's page with a user's cookies, where the policy is `*`."""
    report = Report()
    person = _person(target, "victim")
    cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in person.session.cookies)
    report.expect(_who(target, cookies, b"") != "anonymous", "its own page is the user's")
    who = _who(target, cookies, b"Origin: https://evil.example\r\n")
    report.answers[str(who)] += 1
    report.expect(who == "anonymous", f"the page of another site is nobody's, not {who!r}")
    return report


def _who(target: Target, cookies: str, origin: bytes) -> str | None:
    """Return whose connection the server says it is."""
    with socket.create_connection(target.address, 10) as sock:
        fields = b"Cookie: %b\r\n%b" % (cookies.encode(), origin)
        sock.sendall(handshake(fields=fields) + subscribe("posts"))
        heard = b""
        while part := sock.recv(65536):
            heard += part
            for _opcode, payload in server_frames(heard):
                if b'"subscribed"' in payload:
                    who = json.loads(payload).get("who")
                    return None if who is None else str(who)
    return None


ATTACKS = (
    Attack(
        "guessers",
        f"{GUESSERS} clients that guess passwords",
        guessers,
        ("bundled",),
        page_ms=500,
    ),
    Attack("tables", "posts that cost much to render", tables, ("bundled",)),
    Attack("site-cross-site", "WebSockets of other sites, with cookies", cross_site, ("bundled",)),
)
