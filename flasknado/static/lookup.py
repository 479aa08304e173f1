"""Finding static files: opened, examined and, if they are small, read; on any thread.

What is served is a regular file below the folder. A path with `..` or a hidden segment, and a
symbolic link that leads out of the folder, is not found.
"""

from __future__ import annotations

import contextlib
import mimetypes
import os
import stat
from typing import Final
from urllib.parse import unquote_to_bytes
from wsgiref.handlers import format_date_time

from flasknado.http.message import field_line

KEPT_BYTES: Final = 256 * 1024
"""Files up to this size are kept in memory, larger ones open."""

ENCODINGS: Final = {"br": ".br", "zstd": ".zst", "gzip": ".gz"}
"""Encodings by preference, and the endings of the files that hold them."""

WELL_KNOWN: Final = b".well-known"
"""The hidden folder that is meant to be seen (RFC 8615)."""

_DESCRIPTORS: Final = "/proc/self/fd"
_TEXT: Final = ("application/javascript", "application/json", "application/xml", "image/svg+xml")


class Variant:
    """One form of a file, as it is or compressed: in memory, or open."""

    __slots__ = ("content", "etag", "fields", "file_fd", "lines", "modified_s", "size_bytes")

    def __init__(self, file_fd: int, status: os.stat_result, encoding: str) -> None:
        self.size_bytes = status.st_size
        self.modified_s = int(status.st_mtime)
        self.file_fd = -1
        self.content = b""
        if self.size_bytes <= KEPT_BYTES:
            try:
                self.content = _read(file_fd, self.size_bytes)
            finally:
                os.close(file_fd)
            self.size_bytes = len(self.content)
        else:
            self.file_fd = file_fd
        suffix = f"-{encoding}" if encoding else ""
        self.etag = f'"{status.st_mtime_ns:x}-{self.size_bytes:x}{suffix}"'
        self.fields: list[tuple[str, str]] = []
        self.lines: list[bytes] = []

    def describe(self, fields: list[tuple[str, str]]) -> None:
        """Set the fields of a response with this form, apart from its length."""
        self.fields = [
            *fields,
            ("ETag", self.etag),
            ("Last-Modified", format_date_time(self.modified_s)),
            ("Accept-Ranges", "bytes"),
            ("Cache-Control", "no-cache"),
        ]
        self.lines = [field_line(name, value) for name, value in self.fields]

    def close(self) -> None:
        """Close the file, if it is open."""
        if self.file_fd >= 0:
            os.close(self.file_fd)
            self.file_fd = -1


class Found:
    """A file that is served, in all its forms by encoding; empty if there is none."""

    __slots__ = ("checked_at", "fingerprint", "variants")

    def __init__(self, variants: dict[str, Variant], fingerprint: tuple[object, ...]) -> None:
        self.variants = variants
        self.fingerprint = fingerprint
        """What `fingerprint_of` said of the path when it was read."""
        self.checked_at = 0.0

    @property
    def encodings(self) -> list[str]:
        """The encodings that it is there in, by preference."""
        return [encoding for encoding in ENCODINGS if encoding in self.variants]

    @property
    def kept_bytes(self) -> int:
        """How much of it is in memory."""
        return sum(len(variant.content) for variant in self.variants.values())

    @property
    def open_files(self) -> int:
        """How many files it holds open."""
        return sum(variant.file_fd >= 0 for variant in self.variants.values())

    def close(self) -> None:
        """Close its files."""
        for variant in self.variants.values():
            variant.close()


def relative_path(text: str) -> str | None:
    """Return the path of a file below its folder, for the rest of a request's path.

    text: percent-encoded, without the slash before it. `None` for what is never served.
    """
    raw = unquote_to_bytes(text)
    segments = raw.split(b"/")
    for number, segment in enumerate(segments):
        if not segment or b"\0" in segment or b"\\" in segment:
            return None
        if segment.startswith(b".") and not (segment == WELL_KNOWN and not number):
            return None
    return os.fsdecode(raw)


def fingerprint_of(folder: str, path: str) -> tuple[object, ...]:
    """Return what changes whenever a file, or one of its compressed forms, does."""
    marks: list[object] = []
    for ending in ("", *ENCODINGS.values()):
        try:
            status = os.stat(f"{folder}/{path}{ending}")  # noqa: PTH116 (often called)
        except (OSError, ValueError):
            marks.append(None)
        else:
            marks.append((status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size))
    return tuple(marks)


def find(folder: str, path: str) -> Found:
    """Return the file at a path below a folder, with the forms that are beside it."""
    fingerprint = fingerprint_of(folder, path)
    if fingerprint[0] is None:
        return Found({}, fingerprint)
    root = os.path.realpath(folder)
    plain = _open(root, path)
    if plain is None:
        return Found({}, fingerprint)
    variants = {"": Variant(*plain, "")}
    for encoding, ending in ENCODINGS.items():
        beside = _open(root, path + ending)
        if beside is None:
            continue
        if beside[1].st_mtime < plain[1].st_mtime:  # of an older version
            os.close(beside[0])
            continue
        variants[encoding] = Variant(*beside, encoding)
    kind, encoded = mimetypes.guess_type(path)
    if encoded is not None or kind is None:
        kind = "application/gzip" if encoded == "gzip" else "application/octet-stream"
    elif kind.startswith("text/") or kind in _TEXT:
        kind = f"{kind}; charset=utf-8"
    vary = [("Vary", "Accept-Encoding")] if len(variants) > 1 else []
    for encoding, variant in variants.items():
        coding = [("Content-Encoding", encoding)] if encoding else []
        variant.describe([("Content-Type", kind), *coding, *vary])
    return Found(variants, fingerprint)


def _open(root: str, path: str) -> tuple[int, os.stat_result] | None:
    """Return a descriptor of a regular file within a folder, and its status; `None` if none."""
    # A pipe, or a device, must not hold the thread up.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    try:
        file_fd = os.open(f"{root}/{path}", flags)
    except (OSError, ValueError):
        return None
    with contextlib.ExitStack() as failing:
        failing.callback(os.close, file_fd)
        status = os.fstat(file_fd)
        if stat.S_ISREG(status.st_mode) and _is_within(root, path, file_fd):
            failing.pop_all()
            return file_fd, status
    return None


def _is_within(root: str, path: str, file_fd: int) -> bool:
    """Return whether a file that has been opened lies below a folder, whatever links led to it."""
    try:
        # Of what is open: links that are changed meanwhile make no difference.
        place = os.readlink(f"{_DESCRIPTORS}/{file_fd}")  # noqa: PTH115
    except OSError:
        place = os.path.realpath(f"{root}/{path}")
    return place.startswith(f"{root.rstrip('/')}/")


def _read(file_fd: int, size_bytes: int) -> bytes:
    parts = []
    offset = 0
    while offset < size_bytes:
        part = os.pread(file_fd, size_bytes - offset, offset)
        if not part:
            break
        parts.append(part)
        offset += len(part)
    return b"".join(parts)
