"""Files of posts: kept in a folder under random names, served as what they are or as downloads.

Only pictures that browsers show safely are shown; their kind is read from their bytes, not from
what the client says. No transaction is open while bytes are copied. Runs on view threads.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO

from flask import Flask, current_app
from sqlalchemy import func, select
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import Conflict, UnprocessableEntity

from config.private_files import make_private_directory
from webapp import channels
from webapp.database import after_commit, end_transaction, find
from webapp.extensions import db
from webapp.models import FILE_NAME_CHARACTERS, Attachment, Post, User

MAX_OF_A_POST = 10
MAX_BYTES_OF_AN_ACCOUNT = 500 * 1024 * 1024
DOWNLOAD = "application/octet-stream"
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_PIECE_BYTES = 256 * 1024
_STORED_NAME = re.compile(r"[0-9a-f]{32}")
_LOOKED_UP_AT_ONCE = 500
# Beside what no file system takes: bidirectional controls, with which a name that ends in `.exe`
# looks as if it ended in `.jpg` (Unicode, UTR 36, section 2.5).
_NOT_IN_A_NAME = re.compile(
    r"[\x00-\x1f\x7f-\x9f/\\\ud800-\udfff\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)
_BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


class UploadFolderError(Exception):
    """The folder for attachments cannot be used; one sentence."""


def add(post_id: int, uploader: User, file: FileStorage | None) -> Attachment:
    """Keep a file of a post, with its event; the caller commits.

    Raises:
        NotFound: the post is gone.
        Conflict: the post or the account has enough files.
        UnprocessableEntity: there is no file, or it is empty.
    """
    name = _NOT_IN_A_NAME.sub("", Path(file.filename or "").name if file else "").strip(" .")
    if file is None or not name:
        raise UnprocessableEntity("file is missing: choose a file to attach.")
    uploader_id = uploader.id
    _check_room(post_id, uploader_id, 0)
    end_transaction()
    stored_as = secrets.token_hex(16)
    path = _folder() / stored_as
    try:
        with os.fdopen(os.open(path, _NEW_FILE, 0o600), "wb") as kept:
            size_bytes = _copy(file.stream, kept)
        if size_bytes == 0:
            raise UnprocessableEntity("file is empty: choose another one.")
        with path.open("rb") as kept:
            media_type = media_type_of(kept.read(16))
        find(Post, post_id)
        _check_room(post_id, uploader_id, size_bytes)
        attachment = Attachment(
            post_id=post_id,
            uploader_id=uploader_id,
            name=_shortened(name),
            media_type=media_type,
            size_bytes=size_bytes,
            stored_as=stored_as,
        )
        db.session.add(attachment)
        db.session.flush()
        channels.attachments_changed(post_id)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return attachment


def delete(attachment: Attachment) -> None:
    """Delete an attachment, with its event; its bytes go when the caller has committed."""
    _delete_file(attachment)
    db.session.delete(attachment)
    channels.attachments_changed(attachment.post_id)


def delete_files_of(post: Post) -> None:
    """Delete the bytes of a post's attachments, when the caller has committed."""
    for attachment in post.attachments:
        _delete_file(attachment)


def path_of(attachment: Attachment) -> Path:
    """Return where the bytes are."""
    return _folder() / attachment.stored_as


def left_behind(older_than_s: float) -> Iterator[Path]:
    """Yield the files that belong to no attachment: their upload or deletion was cut off.

    A new file's row is committed within moments of its last byte, by whichever process and
    machine; so a file that is older than `older_than_s` and has no row will never have one. Other
    files in the folder are none of ours. Holds no transaction while it yields.
    """
    oldest = time.time() - older_than_s
    with os.scandir(_folder()) as entries:
        old = (
            entry.name
            for entry in entries
            if _STORED_NAME.fullmatch(entry.name)
            and entry.is_file(follow_symlinks=False)
            and _changed_at(entry) < oldest
        )
        while names := list(islice(old, _LOOKED_UP_AT_ONCE)):
            wanted = select(Attachment.stored_as).where(Attachment.stored_as.in_(names))
            known = set(db.session.scalars(wanted))
            end_transaction()
            yield from (_folder() / name for name in names if name not in known)


def media_type_of(beginning: bytes) -> str:
    """Return the kind of a file that begins like this: a picture, or `DOWNLOAD`."""
    for signature, media_type in _BEGINNINGS:
        if beginning.startswith(signature):
            return media_type
    if beginning[:4] == b"RIFF" and beginning[8:12] == b"WEBP":
        return "image/webp"
    return DOWNLOAD


def _check_room(post_id: int, uploader_id: int, size_bytes: int) -> None:
    of_post = select(func.count(Attachment.id)).where(Attachment.post_id == post_id)
    if (db.session.scalar(of_post) or 0) >= MAX_OF_A_POST:
        raise Conflict(f"A post has at most {MAX_OF_A_POST} attachments: delete one first.")
    of_account = select(func.sum(Attachment.size_bytes)).where(
        Attachment.uploader_id == uploader_id
    )
    if (db.session.scalar(of_account) or 0) + size_bytes > MAX_BYTES_OF_AN_ACCOUNT:
        megabytes = MAX_BYTES_OF_AN_ACCOUNT // 1024**2
        raise Conflict(f"An account has at most {megabytes} MB of attachments: delete some first.")


def _copy(source: IO[bytes], target: IO[bytes]) -> int:
    size_bytes = 0
    while piece := source.read(_PIECE_BYTES):
        size_bytes += target.write(piece)
    return size_bytes


def _changed_at(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return time.time()  # it was deleted meanwhile


def _delete_file(attachment: Attachment) -> None:
    path = path_of(attachment)
    after_commit(lambda: path.unlink(missing_ok=True))


def prepare(app: Flask) -> None:
    """Make the folder, before the first request; raises `UploadFolderError`."""
    folder: Path = app.config["UPLOAD_DIR"]
    reason = "" if not folder.exists() or folder.is_dir() else "it is a file"
    try:
        if not reason:
            make_private_directory(folder)
    except OSError as error:
        reason = str(error)
    if reason or not os.access(folder, os.W_OK | os.X_OK):
        raise UploadFolderError(
            f"UPLOAD_DIR is {folder}, which cannot be used ({reason or 'it is not writable'}):"
            " set it to a folder that the server may write to."
        )


def _folder() -> Path:
    folder: Path = current_app.config["UPLOAD_DIR"]
    make_private_directory(folder)
    return folder


def _shortened(name: str) -> str:
    if len(name) <= FILE_NAME_CHARACTERS:
        return name
    ending = Path(name).suffix[:20]
    return name[: FILE_NAME_CHARACTERS - len(ending)] + ending
