"""Before anything is timed: every server gives the same answers to the same requests."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

TIMEOUT_S = 20
HOST_HEADER = "loadtest.example"
# An answer's own id, and a form's own token, which nobody expects to be the same twice.
_ITS_OWN = re.compile(
    rb'"request_id": ?"[^"]*"|\brequest [0-9A-Za-z._-]+</p>|name="csrf_token" value="[^"]*"'
)


@dataclass(frozen=True)
class Question:
    """One request; the answer's status must be `status`."""

    path: str
    status: int = 200
    method: str = "GET"
    body: bytes | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Answer:
    """What must be equal; dates, server names and framing may differ."""

    status: int
    content_type: str
    location: str
    body: bytes


class NotEquivalent(Exception):
    """Servers answer differently, so timing them says nothing; the message shows where."""


QUESTIONS_TO_VIEWS = (
    Question("/"),
    Question("/json"),
    Question("/wait"),
    Question("/compute"),
    Question("/echo", method="POST", body=b"x" * 70_000),
    Question("/nowhere", status=404),
    Question("/json", method="DELETE", status=405),
)
QUESTIONS_TO_BUNDLED = (
    Question("/"),
    Question("/post/1"),
    Question("/ada"),
    Question("/user/ada", status=301),
    Question("/static/site.css"),
    Question("/api/v1/posts"),
    Question("/api/v1/posts/1"),
    Question("/api/v1/posts/99999", status=404),
    Question("/api/v1/me", status=401),
    Question("/loadtest/json"),
    Question("/loadtest/wait"),
    Question("/loadtest/compute"),
    Question("/loadtest/echo", method="POST", body=b"x" * 70_000),
    Question("/login"),
    Question("/login", status=400, method="POST", body=b"username=ada"),
    Question("/write", status=302),
)


def ask(address: tuple[str, int], question: Question) -> Answer:
    """Return the answer to one question, on a connection of its own."""
    connection = http.client.HTTPConnection(*address, timeout=TIMEOUT_S)
    headers = {"Host": HOST_HEADER, "Connection": "close"}
    try:
        connection.request(question.method, question.path, question.body, headers)
        response = connection.getresponse()
        return Answer(
            response.status,
            response.getheader("Content-Type", ""),
            response.getheader("Location", ""),
            _ITS_OWN.sub(b"*", response.read()),
        )
    except (OSError, http.client.HTTPException) as error:
        raise NotEquivalent(f"{question} was not answered: {error!r}") from error
    finally:
        connection.close()


def answers_of(address: tuple[str, int], questions: Iterable[Question]) -> dict[Question, Answer]:
    """Return all answers; raises `NotEquivalent` if a status is not the expected one."""
    answers = {}
    for question in questions:
        answer = ask(address, question)
        if answer.status != question.status:
            raise NotEquivalent(
                f"{question} was answered {answer.status} instead of {question.status}: "
                f"{answer.body[:200]!r}"
            )
        answers[question] = answer
    return answers


def compare(
    one: Mapping[Question, Answer], other: Mapping[Question, Answer], names: tuple[str, str]
) -> None:
    """Raise `NotEquivalent` at the first question that two servers answer differently."""
    for question, answer in one.items():
        if answer != other[question]:
            raise NotEquivalent(
                f"{question} is answered differently by {names[0]} and {names[1]}:\n"
                f"  {_shown(answer)}\n  {_shown(other[question])}"
            )


def _shown(answer: Answer) -> str:
    return f"{answer.status} {answer.content_type} {len(answer.body)} bytes {answer.body[:120]!r}"
