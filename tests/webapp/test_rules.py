"""What people may write, and how a refusal is worded."""

from __future__ import annotations

import pytest
from flask import Flask

from webapp import accounts, rules


@pytest.mark.parametrize("name", ["ada", "Ada", "a-b", "a_b", "a1b2", "a" * 30, " ada "])
def test_username_that_follows_the_rule_is_kept(name: str) -> None:
    assert rules.username(name) == name.strip()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "ab",
        "a" * 31,
        "1ada",
        "-ada",
        "_ada",
        "a b",
        "a.b",
        "a/b",
        "adä",
        "ada\n.",
        "ada\0",
        "\u0430da",
    ],
)
def test_username_that_breaks_the_rule_is_refused_with_the_rule(name: str) -> None:
    with pytest.raises(ValueError, match="3 to 30 letters"):
        rules.username(name)


@pytest.mark.parametrize(
    "name",
    ["static", "User", "post", "LOGIN", "register", "logout", "write", "api", "live", "admin"],
)
def test_username_that_is_reserved_is_refused(app: Flask, name: str) -> None:
    with app.app_context(), pytest.raises(ValueError, match="is reserved"):
        accounts.available_username(name)


def test_username_equal_to_any_first_path_segment_is_reserved(app: Flask) -> None:
    app.add_url_rule("/gallery/<name>", "gallery", lambda name: name)
    accounts.reserve_names(app)

    with app.app_context(), pytest.raises(ValueError, match="gallery is reserved"):
        accounts.available_username("gallery")


@pytest.mark.parametrize("password", ["eight-ch", " spaces count ", "ü" * 36, "x" * 72])
def test_password_that_follows_the_rule_is_kept_as_it_is(password: str) -> None:
    assert rules.password(password) == password


@pytest.mark.parametrize(
    ("password", "sentence"),
    [
        ("seven-c", "at least 8 characters.*this one has 7 characters"),
        ("x" * 73, "at most 72 bytes; this one has 73 bytes"),
        ("ü" * 37, "at most 72 bytes; this one has 74 bytes"),
        ("null\0byte", "control characters"),
        ("surrogate\ud800", "control characters"),
    ],
)
def test_password_that_breaks_the_rule_is_refused_with_the_reason(
    password: str, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        rules.password(password)


def test_title_is_kept_on_one_line() -> None:
    assert rules.title("  A \r\n title\t here ") == "A title here"


def test_post_body_has_lf_line_ends_and_keeps_its_indentation() -> None:
    assert rules.post_body("\r\n    code\r\nend\r") == "    code\nend"


def test_text_is_composed() -> None:
    assert rules.comment_body("u\u0308") == "ü"


def test_text_with_many_marks_on_one_letter_is_refused_before_it_is_composed() -> None:
    marks = "\u0301" * 15 + "\u0327" * 15
    assert len(rules.comment_body(f"a{marks}b{marks}")) == 61

    # Composing as many as fit into a request would stop the process for most of a minute.
    for rule in (rules.title, rules.post_body, rules.about, rules.token_name):
        with pytest.raises(ValueError, match="more than 30 marks on one letter"):
            rule(f"a{marks}\u0301")


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("", "A comment cannot be empty"),
        (" \n\t ", "A comment cannot be empty"),
        ("x" * 2001, "at most 2000 characters; this one has 2001"),
        ("wakeup\a", "control characters"),
        ("half\udc00", "control characters"),
    ],
)
def test_comment_that_breaks_the_rule_is_refused_with_the_reason(value: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        rules.comment_body(value)
