"""Running a WSGI application and checking what it answers (PEP 3333).

The application is called, its response iterated and closed here, all on the calling
thread. Everything that it can do wrong ends in an answer, or in a closed connection once
bytes have been sent; never in a client that waits.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Final

from flasknado.environ import build_environ
from flasknado.errors import ClientDisconnected
from flasknado.http.message import (
    NO_CONTENT_STATUSES,
    Body,
    RequestHead,
    ResponseHead,
    plain_response,
)
from flasknado.http.reply import Reply
from flasknado.http.request_id import current_request_id
from flasknado.pool import Task
from flasknado.wsgi.deadline import DeadlineReply
from flasknado.wsgi.file_wrapper import BLOCK_SIZE_BYTES, FILE_TYPES, part_of_file
from flasknado.wsgi.handoff import HANDOFF_KEY, Handoff
from flasknado.wsgi.request_socket import RequestSocket
from flasknado.wsgi.response_head import ApplicationError, checked_head
from flasknado.wsgi.sendfile import LEAST_BYTES
from flasknado.wsgi.streams import Streams, StreamsFull

log: Final = logging.getLogger("flasknado.error")

RETRY_AFTER_S: Final = 1

WSGIApplication = Callable[..., Iterable[bytes]]
ExcInfo = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None] | None
)


SOCKET_KEYS: Final = ("werkzeug.socket", "gunicorn.socket")
"""Where libraries look for the socket of a request, under the names of other servers."""

# A name from a module that is not compiled is looked up at each use.
_HANDOFF_KEY: Final = HANDOFF_KEY
_FILES: Final = FILE_TYPES


class Run(Task):
    """One run of a WSGI application for one request: called, iterated and closed on one thread."""

    __slots__ = (
        "_application",
        "_away",
        "_base_environ",
        "_body",
        "_complete",
        "_environ",
        "_full",
        "_head",
        "_holds",
        "_remaining_bytes",
        "_request",
        "_socket",
        "_started",
        "_streams",
        "reply",
        "timed_out",
    )

    def __init__(
        self,
        application: WSGIApplication,
        base_environ: dict[str, Any],
        request: RequestHead,
        body: Body | None,
        reply: Reply,
        streams: Streams | None = None,
    ) -> None:
        super().__init__()
        self._application = application
        self._base_environ = base_environ
        self._request = request
        self._body = body
        self.reply = reply
        self._environ: dict[str, Any] = {}
        self._head: ResponseHead | None = None
        self._started = False
        self._complete = False
        self._full = False
        """True once more of the body would not be sent."""
        self._remaining_bytes: int | None = None
        self._streams = streams
        self._holds = False
        """Whether it is counted among the streams."""
        self._away = False
        """True once what the application answers is not for the client any more."""
        self._socket: RequestSocket | None = None
        self.timed_out = False
        """True once the client has been answered 504 in the thread's place."""

    # What the pool and the container call.

    def run(self) -> None:
        """Call the application and send what it answers; returns when all of it is closed.

        Never raises: an error is logged and becomes a 500, or a closed connection.
        """
        try:
            if not self.reply.gone:
                request = self._request
                current_request_id.set(request.request_id)
                environ = self._environ = build_environ(request, self._body, self._base_environ)
                if request.upgrade and self.reply.leaves_http:
                    self._offer_socket(environ)
                self._serve(environ)
        finally:
            close_body(self._body)
            if self._holds and self._streams is not None:
                self._streams.end(self)
            if self._socket is not None:
                self._socket.end()

    def shed(self) -> None:
        """Answer 503: it has waited too long for a thread."""
        close_body(self._body)
        refuse_overload(self._request, self.reply)

    def time_out(self) -> bool:
        """Answer 504 if no response has begun; returns whether it did. On the loop's thread."""
        reply = self.reply
        if isinstance(reply, DeadlineReply) and reply.time_out(self._request):
            self.timed_out = True
            return True
        return False

    @property
    def streaming(self) -> bool:
        """Whether a response has begun whose end is not known, or the socket was taken."""
        return self._holds or self.reply.begun

    @property
    def sends_events(self) -> bool:
        """Whether its response is a stream of server-sent events. On any thread."""
        head = self._head
        return self._holds and head is not None and head.is_event_stream

    @property
    def socket(self) -> RequestSocket | None:
        """The socket that the request offers, if it may leave HTTP. May be read on any thread."""
        return self._socket

    @property
    def request(self) -> RequestHead:
        """The request that it answers. May be read on any thread."""
        return self._request

    @property
    def route(self) -> str | None:
        """Flask's rule for it, once Flask has found one. May be read on any thread."""
        known = self._request.route
        return known if known is not None else self._rule()

    # What runs the application.

    def _serve(self, environ: dict[str, Any]) -> None:
        iterable: Iterable[bytes] | None = None
        handoff: Handoff | None = None
        try:
            iterable = self._application(environ, self.start_response)
            handoff = self._handoff()
            if handoff is None and not self._away:
                self._iterate(iterable)
        except StreamsFull:
            log.warning("%s was refused: too many streams", _request_line(environ))
        except ClientDisconnected:
            log.info("the client left during %s", _request_line(environ))
        except BaseException as error:
            self._fail(environ, error)
        finally:
            close = getattr(iterable, "close", None)
            if close is not None:
                try:
                    close()
                except BaseException:
                    log.exception("close() of the response failed in %s", _request_line(environ))
        if handoff is not None and self._head is not None:
            handoff.leave(self.reply, self._request, self._head)

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo = None
    ) -> Callable[[bytes], None]:
        """Take the head of the response (PEP 3333); it is sent with the first bytes of body."""
        if exc_info is not None:
            try:
                if self._started and exc_info[1] is not None:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self._head is not None:
            raise ApplicationError("start_response() was called a second time without exc_info")
        request = self._request
        request.route = self._rule()
        self._head = checked_head(status, headers, request.method, request.request_id)
        request.response_fields = self._head.headers
        return self._push

    # What holds the thread.

    def _hold(self) -> None:
        """Count this among the streams; if those are too many, answer 503 and raise."""
        streams = self._streams
        if self._holds:
            return
        if streams is None or streams.begin(self):
            self._holds = True
            return
        self._started = self._complete = self._away = True
        refuse_overload(self._request, self.reply)
        raise StreamsFull("too many streams are open", retry_after=RETRY_AFTER_S)

    def _offer_socket(self, environ: dict[str, Any]) -> None:
        offered = self._socket = RequestSocket(self.reply, self._request, self._take_socket)
        for key in SOCKET_KEYS:
            environ[key] = offered

    def _take_socket(self) -> None:
        """Say that the application answers on the socket itself; raises if it may not."""
        if self._started:
            raise ClientDisconnected("the socket cannot be taken: a response has begun")
        self._hold()
        self._started = self._complete = self._away = True

    def _rule(self) -> str | None:
        # Werkzeug keeps its request there as long as the context lasts.
        rule = getattr(self._environ.get("werkzeug.request"), "url_rule", None)
        return rule.rule if rule is not None else None

    def _handoff(self) -> Handoff | None:
        """Return whom the application leaves its response to, if that is still the same."""
        handoff = self._environ.get(_HANDOFF_KEY)
        if handoff is None:
            return None
        head = self._head
        if not isinstance(handoff, Handoff) or head is None or self._started:
            return None
        return handoff if handoff.fits(head) else None

    def _iterate(self, iterable: Iterable[bytes]) -> None:
        if isinstance(iterable, (list, tuple)) and len(iterable) == 1:
            self._know_length(iterable[0])
        elif type(iterable) in _FILES and self._leave_file(iterable):
            return
        for chunk in iterable:
            if chunk:
                self._push(chunk)
                if self._full:
                    break
            elif not isinstance(chunk, bytes):
                raise _not_bytes(chunk)
        self._end()

    def _leave_file(self, iterable: Any) -> bool:
        """Leave a regular file to the loop if the response is one; returns whether it is.

        The application may close its own descriptor of it at once. A small one is sent in one
        piece: between two a client that does not read would hold the thread.
        """
        head = self._head
        if head is None or not head.has_body or self._started or head.content_length is None:
            return False
        size_bytes = head.content_length
        part = part_of_file(iterable) if size_bytes > BLOCK_SIZE_BYTES else None
        if part is None or part.size_bytes < size_bytes:
            return False
        if size_bytes < LEAST_BYTES:
            self._push(_read(iterable, size_bytes))
            self._end()
            return True
        try:
            file_fd = os.dup(part.file_fd)
        except OSError:  # too many are open
            return False
        try:
            self.reply.start(head)
        except BaseException:
            os.close(file_fd)
            raise
        self._started = self._complete = True
        self._remaining_bytes = 0
        self.reply.leave_file(file_fd, part.offset, size_bytes)
        return True

    def _know_length(self, chunk: object) -> None:
        """Announce the length of a body that is in one piece (PEP 3333, "Content-Length")."""
        head = self._head
        if (
            head is not None
            and head.content_length is None
            and head.status not in NO_CONTENT_STATUSES
            and isinstance(chunk, bytes)
            and not self._started
        ):
            head.announce_length(len(chunk))

    def _push(self, chunk: bytes) -> None:
        """Send a part of the body, and the head before the first one."""
        if not isinstance(chunk, bytes):
            raise _not_bytes(chunk)
        head = self._head
        if head is None:
            raise ApplicationError("the application did not call start_response() before its body")
        if not head.has_body:
            self._full = True
            if not self._started:
                self._send(head, b"")
            return
        if self._complete and self._remaining_bytes != 0:
            # What came now would be read as the beginning of the next response.
            raise ApplicationError("the application called write() after its response had ended")
        if not self._started:
            length = head.content_length
            if length is not None and len(chunk) >= length:
                self._send(head, chunk[:length])
                self._remaining_bytes = 0
                if len(chunk) > length:
                    self._report_excess()
                return
            if length is None:
                self._hold()
            self.reply.start(head)
            self._started = True
            self._remaining_bytes = length
        if self._remaining_bytes is not None:
            if len(chunk) > self._remaining_bytes:
                self._report_excess()
                chunk = chunk[: self._remaining_bytes]
            self._remaining_bytes -= len(chunk)
        if chunk:
            self.reply.write(chunk)

    def _send(self, head: ResponseHead, body: bytes) -> None:
        self.reply.send(head, body)
        self._started = self._complete = True

    def _end(self) -> None:
        head = self._head
        if head is None:
            raise ApplicationError("the application returned without calling start_response()")
        if not self._started:
            if head.has_body and head.content_length is None:
                head.announce_length(0)
            elif head.has_body and head.content_length:
                raise ApplicationError(
                    f"Content-Length is {head.content_length}, but the body is empty"
                )
            self._send(head, b"")
        elif not self._complete:
            if self._remaining_bytes:
                raise ApplicationError(
                    f"the body ended {self._remaining_bytes} bytes short of its Content-Length"
                )
            self._complete = True
            self.reply.finish()

    def _report_excess(self) -> None:
        if not self._full:
            self._full = True
            log.error("the body was longer than its Content-Length; the rest was not sent")

    def _fail(self, environ: dict[str, Any], error: BaseException) -> None:
        if self._away and isinstance(error, (OSError, StopIteration)):
            # How libraries leave the WSGI call after a WebSocket.
            log.debug("%s left HTTP and ended: %r", _request_line(environ), error)
            return
        log.error("the application failed in %s", _request_line(environ), exc_info=error)
        if not self._started:
            self._started = self._complete = True
            message = "Internal Server Error."
            request_id = environ.get("flasknado.request_id")
            if request_id:
                message = f"Internal Server Error. Reference: {request_id}"
            self.reply.send(*plain_response(self._request, 500, message))
        elif not self._complete:
            self._complete = True
            self.reply.abort()


def _read(blocks: Iterable[bytes], size_bytes: int) -> bytes:
    """Return blocks as one, as many as it takes."""
    read: list[bytes] = []
    for block in blocks:
        read.append(block)
        size_bytes -= len(block)
        if size_bytes <= 0:
            break
    return b"".join(read)


def close_body(body: Body | None) -> None:
    """Let the file of a body go, if there is one."""
    if body is not None:
        body.stream.close()


def refuse_overload(head: RequestHead, reply: Reply) -> None:
    """Answer 503: more requests wait than the server takes on."""
    fields = (("Retry-After", str(RETRY_AFTER_S)),)
    reply.send(*plain_response(head, 503, "The server is busy: try again shortly.", fields))


def _not_bytes(chunk: object) -> ApplicationError:
    return ApplicationError(f"the body must be bytes, not {type(chunk).__name__}")


def _request_line(environ: dict[str, Any]) -> str:
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    line = f"{environ.get('REQUEST_METHOD')} {ascii(path)[1:-1]}"
    request_id = environ.get("flasknado.request_id")
    return f"{line} [{request_id}]" if request_id else line
