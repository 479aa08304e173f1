"""`stream()`: a response whose body an async iterator makes, on the server's event loop.

The view's thread, context and transaction end with the view. Under another server, and where
middleware has taken the response up, the same response is a plain iterator that runs on a thread.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import re
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Mapping
from typing import Any

import flask
from flask import Response, current_app

from flasknado.http.message import RequestHead, ResponseHead
from flasknado.http.reply import LoopReply, Reply
from flasknado.on_loop import HOST_KEY
from flasknado.on_loop.host import LoopHost
from flasknado.on_loop.request_copy import RequestCopy
from flasknado.on_loop.streams import LoopStream, bytes_of, log_failed_teardown
from flasknado.wsgi.handoff import HANDOFF_KEY, Handoff, is_unchanged

DEFAULT_IDLE_TIMEOUT_S = 300.0
EVENT_STREAM = "text/event-stream"

_LINE_END = re.compile(r"\r\n|\r|\n")


def stream(
    source: AsyncIterable[bytes | str],
    mimetype: str = "text/plain",
    *,
    status: int = 200,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
    idle_timeout_s: float | None = DEFAULT_IDLE_TIMEOUT_S,
    timeout_s: float | None = None,
    drain_grace_s: float | None = None,
) -> Response:
    """Return a response whose body `source` yields, on the server's event loop; in a view.

    `source` is an async iterator, such as a call of an async generator function, of bytes or
    text (sent as UTF-8), at most 1 MiB at a time; `server_sent_event()` and `json_line()` encode
    both formats. It is asked for more once the client has taken what came before. It holds no
    thread: the view's thread, context and transaction end with the view. So it must not block the
    event loop, as SQLAlchemy's sessions would.

    While it runs, `request`, `session` and `current_app` are those of the view, as with
    `flask.copy_current_request_context`: with a `g` of its own, without what comes in the
    body unless the view has read it, and changes of the session are not kept. Teardown functions
    run once more when it has ended.

    The head is sent with the first chunk. If `source` raises before, the client gets 500;
    afterwards the connection is closed before the end of the body. It is cancelled
    (`asyncio.CancelledError` where it awaits) and closed when the client leaves, after
    `idle_timeout_s` without a chunk, after `timeout_s` in all, and when the server's drain ends.
    A stream of server-sent events that is silent for 15 seconds gets a comment.

    Once the server drains, a stream of server-sent events may go on for `--stream-grace`, and any
    other for the whole of the drain, or each for `drain_grace_s`, if that is given. Then it is
    cancelled and closed, and the body ends there as if it were complete, so that an `EventSource`
    connects again, to another server.

    Under another server the response is a plain iterator, which runs `source` on an event loop of
    its own, on the thread. Raises `TypeError` for anything but an async iterator.
    """
    if not isinstance(source, AsyncIterable):
        raise TypeError(
            f"stream() takes an async iterator, such as a call of an async generator function, "
            f"not {type(source).__name__}; return a synchronous generator from the view itself"
        )
    if drain_grace_s is not None and drain_grace_s < 0:
        raise ValueError(f"drain_grace_s must be 0 seconds or more, not {drain_grace_s}")
    chunks = PlainChunks(source)
    response_class = _class_over(current_app.response_class)  # type: ignore[arg-type]  # hashable
    response = response_class(chunks, status=status, headers=headers, mimetype=mimetype)
    response.body_of_loop = LoopBody(chunks, idle_timeout_s, timeout_s, drain_grace_s)
    response.headers.setdefault("X-Accel-Buffering", "no")
    if response.mimetype == EVENT_STREAM:
        response.headers.setdefault("Cache-Control", "no-store")
    return response  # type: ignore[no-any-return]


def server_sent_event(
    data: Any, event: str | None = None, event_id: str | None = None, retry_ms: int | None = None
) -> str:
    """Return a server-sent event (HTML standard, section 9.2).

    `data` is text, which may have several lines, or anything else as JSON. Raises `ValueError` for
    an `event` or `event_id` with a line end, and an `event_id` with a NUL.
    """
    lines = []
    for name, value in (("event", event), ("id", event_id)):
        if value is not None:
            if _LINE_END.search(value) or (name == "id" and "\0" in value):
                raise ValueError(f"the {name} of a server-sent event is one line, not {value!r}")
            lines.append(f"{name}: {value}")
    if retry_ms is not None:
        lines.append(f"retry: {int(retry_ms)}")
    text = data if isinstance(data, str) else flask.json.dumps(data)
    lines += [f"data: {line}" for line in _LINE_END.split(text)]
    return "\n".join(lines) + "\n\n"


def json_line(data: Any) -> str:
    """Return data as a line of JSON (NDJSON, `application/x-ndjson`)."""
    text = flask.json.dumps(data)
    # A provider may indent; between tokens a line end means nothing.
    return text.replace("\r", "").replace("\n", " ") + "\n"


class LoopBody:
    """What the event loop needs to know of a response, until it has been sent."""

    def __init__(
        self,
        chunks: PlainChunks,
        idle_timeout_s: float | None,
        timeout_s: float | None,
        drain_grace_s: float | None,
    ) -> None:
        self.chunks = chunks
        self.idle_timeout_s = idle_timeout_s
        self.timeout_s = timeout_s
        self.drain_grace_s = drain_grace_s


class StreamMixin:
    """What a response class gets so that its body is made on the event loop."""

    body_of_loop: LoopBody
    response: Any

    def get_app_iter(self, environ: dict[str, Any]) -> Iterable[bytes]:
        """Register the hand-off, once it is this response that is sent, with this body."""
        body = self.body_of_loop
        iterable: Iterable[bytes] = super().get_app_iter(environ)  # type: ignore[misc]
        if self.response is body.chunks:
            body.chunks.enter(environ)
            host = environ.get(HOST_KEY)
            if host is not None:
                content_type: str = self.headers["Content-Type"]  # type: ignore[attr-defined]
                environ[HANDOFF_KEY] = _ToLoop(content_type, body, host, environ)
        return iterable


@functools.lru_cache(maxsize=64)
def _class_over(response_class: type[Response]) -> Any:
    """Return an application's own response class, as Flask would make it of any other."""
    return type(response_class.__name__, (StreamMixin, response_class), {})


class _ToLoop(Handoff):
    """Has the event loop make the body."""

    def __init__(
        self, content_type: str, body: LoopBody, host: LoopHost, environ: dict[str, Any]
    ) -> None:
        self._content_type = content_type
        self._body = body
        self._host = host
        self._environ = environ

    def fits(self, head: ResponseHead) -> bool:
        return is_unchanged(head, self._content_type)

    def leave(self, reply: Reply, request: RequestHead, head: ResponseHead) -> None:
        body, host = self._body, self._host
        del self._environ[HANDOFF_KEY]  # which lives as long as the stream: thousands are held
        leaving_blocks = body.chunks.leaving_blocks
        context, leave_context = body.chunks.take_context()
        made = LoopStream(
            body.chunks.source,
            context,
            leave_context,
            leaving_blocks=leaving_blocks,
            idle_timeout_s=body.idle_timeout_s,
            timeout_s=body.timeout_s,
            drain_grace_s=body.drain_grace_s,
            comments=self._content_type.startswith(EVENT_STREAM),
        )

        def begin(loop_reply: LoopReply) -> None:
            host.watch_blocking()
            made.begin(host.streams, request, head, loop_reply)

        if not reply.leave_to_loop(begin):
            context.run(leave_context)


class PlainChunks:
    """The body for servers that do not take it over: iterated on a thread, on which it waits.

    The source runs on the loop of this server if there is one, else on one of its own.
    """

    def __init__(self, source: AsyncIterable[bytes | str]) -> None:
        self.source = source
        self._copy: RequestCopy | None = None
        self._host: LoopHost | None = None
        self._closed = False
        self._iterator: AsyncIterator[bytes | str] | None = None
        self._context: contextvars.Context | None = None
        self._leave: Callable[[], None] | None = None
        self._runner: asyncio.Runner | None = None

    def enter(self, environ: dict[str, Any]) -> None:
        """Note the request, while it runs."""
        self._copy = RequestCopy()
        self._host = environ.get(HOST_KEY)

    @property
    def leaving_blocks(self) -> bool:
        """Whether functions of the application run when the context is left, which may block."""
        return self._copy is not None and self._copy.leaving_blocks

    def take_context(self) -> tuple[contextvars.Context, Callable[[], None]]:
        """Return what `RequestCopy.enter` does; nothing is iterated here then."""
        copy, self._copy = self._copy, None
        assert copy is not None, "enter() comes first"
        return copy.enter()

    def __iter__(self) -> PlainChunks:
        return self

    def __next__(self) -> bytes:
        if self._closed:
            raise StopIteration
        iterator = self._iterator
        if iterator is None:
            iterator = self._iterator = aiter(self.source)
            if self._copy is not None:
                self._context, self._leave = self.take_context()
        try:
            return bytes_of(self._run(iterator.__anext__))
        except StopAsyncIteration:
            self.close()
            raise StopIteration from None

    def _run(self, step: Callable[[], Any]) -> Any:
        async def run() -> Any:
            return await step()

        if self._context is None:
            return self._run_on_loop(run, None)
        return self._context.run(self._run_on_loop, run, self._context)

    def _run_on_loop(
        self, run: Callable[[], Coroutine[Any, Any, Any]], context: contextvars.Context | None
    ) -> Any:
        host = self._host
        if host is not None and host.loop is not None:
            return host.call(run)
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(run(), context=contextvars.copy_context() if context else None)

    def close(self) -> None:
        """Close the source, if it was begun, and leave the context."""
        if self._closed or self._iterator is None:
            return
        self._closed = True
        aclose = getattr(self._iterator, "aclose", None)
        try:
            if aclose is not None:
                self._run(aclose)
        finally:
            if self._runner is not None:
                self._runner.close()
                self._runner = None
            if self._context is not None and self._leave is not None:
                try:
                    self._context.run(self._leave)
                except Exception as error:
                    log_failed_teardown(error)
