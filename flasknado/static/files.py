"""Folders of static files before a container: what takes ordinary requests from connections."""

from __future__ import annotations

import asyncio
import os
import time
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

from flasknado.errors import ConfigurationError
from flasknado.http.date import date_field
from flasknado.http.message import (
    REASON_PHRASES,
    SERVER_SOFTWARE,
    Body,
    RequestHead,
    ResponseHead,
    field_line,
    plain_response,
    status_line,
)
from flasknado.http.reply import Container, Reply
from flasknado.http.request_id import REQUEST_ID_FIELD
from flasknado.static.conditions import UNSATISFIABLE, Part, encoding_of, part_of, status_of
from flasknado.static.lookup import Found, Variant, find, fingerprint_of, relative_path

KEPT_FILES: Final = 1024
KEPT_TOTAL_BYTES: Final = 32 * 1024 * 1024
OPEN_FILES: Final = 128
"""What is kept of the files that were asked for last, in each worker."""

FRESH_S: Final = 1.0
"""How long a file that has been looked at counts as unchanged."""

_WANTED: Final = frozenset(
    (
        b"accept-encoding",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"range",
    )
)
_SERVER: Final = ("Server", SERVER_SOFTWARE)
_SERVER_LINE: Final = field_line(*_SERVER)
_STATUS_LINES: Final = {
    status: status_line(status, REASON_PHRASES[status]) for status in (200, 206, 304, 412)
}


class StaticFiles:
    """Answers requests below some prefixes with files, and leaves the others to a container.

    folders: by path prefix, such as `/static`. mount: the prefixes lie below it.

    Files are looked for by threads of the loop's executor, and kept for those who ask next:
    small ones in memory, large ones open. Belongs to the loop's thread. Raises
    `ConfigurationError` for a prefix or a folder that cannot be served.
    """

    def __init__(
        self, folders: Mapping[str, str | Path], container: Container, mount: str = ""
    ) -> None:
        self._container = container
        self._folders = [
            (mount + checked_prefix(prefix) + "/", checked_folder(folder))
            for prefix, folder in sorted(folders.items(), key=lambda item: -len(item[0]))
        ]
        self._known: OrderedDict[str, Found] = OrderedDict()
        self._waiting: dict[str, list[tuple[RequestHead, Reply]]] = {}
        self._kept_bytes = 0
        self._open_files = 0

    @property
    def folders(self) -> list[str]:
        """The folders whose files are served."""
        return [folder for _, folder in self._folders]

    @property
    def requests_waiting(self) -> int:
        """How many requests wait for a thread of the container. Any thread."""
        return self._container.requests_waiting

    def max_body_bytes_for(self, head: RequestHead) -> int:
        """Return the largest body accepted for this request: none where files are."""
        path = head.path
        for prefix, _ in self._folders:
            if path.startswith(prefix):
                return 0
        return self._container.max_body_bytes_for(head)

    def handle(self, head: RequestHead, body: Body | None, reply: Reply) -> None:
        """Answer a request for a file; on the loop's thread, where it waits for nothing."""
        path = head.path
        prefix = folder = ""
        for prefix, folder in self._folders:  # noqa: B007 (what the loop ends with)
            if path.startswith(prefix):
                break
        else:
            self._container.handle(head, body, reply)
            return
        head.route = f"{prefix}*"
        if head.method not in ("GET", "HEAD"):
            message = f"only GET and HEAD are allowed here, not {head.method}"
            reply.send(*plain_response(head, 405, message, (("Allow", "GET, HEAD"),)))
            return
        found = self._known.get(path)
        if found is not None and time.monotonic() - found.checked_at < FRESH_S:
            self._known.move_to_end(path)
            self._answer(head, reply, found)
            return
        waiting = self._waiting.get(path)
        if waiting is not None:
            waiting.append((head, reply))
            return
        relative = relative_path(path[len(prefix) :])
        if relative is None:
            _refuse(head, reply)
            return
        self._waiting[path] = [(head, reply)]
        fingerprint = found.fingerprint if found is not None else None
        looking = asyncio.get_running_loop().run_in_executor(
            None, _look, folder, relative, fingerprint
        )
        looking.add_done_callback(partial(self._looked, path))

    def close(self) -> None:
        """Forget all files, and close those that are open."""
        for found in self._known.values():
            found.close()
        self._known.clear()
        self._kept_bytes = self._open_files = 0

    # Files that have been looked for.

    def _looked(self, path: str, looking: asyncio.Future[Found | None]) -> None:
        waiting = self._waiting.pop(path, [])
        if looking.cancelled() or looking.exception() is not None:  # the disk, or no descriptor
            for head, reply in waiting:
                _refuse_for_now(head, reply)
            return
        new = looking.result()
        found = self._known.get(path) if new is None else new
        if found is None:  # unchanged, but forgotten meanwhile
            for head, reply in waiting:
                self.handle(head, None, reply)
            return
        if new is not None:
            self._forget(path)
        found.checked_at = time.monotonic()
        for head, reply in waiting:
            if not reply.gone:
                self._answer(head, reply, found)
        if new is not None and new.variants:
            self._keep(path, new)

    def _keep(self, path: str, found: Found) -> None:
        self._known[path] = found
        self._kept_bytes += found.kept_bytes
        self._open_files += found.open_files
        while (
            len(self._known) > KEPT_FILES
            or self._kept_bytes > KEPT_TOTAL_BYTES
            or self._open_files > OPEN_FILES
        ):
            self._forget(next(iter(self._known)))

    def _forget(self, path: str) -> None:
        found = self._known.pop(path, None)
        if found is not None:
            self._kept_bytes -= found.kept_bytes
            self._open_files -= found.open_files
            found.close()

    # Answers.

    def _answer(self, head: RequestHead, reply: Reply, found: Found) -> None:
        variants = found.variants
        if not variants:
            _refuse(head, reply)
            return
        fields = _fields_of(head)
        encoding = ""
        if len(variants) > 1:
            encoding = encoding_of(fields.get(b"accept-encoding", ""), found.encodings)
        variant = variants[encoding]
        status = status_of(fields, variant.etag, variant.modified_s)
        if status != 200:
            reply.send(_head_of(head, status, variant, None, ()), b"")
            return
        size_bytes = variant.size_bytes
        part = None
        if head.method == "GET" and b"range" in fields:
            part = part_of(fields, size_bytes, variant.etag, variant.modified_s)
        if part is None:
            response = _head_of(head, 200, variant, size_bytes, ())
            _send(head, reply, response, variant, Part(0, size_bytes))
        elif part is UNSATISFIABLE:
            total = (("Content-Range", f"bytes */{size_bytes}"),)
            message = f"the file has {size_bytes} bytes, so nothing of that range is there"
            reply.send(*plain_response(head, 416, message, total))
        else:
            last = part.offset + part.size_bytes - 1
            more = (("Content-Range", f"bytes {part.offset}-{last}/{size_bytes}"),)
            response = _head_of(head, 206, variant, part.size_bytes, more)
            _send(head, reply, response, variant, part)


def _send(
    head: RequestHead, reply: Reply, response: ResponseHead, variant: Variant, part: Part
) -> None:
    """Answer with a part of a file."""
    if not response.has_body:
        reply.send(response, b"")
    elif variant.file_fd < 0:
        content = variant.content
        if part.size_bytes != len(content):
            content = content[part.offset : part.offset + part.size_bytes]
        reply.send(response, content)
    else:
        try:
            file_fd = os.dup(variant.file_fd)
        except OSError:  # too many are open
            _refuse_for_now(head, reply)
            return
        reply.start(response)
        reply.leave_file(file_fd, part.offset, part.size_bytes)


def _look(folder: str, path: str, fingerprint: tuple[object, ...] | None) -> Found | None:
    """Return what a path has become, or `None` if it is as it was; on a thread of the executor."""
    if fingerprint is not None and fingerprint_of(folder, path) == fingerprint:
        return None
    return find(folder, path)


def _fields_of(head: RequestHead) -> dict[bytes, str]:
    """Return the fields that matter here; of one that is repeated, all values as a list."""
    found: dict[bytes, str] = {}
    for name, value in head.headers:
        lower = name.lower()
        if lower in _WANTED:
            text = value.decode("latin-1")
            found[lower] = f"{found[lower]},{text}" if lower in found else text
    return found


def _head_of(
    head: RequestHead,
    status: int,
    variant: Variant,
    length_bytes: int | None,
    more: tuple[tuple[str, str], ...],
) -> ResponseHead:
    date = date_field()
    lines = [_STATUS_LINES[status], *variant.lines]
    added = list(more)
    if length_bytes is not None:
        added.append(("Content-Length", str(length_bytes)))
    elif status == 412:
        added.append(("Content-Length", "0"))
    if head.request_id is not None:
        added.append((REQUEST_ID_FIELD, head.request_id))
    fields = [*variant.fields, *added, _SERVER, date.pair]
    lines += [field_line(name, value) for name, value in added]
    lines.append(_SERVER_LINE)
    lines.append(date.line)
    head.response_fields = fields
    has_body = head.method == "GET" and length_bytes is not None
    reason = REASON_PHRASES[status]
    return ResponseHead(status, reason, fields, length_bytes or 0, has_body, lines)


def _refuse_for_now(head: RequestHead, reply: Reply) -> None:
    retry = (("Retry-After", "5"),)
    reply.send(*plain_response(head, 503, "the file cannot be read now", retry))


def _refuse(head: RequestHead, reply: Reply) -> None:
    reply.send(*plain_response(head, 404, "there is no such file"))


def checked_prefix(prefix: str) -> str:
    """Return a path prefix of static files; raises `ConfigurationError` for what is none."""
    if not prefix.startswith("/") or prefix.endswith("/") or "//" in prefix:
        raise ConfigurationError(
            f"the prefix of static files must begin with a slash and not end with one, such as "
            f"/static, not {prefix!r}"
        )
    return prefix


def checked_folder(folder: str | Path) -> str:
    """Return the absolute path of a folder; raises `ConfigurationError` if there is none."""
    path = os.path.abspath(folder)  # noqa: PTH100 (a link stays one: it may be changed)
    if not Path(path).is_dir():
        raise ConfigurationError(f"the folder of static files {str(folder)!r} does not exist")
    return path
