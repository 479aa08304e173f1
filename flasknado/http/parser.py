"""Bytes to requests: llhttp (through httptools), and a second look at everything it lets through.

`RequestParser` is fed bytes in any pieces and calls a `RequestSink`. It owns no socket and
knows no application, so it is tested with plain calls.

What llhttp accepts and this refuses: `RTSP/1.0` and `ICE/1.0` in the request line, two
spaces in it, no version at all, endless trailers; and all that `flasknado.http.head`
checks. Chunked bodies are read by `flasknado.http.chunks`. Of a request with `Upgrade`,
llhttp leaves the body unread and would take it for the next request; here its framing is
honoured.
"""

from __future__ import annotations

import re
from typing import Final, NoReturn, Protocol

import httptools

from flasknado.errors import RequestError
from flasknado.http.chunks import ChunkedBody
from flasknado.http.head import parse_head
from flasknado.http.limits import Limits
from flasknado.http.message import Address, HeaderField, RequestHead

HEAD_SLICE_BYTES: Final = 8 * 1024
"""The most that is parsed at once outside of bodies: bounds how many requests appear at once."""

BODY_SLICE_BYTES: Final = 64 * 1024
"""The most of a body that is parsed at once."""

CHUNK_OVERHEAD: Final = 16
"""How many bytes of framing one byte of a chunked body may cost, on average."""

PIECES_LIMIT: Final = 512
"""How often the bytes given at once are cut to find where requests end."""

_EMPTY_LINE: Final = b"\r\n\r\n"
_KNOWN_METHOD: Final = b"POST"
"""What llhttp is shown instead of a method that it does not know."""

_BLANK_LINES: Final = re.compile(rb"[\r\n]*")
_METHOD: Final = re.compile(rb"[\r\n]*([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32})( ?)")

_NO_FIELDS: Final[list[HeaderField]] = []
_RESTING: Final = httptools.HttpRequestParser(object())
"""What a parser that rests has in place of its own; it calls nobody."""
_CLOSED: Final = httptools.HttpRequestParser(object())
"""What a closed parser has in place of its own; it calls nobody."""

_METHODS_LIMIT: Final = 256
_methods: Final[dict[bytes, str]] = {}


class RequestSink(Protocol):
    """What takes the requests of one connection; each method may raise `RequestError`."""

    def request_begun(self, head: RequestHead) -> None:
        """Take a validated head."""

    def request_data(self, data: bytes) -> None:
        """Take a part of the body, without its framing."""

    def request_complete(self) -> None:
        """The request has ended."""


class RequestParser:
    """Parses the requests of one connection; belongs to the thread that feeds it.

    After it has raised it must not be fed again.
    """

    __slots__ = (
        "_body_bytes",
        "_chunks",
        "_client",
        "_data",
        "_error",
        "_exact",
        "_fields",
        "_framing_only",
        "_limits",
        "_method",
        "_parser",
        "_partial",
        "_raw_body_bytes",
        "_scheme",
        "_server",
        "_sink",
        "_start",
        "_tail",
        "_url",
        "ended",
        "head",
        "holds",
        "in_body",
        "in_head",
        "pauses",
        "pieces",
    )

    def __init__(
        self,
        sink: RequestSink,
        limits: Limits,
        client: Address | None = None,
        server: Address | None = None,
        scheme: str = "http",
    ) -> None:
        self._sink = sink
        self._limits = limits
        self._client = client
        self._server = server
        self._scheme = scheme
        self._parser = httptools.HttpRequestParser(self)
        self._data = b""
        self._start = 0
        """Where in `_data` the present head begins, blank lines apart."""
        self._exact = True
        """False if a chunked body may have ended before it, unseen."""
        self._tail = b""
        """The last bytes of a piece that ended in a head or in trailers."""
        self._chunks: ChunkedBody | None = None
        """What reads the present body, up to its trailers."""
        self._partial: bytearray | None = None
        """What came of the present head in earlier pieces."""
        self._method: bytes | None = None
        """The method of the present head if llhttp does not know it; empty while incomplete."""
        self._url = b""
        self._fields: list[HeaderField] = []
        self.head: RequestHead | None = None
        """The request whose end has not been seen yet, once its head is known."""
        self._error: Exception | None = None
        self._framing_only = False
        self._body_bytes = 0
        self._raw_body_bytes = 0
        self.in_head = False
        """True while a head has begun and not ended."""
        self.in_body = False
        """True while a body is expected."""
        self.holds = False
        """True after a request that may take the connection out of HTTP; set False to go on."""
        self.pauses = False
        """Set True by the sink to stop after the present request; set False to go on."""
        self.pieces = 0
        """How often `feed()` has cut what it was given."""
        self.ended = False
        """True after the last request of the connection; what follows is dropped."""

    def rest(self) -> None:
        """Hold little until the next request, while one that is whole awaits its response."""
        if self._exact:  # else llhttp may be about to read on
            self._parser = _RESTING
            self._fields = _NO_FIELDS
            self._url = b""

    def close(self) -> None:
        """Let go of llhttp's parser, which refers back to this one; not while `feed()` runs."""
        self._parser = _CLOSED
        self._error = None

    def slice_bytes(self) -> int:
        """Return how many bytes at most to give to `feed()` now."""
        left = 0
        if self._chunks is not None:
            left = self._chunks.left_bytes
        elif self.in_body and self.head is not None and self.head.content_length is not None:
            left = self.head.content_length - self._body_bytes
        return max(HEAD_SLICE_BYTES, min(left, BODY_SLICE_BYTES))

    def feed(self, data: bytes) -> bytes:
        """Parse at most `slice_bytes()` bytes; returns what follows if it holds or pauses.

        Raises `RequestError` for what is refused, and what the sink raises; what was
        complete before it has been passed on.

        llhttp does not tell where a request ends, so it is given pieces that end where one may.
        """
        start = pieces = 0
        while not self.ended:
            if self._chunks is not None:
                start = self._feed_chunks(data, start)
                if start == len(data):
                    return b""
            end = self._piece_end(data, start) if pieces < PIECES_LIMIT else len(data)
            self._exact = pieces < PIECES_LIMIT
            if start == 0 and end == len(data):
                return self._feed_piece(data)
            rest = self._feed_piece(data[start:end])
            if rest or self.holds or self.pauses or end == len(data):
                return rest + data[end:]
            start = end
            pieces += 1
            self.pieces += 1
        return b""

    def _piece_end(self, data: bytes, start: int) -> int:
        """Return how far to parse: to the end of a body of known length, or past an empty line."""
        head = self.head
        if self.in_body and head is not None and head.content_length is not None:
            return min(start + head.content_length - self._body_bytes, len(data))
        if self._tail:
            # The empty line may have begun in the last piece.
            found = (self._tail + data[start : start + 3]).find(_EMPTY_LINE)
            if found >= 0:
                return start + found + 4 - len(self._tail)
        found = data.find(_EMPTY_LINE, start)
        return found + 4 if found >= 0 else len(data)

    def _feed_piece(self, data: bytes) -> bytes:
        if self._parser is _RESTING:
            self._parser = httptools.HttpRequestParser(self)
        if self._method == b"":
            return self._take_unknown_method(data)
        self._data = data
        self._start = 0
        if self.in_body:
            self._count_framing(len(data))
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return self._after_upgrade_head(data[upgrade.args[0] :])
        except httptools.HttpParserInvalidMethodError:
            return self._take_unknown_method(data[self._start :])
        except httptools.HttpParserError as error:
            if self._error is not None:
                raise self._error from None
            if self.ended:
                return b""
            raise self._refusal(error) from None
        if self.in_head:
            self._keep_partial_head()
        self._data = b""  # a connection at rest holds nothing of its last request
        if self.in_head or (self.in_body and self._chunks is None):
            self._tail = (self._tail + data[-3:])[-3:]
        else:
            self._tail = b""
        return b""

    def _feed_chunks(self, data: bytes, start: int) -> int:
        """Take the content of a chunked body up to its trailers; returns where it ends."""
        chunks = self._chunks
        assert chunks is not None
        sizes_read = chunks.sizes_read
        content, end = chunks.feed(data, start)
        self.pieces += chunks.sizes_read - sizes_read
        self._body_bytes += len(content)
        self._count_framing(end - start)
        if content:
            self._sink.request_data(content)
        if chunks.ended:
            self._chunks = None
            self._tail = b"0\r\n"
            self._parser.feed_data(self._tail)  # the trailers are llhttp's again
        return end

    def _take_unknown_method(self, data: bytes) -> bytes:
        """Parse a head whose method llhttp does not know, by showing it one that it knows.

        Any token is a method (RFC 9110, section 9.1): what it means is the application's.
        """
        data = bytes(self._partial or b"") + data
        match = _METHOD.match(data)
        if not self._exact or match is None:
            raise RequestError(400, "the request does not begin with a method")
        if match.end() == len(data) and not match[2]:
            self._method = b""
            self._partial = bytearray(data)
            return b""
        if not match[2]:
            raise RequestError(400, "the method is not a token (RFC 9110, section 9.1)")
        self._method = match[1]
        self._partial = None
        self._tail = b""
        self._parser = httptools.HttpRequestParser(self)
        return self.feed(_KNOWN_METHOD + data[match.end(1) :])

    def _after_upgrade_head(self, rest: bytes) -> bytes:
        head = self.head
        if head is None:
            if self.in_head:
                raise RequestError(505, "only HTTP/1.0 and HTTP/1.1 are supported")
            return rest if self.holds else b""
        self._tail = b""
        # A fresh parser, told of the framing only, reads the body that llhttp has left out.
        self._parser = httptools.HttpRequestParser(self)
        self._framing_only = True
        if head.chunked:
            framing = b"transfer-encoding: chunked"
        else:
            framing = b"content-length: %i" % (head.content_length or 0)
        self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)
        self._framing_only = False
        return self.feed(rest) if rest else b""

    # What llhttp calls. An exception raised in some of them is lost on the way, so it is kept.

    def on_message_begin(self) -> None:
        self.in_head = True
        self._url = b""
        self._fields = []

    def on_url(self, url: bytes) -> None:
        self._url = self._url + url if self._url else url

    def on_header(self, name: bytes, value: bytes) -> None:
        if value and value[-1] in (0x20, 0x09):  # llhttp keeps white space after a value
            value = value.strip(b" \t")
        self._fields.append((name, value))
        if self.in_body and len(self._fields) > self._limits.max_fields:
            self._fail(RequestError(431, "there are too many trailers"))

    def on_headers_complete(self) -> None:
        self.in_head = False
        fields = self._fields
        self._fields = []
        if self._framing_only:
            return
        try:
            head = self._checked_head(fields)
            self.head = head
            if head.content_length or head.chunked:
                self.in_body = True
                self._body_bytes = self._raw_body_bytes = 0
                # What is given at once and not cut where the head ends is llhttp's to read.
                self._chunks = ChunkedBody() if head.chunked and self._exact else None
            self._sink.request_begun(head)
        except Exception as error:
            self._fail(error)

    def on_body(self, data: bytes) -> None:
        self._body_bytes += len(data)
        self._start += len(data)
        try:
            self._sink.request_data(data)
        except Exception as error:
            self._fail(error)

    def on_message_complete(self) -> None:
        upgrade = self._parser.should_upgrade()
        if upgrade and self.in_body:
            # llhttp ends a request with `Upgrade` at its head; its body is yet to come.
            return
        head = self.head
        assert head is not None
        self.head = None
        self.in_body = False
        if not head.keep_alive:
            self.ended = True
        elif upgrade:
            self.holds = True
        try:
            self._sink.request_complete()
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> NoReturn:
        self._error = error
        raise error

    def _checked_head(self, fields: list[HeaderField]) -> RequestHead:
        url = self._url
        limits = self._limits
        if len(url) > limits.max_target_bytes:
            raise _target_too_long(limits)
        if len(fields) > limits.max_fields:
            raise RequestError(431, f"there are more than {limits.max_fields} header fields")
        method = self._parser.get_method()
        version = self._read_request_line(method, url)
        if self._partial is not None or limits.max_head_bytes < HEAD_SLICE_BYTES:
            self._partial = None
            size = len(url) + sum(len(name) + len(value) + 4 for name, value in fields)
            if size > limits.max_head_bytes:
                raise _head_too_large(limits)
        if self._method is not None:
            method, self._method = self._method, None
        text = _methods.get(method)
        if text is None:
            text = method.decode("latin-1")
            if len(_methods) < _METHODS_LIMIT:
                _methods[method] = text
        head = parse_head(
            text,
            url.decode("latin-1"),
            version,
            fields,
            client=self._client,
            server=self._server,
            scheme=self._scheme,
        )
        if not self._parser.should_keep_alive():
            head.keep_alive = False  # llhttp heeds Proxy-Connection, too, and takes no more
        return head

    def _read_request_line(self, method: bytes, url: bytes) -> str:
        """Return the version that the request line names, and move on to the end of the head.

        llhttp says neither which protocol was named nor how many spaces there were. Raises
        `RequestError` (505, 400) if the line is not exactly as it must be.
        """
        data, start, before = self._data, self._start, 0
        ends_piece = self._exact
        if self._partial is not None:
            before = len(self._partial)
            data = bytes(self._partial) + data
            ends_piece = False  # its empty line may have begun in the piece before
        line = method + b" " + url + b" HTTP/1.1\r\n"
        if data[start : start + len(line)] == line:
            version = "1.1"
        else:
            version = self._parser.get_http_version()
            line = b"%b %b HTTP/%b\r\n" % (method, url, version.encode())
            start = self._find_line(data, line, start)
            if version not in ("1.0", "1.1"):
                raise RequestError(505, f"HTTP/{version} is not supported: use HTTP/1.1")
            if start < 0:
                raise RequestError(
                    400, "the request line is not 'method target version' (RFC 9112, section 3)"
                )
        if ends_piece:
            self._start = len(data)
        else:
            self._start = data.find(b"\r\n\r\n", start) + 4 - before
        return version

    def _find_line(self, data: bytes, line: bytes, start: int) -> int:
        blank = _BLANK_LINES.match(data, start)
        assert blank is not None
        return blank.end() if data.startswith(line, blank.end()) else -1

    def _keep_partial_head(self) -> None:
        limits = self._limits
        partial = self._partial
        if partial is None:
            partial = self._partial = bytearray()
        partial += self._data[self._start :]
        self._start = 0
        # Up to one slice may be of an earlier request; the exact size is checked at the end.
        if len(partial) > limits.max_head_bytes + HEAD_SLICE_BYTES:
            if not self._fields and len(self._url) > limits.max_target_bytes:
                raise _target_too_long(limits)
            raise _head_too_large(limits)

    def _count_framing(self, size_bytes: int) -> None:
        """Refuse endless chunk extensions and trailers, which bring no body."""
        self._raw_body_bytes += size_bytes
        allowed = self._body_bytes * CHUNK_OVERHEAD + self._limits.max_head_bytes
        head = self.head
        if head is not None and head.chunked and self._raw_body_bytes > allowed + HEAD_SLICE_BYTES:
            raise RequestError(400, "the chunked body is more framing than content")

    def _refusal(self, error: Exception) -> RequestError:
        reason = str(error)
        if reason in ("Invalid HTTP version", "Pause on PRI/Upgrade"):
            return RequestError(505, "only HTTP/1.0 and HTTP/1.1 are supported")
        return RequestError(400, f"the request is malformed: {reason}")


def _target_too_long(limits: Limits) -> RequestError:
    return RequestError(414, f"the target is longer than {limits.max_target_bytes} bytes")


def _head_too_large(limits: Limits) -> RequestError:
    return RequestError(431, f"the head is larger than {limits.max_head_bytes} bytes")
