"""What people may write: names, passwords, titles and texts, and how a refusal is worded.

The forms and the API use the same rules. Each function takes what was typed and returns what is
kept, or raises `ValueError` with a sentence for the person who typed it.
"""

from __future__ import annotations

import re
import unicodedata

from webapp import markdown
from webapp.models import (
    ABOUT_CHARACTERS,
    COMMENT_CHARACTERS,
    POST_CHARACTERS,
    TITLE_CHARACTERS,
    USERNAME_CHARACTERS,
)
from webapp.records import TOKEN_NAME_CHARACTERS

USERNAME_RULE = (
    f"3 to {USERNAME_CHARACTERS} letters (a to z), digits, hyphens and underscores,"
    " beginning with a letter"
)
PASSWORD_MIN_CHARACTERS = 8
PASSWORD_MAX_BYTES = 72  # bcrypt reads no further, so a longer one would be cut silently
PASSWORD_RULE = f"at least {PASSWORD_MIN_CHARACTERS} characters, at most {PASSWORD_MAX_BYTES} bytes"

MAX_MARKS = 30
_USERNAME = re.compile(rf"[A-Za-z][A-Za-z0-9_-]{{2,{USERNAME_CHARACTERS - 1}}}")
# No database takes these in text, and no font shows them.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def username(value: str) -> str:
    """Return the name; case is kept, and does not tell two accounts apart."""
    value = value.strip()
    if not _USERNAME.fullmatch(value):
        raise ValueError(f"A username has {USERNAME_RULE}.")
    return value


def is_username(value: str) -> bool:
    """Whether an account could have this name."""
    return _USERNAME.fullmatch(value) is not None


def password(value: str) -> str:
    """Return the password as it is: spaces count."""
    if _CONTROL.search(value):
        raise ValueError("A password cannot hold control characters.")
    if len(value) < PASSWORD_MIN_CHARACTERS:
        raise ValueError(f"A password has {PASSWORD_RULE}; this one has {len(value)} characters.")
    size_bytes = len(value.encode())
    if size_bytes > PASSWORD_MAX_BYTES:
        raise ValueError(f"A password has {PASSWORD_RULE}; this one has {size_bytes} bytes.")
    return value


def title(value: str) -> str:
    """Return the title on one line."""
    return _text("A title", " ".join(_clean(value).split()), TITLE_CHARACTERS)


def post_body(value: str) -> str:
    """Return the Markdown of a post, with LF line ends, if rendering it is within the budget."""
    kept = _text("A post", _clean(value).strip("\n"), POST_CHARACTERS)
    markdown.render(kept)
    return kept


def comment_body(value: str) -> str:
    """Return the plain text of a comment, with LF line ends."""
    return _text("A comment", _clean(value).strip(), COMMENT_CHARACTERS)


def about(value: str) -> str:
    """Return what a person says of themselves, with LF line ends; it may be nothing."""
    kept = _clean(value).strip()
    return _text("A profile", kept, ABOUT_CHARACTERS) if kept else ""


def token_name(value: str) -> str:
    """Return what an API token is for, on one line."""
    return _text("A token's name", " ".join(_clean(value).split()), TOKEN_NAME_CHARACTERS)


def chat_line(value: str, max_characters: int) -> str:
    """Return what is said in the chat, on one line."""
    return _text("A message", " ".join(_clean(value).split()), max_characters)


def _clean(value: str) -> str:
    """Return `value` composed (NFC) and with LF line ends; browsers send CRLF (HTML, 4.10.21)."""
    _check_marks(value)
    return unicodedata.normalize("NFC", value.replace("\r\n", "\n").replace("\r", "\n"))


def _check_marks(value: str) -> None:
    """Refuse what takes too long to compose: marks on one letter are sorted one by one.

    The bound is that of the Stream-Safe Text Format (UAX 15, section 13).
    """
    if value.isascii():
        return
    marks = 0
    for character in value:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks > MAX_MARKS:
            raise ValueError(
                f"A text cannot have more than {MAX_MARKS} marks on one letter: take some away."
            )


def _text(what: str, value: str, max_characters: int) -> str:
    if _CONTROL.search(value):
        raise ValueError(f"{what} cannot hold control characters.")
    if not value.strip():
        raise ValueError(f"{what} cannot be empty.")
    if len(value) > max_characters:
        raise ValueError(
            f"{what} has at most {max_characters} characters; this one has {len(value)}."
        )
    return value
