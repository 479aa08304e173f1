"""Uploads that go to files while they arrive: the view gets their paths.

    routes = [(r"/files", UploadHandler, {"directory": "/srv/incoming"})]

    @app.post("/files")
    def receive():
        for upload in request.environ["flasknado.uploads"]:
            upload.move_to(Path("/srv/files") / secure_filename(upload.filename))

Without it a file of a form is written twice before the view has it: with the body, and by
Werkzeug's parser, on the view's thread; and a third time by `save()`. Parsing and writing are
done by threads of their own, so the loop does neither.
"""

from __future__ import annotations

import asyncio
import io
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import BinaryIO, Final

from tornado.web import RequestHandler, stream_request_body

from flasknado.errors import ConfigurationError, RequestError
from flasknado.http.message import Body
from flasknado.http.spool import cannot_keep
from flasknado.native import tornado_private
from flasknado.native.heads import head_of
from flasknado.stock.adapter import StockReply
from flasknado.uploads.receivers import Receiver, Upload, receiver_of
from flasknado.wsgi.container import ApplicationContainer

log = logging.getLogger("flasknado.http")

UPLOADS_KEY: Final = "flasknado.uploads"
"""Where the environ of a request has its `Upload`s."""

WRITE_BYTES: Final = 64 * 1024
"""How much is gathered before a thread parses and writes it."""

THREADS: Final = 4
_threads: ThreadPoolExecutor | None = None


@stream_request_body
class UploadHandler(RequestHandler):
    """A native route that writes uploads to files and then calls the application.

    directory: where the files are made; default: `tempfile.gettempdir()`. container: what runs
    the application; default: the server's.

    The view finds a list of `Upload` in `request.environ["flasknado.uploads"]`: the files of a
    `multipart/form-data`, whose other fields are in `request.form` as usual; or for any other
    type the body, which it can also read as usual. What it has not moved away is removed when
    the response has ended.

    The body's limit is that of the path (`--max-body-for`), or the server's; a form may have
    `MAX_UPLOADS` files, and `MAX_FIELDS` other fields of `MAX_FIELDS_BYTES` together (413). To
    refuse somebody before anything is read, override `prepare()` and await `in_flask` there.
    """

    def initialize(
        self,
        directory: str | os.PathLike[str] | None = None,
        container: ApplicationContainer | None = None,
    ) -> None:
        if container is None:
            container = getattr(self.settings.get("http_server"), "container", None)
        if container is None:
            raise ConfigurationError(
                "UploadHandler has no application to call: serve a WSGIContainer beside it, "
                "or pass container="
            )
        self._container: ApplicationContainer = container
        self._directory = directory
        self._waiting = bytearray()
        self._receiver: Receiver | None = None
        self._over = False
        """True once the client has gone, or has been refused."""

    async def data_received(self, chunk: bytes) -> None:
        """Have a part of the body written; reading goes on when it is."""
        self._waiting += chunk
        if len(self._waiting) >= WRITE_BYTES:
            await self._write()

    async def _write(self, *, last: bool = False) -> None:
        data = bytes(self._waiting)
        self._waiting.clear()
        if self._over:
            return
        try:
            if self._receiver is None:
                content_type = self.request.headers.get("Content-Type", "")
                self._receiver = receiver_of(content_type, self._directory)
            feed = partial(self._receiver.feed, data, last=last)
            await asyncio.get_running_loop().run_in_executor(_executor(), feed)
        except RequestError as error:
            self._refuse(error)
        except OSError as error:
            log.error("an upload cannot be stored: %s", error)
            self._refuse(cannot_keep())

    def _refuse(self, error: RequestError) -> None:
        if self._over:
            return
        self._discard()
        self.set_status(error.status)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.set_header("Connection", "close")
        self.finish(f"{error}\n")

    def _discard(self) -> None:
        self._over = True
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            _executor().submit(receiver.discard)

    def on_connection_close(self) -> None:
        """Remove what has come."""
        self._discard()

    async def _call_application(self, *_: str, **__: str) -> None:
        headers = self.request.headers
        has_body = "Content-Length" in headers or "Transfer-Encoding" in headers
        if has_body:
            await self._write(last=True)
        if self._over:
            return
        receiver, self._receiver = self._receiver, None
        uploads: list[Upload] = []
        stream: BinaryIO = io.BytesIO()
        length_bytes = 0
        if receiver is not None:
            uploads = receiver.uploads
            stream, length_bytes = receiver.body()
            headers.pop("Transfer-Encoding", None)
            headers["Content-Length"] = str(length_bytes)
            if receiver.content_type is not None:
                headers["Content-Type"] = receiver.content_type
        connection = self.request.connection
        assert connection is not None
        try:
            head = head_of(self.request)
        except RequestError as error:
            stream.close()
            self._refuse(error)
            return
        tornado_private.leave_to_another(self)
        base = {**self._container.base_environ, UPLOADS_KEY: uploads}
        body = Body(stream, length_bytes) if has_body else None
        self._container.handle(head, body, StockReply(connection, head), base)

    get = post = put = patch = delete = head = options = _call_application


def _executor() -> ThreadPoolExecutor:
    global _threads  # made when needed, so after the fork
    if _threads is None:
        _threads = ThreadPoolExecutor(THREADS, thread_name_prefix="flasknado-upload")
    return _threads
