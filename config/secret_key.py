"""The secret key: what counts as one, and the one that development makes for itself."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from config.errors import SettingsError
from config.private_files import FILE_MODE, keep_private, make_private_directory

MIN_SECRET_BYTES = 32
_MIN_DIFFERENT_CHARACTERS = 8
# Found in tutorials, templates and .env.example files; compared without case and punctuation.
_PLACEHOLDERS = (
    "changeme",
    "changethis",
    "replaceme",
    "replacethis",
    "placeholder",
    "yoursecret",
    "mysecret",
    "supersecret",
    "notasecret",
    "insecure",
    "secretkey",
    "developmentonly",
)


def weakness(secret: str) -> str | None:
    """Return why `secret` must not sign production's cookies and tokens, or `None` if it may."""
    if not secret:
        return "it is missing"
    letters = "".join(character for character in secret.lower() if character.isalnum())
    if any(placeholder in letters for placeholder in _PLACEHOLDERS):
        return "it is a placeholder that everybody knows"
    length = len(secret.encode("utf-8", "surrogateescape"))
    if length < MIN_SECRET_BYTES:
        return f"it has {length} bytes"
    different = len(set(secret))
    if different < _MIN_DIFFERENT_CHARACTERS:
        return f"it has only {different} different characters"
    return None


def development_secret(path: Path) -> str:
    """Return the secret in `path`, making the file if there is none; both kept from others.

    Several processes may call this at once; all get the same secret, because the file is
    written aside and takes its name in one step that only the first can do.

    Raises:
        SettingsError: the file cannot be made or read, or holds no secret.
    """
    try:
        if not path.exists():
            _make(path)
        keep_private(path.parent)
        keep_private(path)
        secret = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{path} cannot hold the development secret key ({error}): make the directory"
            " writable, delete the file, or set SECRET_KEY."
        ) from error
    if len(secret) < MIN_SECRET_BYTES:
        raise SettingsError(
            f"{path} has {len(secret)} characters, and a secret key has {MIN_SECRET_BYTES} or"
            " more: delete the file so that a new one is made, or set SECRET_KEY."
        )
    return secret


def _make(path: Path) -> None:
    make_private_directory(path.parent)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(48) + "\n")
            file.flush()
            os.fsync(file.fileno())
        # link() fails if the name is taken, and then the other process's secret is the secret.
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    finally:
        aside.unlink()
