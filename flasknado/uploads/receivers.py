"""What takes the body of an upload: a form with files in it, or one file.

On threads, a piece at a time; no Tornado and no event loop here.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import urlencode

from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from flasknado.errors import RequestError

MAX_UPLOADS: Final = 100
MAX_FIELDS: Final = 1000
MAX_FIELDS_BYTES: Final = 500_000
"""What the fields of a form may take that are no files; Flask's own default."""

MAX_BOUNDARY_BYTES: Final = 70  # RFC 2046, section 5.1.1


@dataclass(frozen=True)
class Upload:
    """A file that has been uploaded, at `path` until the response has ended.

    name: of its field; empty if the file was the whole body. filename: what the client calls
    it, not to be trusted; empty if it does not. content_type: what the client says, or empty.
    """

    name: str
    filename: str
    content_type: str
    path: Path
    size_bytes: int

    def move_to(self, destination: str | os.PathLike[str]) -> None:
        """Keep the file, under another name. On the view's thread.

        Within the file system of the handler's `directory` nothing is copied.
        """
        shutil.move(self.path, destination)


class Receiver:
    """Takes a body, piece by piece, on any thread.

    `content_type` is that of the body that the view gets, if it is another than what has come.
    """

    content_type: str | None = None

    def __init__(self, directory: str | os.PathLike[str] | None) -> None:
        self.uploads: list[Upload] = []
        self._directory = directory
        self._file: BinaryIO | None = None
        self._path = Path()
        self._lock = threading.Lock()
        self._discarded = False

    def feed(self, data: bytes, *, last: bool = False) -> None:
        """Take a piece of the body; raises `RequestError`, or `OSError` of the disk."""
        with self._lock:
            if not self._discarded:
                self._take(data, last)

    def discard(self) -> None:
        """Remove what has come, and take no more."""
        with self._lock:
            self._discarded = True
            if self._file is not None:
                self._path.unlink(missing_ok=True)
                file, self._file = self._file, None
                with contextlib.suppress(OSError):  # a disk that is full fails again
                    file.close()
            remove(self.uploads)

    def body(self) -> tuple[BinaryIO, int]:
        """Return what the view reads, and its size; closing it removes the files."""
        raise NotImplementedError

    def _take(self, data: bytes, last: bool) -> None:
        raise NotImplementedError

    def _open(self) -> None:
        file_fd, path = tempfile.mkstemp(prefix="flasknado-upload-", dir=self._directory)
        self._file = os.fdopen(file_fd, "wb")
        self._path = Path(path)

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        self._file.write(data)

    def _close(self, name: str, filename: str, content_type: str) -> None:
        assert self._file is not None
        size_bytes = self._file.tell()
        self._file.close()
        self._file = None
        self.uploads.append(Upload(name, filename, content_type, self._path, size_bytes))


class FileReceiver(Receiver):
    """Takes a body that is one file."""

    def __init__(self, directory: str | os.PathLike[str] | None, content_type: str) -> None:
        super().__init__(directory)
        self._said = content_type

    def _take(self, data: bytes, last: bool) -> None:
        if self._file is None:
            self._open()
        self._write(data)
        if last:
            self._close("", "", self._said)

    def body(self) -> tuple[BinaryIO, int]:
        [upload] = self.uploads
        return _FileOfBody(upload), upload.size_bytes


class FormReceiver(Receiver):
    """Takes a form: its files are written, its fields become a form without files."""

    content_type = "application/x-www-form-urlencoded"

    def __init__(self, directory: str | os.PathLike[str] | None, boundary: bytes) -> None:
        super().__init__(directory)
        self._decoder = MultipartDecoder(boundary)
        self._fields: list[tuple[str, bytes]] = []
        self._fields_bytes = 0
        self._part: Field | File | None = None
        self._value = bytearray()

    def _take(self, data: bytes, last: bool) -> None:
        try:
            self._decoder.receive_data(data)
            if last:
                self._decoder.receive_data(None)
            while True:
                event = self._decoder.next_event()
                if isinstance(event, (NeedData, Epilogue)):
                    break
                if isinstance(event, (Field, File)):
                    self._begin(event)
                elif isinstance(event, Data):
                    self._go_on(event)
        except ValueError as error:
            raise RequestError(400, f"the form is malformed: {error}") from None
        if len(self._decoder.buffer) > MAX_FIELDS_BYTES:
            raise RequestError(400, "the form is malformed: too much of it is outside its parts")

    def _begin(self, part: Field | File) -> None:
        if part.name is None:
            raise RequestError(400, "the form is malformed: a part has no name")
        self._part = part
        self._count(len(part.name.encode(errors="replace")))
        if isinstance(part, File):
            if len(self.uploads) == MAX_UPLOADS:
                raise RequestError(413, f"the form has more than {MAX_UPLOADS} files")
            self._open()
        elif len(self._fields) == MAX_FIELDS:
            raise RequestError(413, f"the form has more than {MAX_FIELDS} fields")

    def _go_on(self, piece: Data) -> None:
        part = self._part
        if isinstance(part, File):
            self._write(piece.data)
            if not piece.more_data:
                self._close(part.name, part.filename, part.headers.get("Content-Type", ""))
        elif part is not None:
            self._count(len(piece.data))
            self._value += piece.data
            if not piece.more_data:
                self._fields.append((part.name, bytes(self._value)))
                self._value.clear()

    def _count(self, size_bytes: int) -> None:
        self._fields_bytes += size_bytes
        if self._fields_bytes > MAX_FIELDS_BYTES:
            raise RequestError(
                413, f"the fields of the form are larger than the {MAX_FIELDS_BYTES} bytes accepted"
            )

    def body(self) -> tuple[BinaryIO, int]:
        content = urlencode(self._fields).encode()
        return _Fields(content, self.uploads), len(content)


class _Fields(io.BytesIO):
    """The fields of a form; the files go when it is closed, which the container does at the end."""

    def __init__(self, content: bytes, uploads: list[Upload]) -> None:
        super().__init__(content)
        self._uploads = uploads

    def close(self) -> None:
        remove(self._uploads)
        super().close()


class _FileOfBody(io.FileIO):
    """A body that is one file, which goes when it is closed."""

    def __init__(self, upload: Upload) -> None:
        super().__init__(str(upload.path))
        self._upload = upload

    def close(self) -> None:
        remove([self._upload])
        super().close()


def receiver_of(content_type: str, directory: str | os.PathLike[str] | None) -> Receiver:
    """Return what takes a body of a type; raises `RequestError` for a form without a boundary."""
    kind, options = parse_options_header(content_type)
    if kind != "multipart/form-data":
        return FileReceiver(directory, content_type)
    boundary = options.get("boundary", "").encode("latin-1", "replace")
    if not 0 < len(boundary) <= MAX_BOUNDARY_BYTES:
        raise RequestError(
            400, f"the form has no boundary of 1 to {MAX_BOUNDARY_BYTES} bytes (RFC 2046, 5.1.1)"
        )
    return FormReceiver(directory, boundary)


def remove(uploads: list[Upload]) -> None:
    """Remove the files that nobody has moved away."""
    for upload in uploads:
        with contextlib.suppress(OSError):
            upload.path.unlink()
