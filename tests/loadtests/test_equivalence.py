"""Servers that answer differently are not timed."""

from __future__ import annotations

import pytest

from loadtests.equivalence import NotEquivalent, Question, answers_of, compare
from tests.loadtests.fakes import Fake, faking

QUESTIONS = [Question("/")]


def test_equivalence_of_equal_answers_is_silent(fake: Fake) -> None:
    with faking(Fake()) as other:
        mine = answers_of(("127.0.0.1", fake.port), QUESTIONS)
        theirs = answers_of(("127.0.0.1", other.port), QUESTIONS)

    compare(mine, theirs, ("mine", "theirs"))
    assert mine[QUESTIONS[0]].body == b"Hello, World!"


def test_equivalence_of_another_body_is_refused_with_the_question(fake: Fake) -> None:
    with faking(Fake(body=b"Hello!")) as other:
        mine = answers_of(("127.0.0.1", fake.port), QUESTIONS)
        theirs = answers_of(("127.0.0.1", other.port), QUESTIONS)

    with pytest.raises(NotEquivalent, match="GET / is answered differently by mine and theirs"):
        compare(mine, theirs, ("mine", "theirs"))


def test_equivalence_request_ids_may_differ() -> None:
    answers = []
    for request_id in (b"abc", b"def"):
        with faking(Fake(body=b'{"request_id": "' + request_id + b'"}')) as served:
            answers.append(answers_of(("127.0.0.1", served.port), QUESTIONS))

    assert answers[0] == answers[1]


def test_equivalence_unexpected_status_is_refused(fake: Fake) -> None:
    fake.status = 500

    with pytest.raises(NotEquivalent, match="GET / was answered 500 instead of 200"):
        answers_of(("127.0.0.1", fake.port), QUESTIONS)


def test_equivalence_server_that_is_gone_is_refused() -> None:
    with faking(Fake()) as served:
        address = ("127.0.0.1", served.port)

    with pytest.raises(NotEquivalent, match="GET / was not answered"):
        answers_of(address, QUESTIONS)
