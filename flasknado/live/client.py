"""A client of live events for Python programs: standard library only, nothing lost on the way.

    with Client("https://example.org/live", channels=["posts"]) as client:
        for event in client:
            print(event.channel, event.name, event.data)

It reads NDJSON over one connection, and comes back after a lost connection or a restart of
the server with the cursor that it had. `AsyncClient` is the same for `async for`.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import random
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from flasknado.live.errors import LiveError

MAX_LINE_BYTES = 16 * 1024 * 1024
"""The longest line that is read: far above what a server's `LIVE_MAX_DATA_BYTES` allows."""

_AGAIN = frozenset((408, 425, 429))
"""Statuses under 500 that are worth another try; 5xx are too."""

_FIELDS = ("id", "channel", "event", "data")
_TICKET_MARK = "~"


class LiveEvent(NamedTuple):
    """One event. `id` is its cursor, `epoch:offset`."""

    id: str
    channel: str
    name: str
    data: Any


class Reset(LiveError):
    """Events were lost: reload the data that they were about.

    The client continues from `cursor`; iterate again to do so.
    """

    def __init__(self, cursor: str) -> None:
        super().__init__(f"events were missed: the client goes on from {cursor}")
        self.cursor = cursor


class SubscriptionRefused(LiveError):
    """The server refuses the client for good, with `status` and `message`."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"the server refused with {status}: {message}")
        self.status = status
        self.message = message


class Client:
    """An iterator over the events of some channels, from a cursor or from now on.

    Args:
        url: the live endpoints, such as `https://example.org/live`.
        channels: at least one name.
        after: the cursor to resume from; by default only new events are delivered.
        last: without a cursor, with how many of its newest events each channel begins.
        headers: sent with each request.
        token: an access token for `Authorization: Bearer`, or a function that returns one
            and is called for each connection.
        timeout_s: how long the connection may be silent (the server's heartbeat is every 15 s)
            before it counts as dead.
        connect_timeout_s: for connecting, and for TLS.
        retry_s: the first wait before connecting again; doubled up to `max_retry_s`.
        presence: also get events named `presence`, of channels with presence enabled.
        ssl_context: for `https`, instead of the default one.

    One thread iterates; `close()` may be called on any.
    """

    cursor: str | None
    """Everything up to here has been iterated over; `None` until the server has said, and while
    the newest events that were asked for with `last` are not all iterated over."""

    def __init__(
        self,
        url: str,
        channels: Iterable[str],
        *,
        after: str | None = None,
        last: int = 0,
        headers: Mapping[str, str] | None = None,
        token: str | Callable[[], str] | None = None,
        timeout_s: float = 45.0,
        connect_timeout_s: float = 10.0,
        retry_s: float = 0.5,
        max_retry_s: float = 30.0,
        presence: bool = False,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not an http or https URL such as http://127.0.0.1/live")
        self.channels = (channels,) if isinstance(channels, str) else tuple(channels)
        if not self.channels:
            raise ValueError("channels is empty: name at least one")
        if not isinstance(last, int) or isinstance(last, bool) or last < 0:
            raise ValueError(f"last is a number of events, not {last!r}")
        self.cursor = after
        self._last = last
        self._newest: deque[LiveEvent] = deque()
        """What the channels begin with, kept until all of it is there: nothing comes twice."""
        self._newest_up_to: str | None = None
        self._parts = parts
        self._headers = dict(headers or {})
        self._token = token
        self._port = parts.port  # raises ValueError for one that is none
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._first_retry_s = retry_s
        self._max_retry_s = max_retry_s
        self._presence = presence
        self._ssl_context = ssl_context
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._iterating = False
        self._ticket: str | None = None
        self._socket: socket.socket | None = None
        self._response: http.client.HTTPResponse | None = None
        self._failures = 0

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __iter__(self) -> Client:
        return self

    def __next__(self) -> LiveEvent:
        """Return the next event, waiting for it; stops once the client is closed.

        Raises `Reset` if events were lost, and `SubscriptionRefused` if the server refuses.
        """
        with self._lock:
            self._iterating = True
        try:
            while not self._closed.is_set():
                event = self._try()
                if event is not None:
                    return event
            raise StopIteration
        finally:
            with self._lock:
                self._iterating = False
            if self._closed.is_set():
                self._disconnect()

    def close(self) -> None:
        """End the iteration, even if it waits on another thread; may be called again."""
        self._closed.set()
        with self._lock:
            if self._socket is not None:
                # Wakes a thread that reads; the descriptor is for that thread to close.
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
            iterating = self._iterating
        if not iterating:
            self._disconnect()

    def _try(self) -> LiveEvent | None:
        """Read once; after a lost connection wait, and return `None`."""
        try:
            return self._read()
        except (ssl.SSLCertVerificationError, http.client.InvalidURL):
            self._disconnect()
            raise
        except (OSError, http.client.HTTPException):
            self._disconnect()
            self._wait(None)
            return None

    def _read(self) -> LiveEvent | None:
        """Return the next event, or `None` after anything else."""
        if self._newest_up_to is not None:
            return self._next_newest(self._newest_up_to)
        response = self._response or self._connect()
        if response is None:
            return None
        line = response.readline(MAX_LINE_BYTES)
        if not line.endswith(b"\n"):
            if len(line) == MAX_LINE_BYTES:
                raise LiveError(f"a line of the stream is longer than {MAX_LINE_BYTES} bytes")
            # The end; half a line is of an event that comes again.
            raise ConnectionResetError("the stream ended")
        message = _parse(line)
        self._failures = 0
        cursor, channel, name, data = (message[field] for field in _FIELDS)
        beginning = self._last > 0 and self.cursor is None
        if beginning and name == "heartbeat":
            self._newest_up_to = cursor
            return None
        if beginning and channel is not None and name != "presence":
            self._keep(LiveEvent(cursor, channel, name, data))
            return None
        if cursor is not None and name != "presence" and not (beginning and name == "reconnect"):
            self.cursor = cursor
        if channel is not None:
            return LiveEvent(cursor, channel, name, data)
        if name == "reset":
            raise Reset(cursor)
        if name == "reconnect":
            self._sent_away(**data)
        return None

    def _keep(self, event: LiveEvent) -> None:
        """Keep one of the newest events until all of them are there."""
        if len(self._newest) >= self._last * len(self.channels):
            raise LiveError(f"the server sent more than the last {self._last} events of a channel")
        self._newest.append(event)

    def _next_newest(self, up_to: str) -> LiveEvent | None:
        """Return the next of the newest events, all of which are there; `None` if there is none."""
        event = self._newest.popleft() if self._newest else None
        if not self._newest:
            self.cursor, self._newest_up_to = up_to, None
        return event

    def _sent_away(self, retry_s: float, ticket: str | None, **_: object) -> None:
        """Come back in the time in which the server wants us, with the ticket that it gave."""
        self._disconnect()
        self._ticket = ticket
        self._closed.wait(random.random() * retry_s)

    def _connect(self) -> http.client.HTTPResponse | None:
        """Return the response of a new request, or `None` if it is to be tried again."""
        self._newest.clear()  # what was not all there comes again
        connection = self._new_connection()
        connection.connect()
        connection.sock.settimeout(self._timeout_s)
        with self._lock:
            # Kept, because a response that says "close" takes the connection's own away.
            self._socket = connection.sock
            if self._closed.is_set():
                raise ConnectionAbortedError("the client is closed")
        query: dict[str, Any] = {"channel": self.channels}
        if self.cursor is not None:
            query["after"] = self.cursor
        elif self._last:
            query["last"] = self._last
        if self._presence:
            query["presence"] = "1"
        path = f"{self._parts.path.rstrip('/')}/ndjson?{urlencode(query, doseq=True)}"
        connection.request("GET", path, headers=self._request_headers())
        response = self._response = connection.getresponse()
        if response.status == 200:
            return response
        self._refused(response)
        return None

    def _new_connection(self) -> http.client.HTTPConnection:
        host, timeout_s = self._parts.hostname or "", self._connect_timeout_s
        if self._parts.scheme == "http":
            return http.client.HTTPConnection(host, self._port, timeout=timeout_s)
        return http.client.HTTPSConnection(
            host, self._port, timeout=timeout_s, context=self._ssl_context
        )

    def _request_headers(self) -> dict[str, str]:
        token = self._token() if callable(self._token) else self._token
        authorization = {} if token is None else {"Authorization": f"Bearer {token}"}
        resuming = {}
        if self._ticket is not None and self.cursor is not None:
            # Behind the cursor, where it is in nobody's log.
            resuming = {"Last-Event-ID": f"{self.cursor}{_TICKET_MARK}{self._ticket}"}
        self._ticket = None
        return {"Accept": "application/x-ndjson", **self._headers, **authorization, **resuming}

    def _refused(self, response: http.client.HTTPResponse) -> None:
        """Wait if it is worth another try; raises `SubscriptionRefused` if not."""
        body = response.read(64 * 1024)
        retry_after = response.headers.get("Retry-After", "")
        self._disconnect()
        if response.status >= 500 or response.status in _AGAIN:
            self._wait(float(retry_after) if retry_after.isdecimal() else None)
            return
        raise SubscriptionRefused(response.status, _message(body) or response.reason)

    def _wait(self, asked_s: float | None) -> None:
        """Wait before the next connection: no less than was asked for, and not all at once."""
        back_off_s = min(self._first_retry_s * 2**self._failures, self._max_retry_s)
        self._failures = min(self._failures + 1, 30)
        # What is random need not be secret: it keeps a crowd of clients apart.
        self._closed.wait(max(asked_s or 0, back_off_s / 2) + random.random() * back_off_s / 2)

    def _disconnect(self) -> None:
        with self._lock:
            response, self._response = self._response, None
            sock, self._socket = self._socket, None
        if response is not None:
            response.close()
        if sock is not None:
            sock.close()


class AsyncClient:
    """`Client` for `async for`; takes the same arguments. It reads on its own thread.

    Belongs to one event loop. `close()` ends a waiting iteration, and so does cancelling it.
    """

    def __init__(self, url: str, channels: Iterable[str], **options: Any) -> None:
        self._client = Client(url, channels, **options)
        self._closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="flasknado-live-client")

    @property
    def cursor(self) -> str | None:
        """Everything up to here has been iterated over."""
        return self._client.cursor

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.close()

    def __aiter__(self) -> AsyncClient:
        return self

    async def __anext__(self) -> LiveEvent:
        if self._closed:
            raise StopAsyncIteration
        try:
            event = await asyncio.get_running_loop().run_in_executor(
                self._thread, next, self._client, None
            )
        except asyncio.CancelledError:
            # The thread may be about to take an event, which nobody would see.
            self.close()
            raise
        if event is None:
            raise StopAsyncIteration
        return event

    def close(self) -> None:
        """End the iteration; may be called again, on any thread."""
        self._closed = True
        self._client.close()
        self._thread.shutdown(wait=False)


def _parse(line: bytes) -> dict[str, Any]:
    """Return a line's object; what a proxy may have put in is a lost connection."""
    try:
        message = json.loads(line)
    except ValueError:
        message = None
    if not isinstance(message, dict) or not message.keys() >= set(_FIELDS):
        raise ConnectionAbortedError("the response is not a stream of live events")
    return message


def _message(body: bytes) -> str:
    """Return what the server says in its JSON errors."""
    try:
        said = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        return ""
    return said if isinstance(said, str) else ""
