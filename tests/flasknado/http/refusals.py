"""The classes of requests that are refused, each with its status: one table for tests and docs."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

from flasknado.http.connection import REQUEST_WORK, WORK_PER_TURN
from flasknado.live.endpoints.socket_subscriber import DROPPED_LIMIT, FRAMES_PER_TURN, SKIPPED_BYTES
from flasknado.live.hub.subscriber import GOODBYE_TIMEOUT_S
from flasknado.native.iostream import WORK_PER_TURN as STREAM_WORK_PER_TURN
from flasknado.websocket import codec
from tests.support.process import PROJECT_ROOT

SERVED = 200
"""Stands for: the request reached the application."""

SILENT = 0
"""Stands for: the connection closed without an answer."""


@dataclass(frozen=True)
class Refusal:
    """One malformed or unacceptable request and what it is answered with."""

    name: str
    request: bytes
    status: int
    tornado: int | None = None
    """What the stock layer does instead, if not the same: another status, `SERVED` or `SILENT`."""

    @property
    def on_tornado(self) -> int:
        return self.status if self.tornado is None else self.tornado


def _with(*fields: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: a") -> bytes:
    head = [line, *([host] if host else []), *fields, b"", b""]
    return b"\r\n".join(head)


def _post(*fields: bytes, body: bytes = b"") -> bytes:
    return _with(*fields, line=b"POST / HTTP/1.1") + body


_CHUNKED = b"Transfer-Encoding: chunked"


def _chunks(body: bytes) -> bytes:
    return _post(_CHUNKED, body=body)


REFUSALS: dict[str, list[Refusal]] = {
    "Framing": [
        Refusal(
            "Content-Length with Transfer-Encoding",
            _post(b"Content-Length: 5", _CHUNKED, body=b"0\r\n\r\n"),
            400,
        ),
        Refusal(
            "Transfer-Encoding with Content-Length",
            _post(_CHUNKED, b"Content-Length: 5", body=b"0\r\n\r\n"),
            400,
        ),
        Refusal(
            "two unequal Content-Length",
            _post(b"Content-Length: 1", b"Content-Length: 2", body=b"ab"),
            400,
        ),
        Refusal(
            "two equal Content-Length",
            _post(b"Content-Length: 1", b"Content-Length: 1", body=b"a"),
            400,
        ),
        Refusal("a list of Content-Length", _post(b"Content-Length: 1, 1", body=b"a"), 400),
        Refusal("signed Content-Length", _post(b"Content-Length: +1", body=b"a"), 400),
        Refusal("negative Content-Length", _post(b"Content-Length: -1", body=b"a"), 400),
        Refusal(
            "Content-Length with an underscore",
            _post(b"Content-Length: 1_0", body=b"0123456789"),
            400,
        ),
        Refusal("empty Content-Length", _post(b"Content-Length:"), 400),
        Refusal(
            "Content-Length beyond 64 bits", _post(b"Content-Length: 99999999999999999999"), 400
        ),
        Refusal("two Transfer-Encoding", _post(_CHUNKED, _CHUNKED, body=b"0\r\n\r\n"), 400),
        Refusal(
            "Transfer-Encoding other than chunked",
            _post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
            400,
        ),
        Refusal("Transfer-Encoding: identity", _post(b"Transfer-Encoding: identity"), 400),
        Refusal(
            "Transfer-Encoding with a control character",
            _post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"),
            400,
        ),
        Refusal(
            "chunked in HTTP/1.0", _with(_CHUNKED, line=b"POST / HTTP/1.0") + b"0\r\n\r\n", 400
        ),
        Refusal("chunk size with a sign", _chunks(b"+1\r\na\r\n0\r\n\r\n"), 400),
        Refusal("chunk size with 0x", _chunks(b"0x1\r\na\r\n0\r\n\r\n"), 400),
        Refusal(
            "chunk size with an underscore", _chunks(b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n"), 400
        ),
        Refusal("chunk size with white space", _chunks(b" 1\r\na\r\n0\r\n\r\n"), 400),
        Refusal("no chunk size", _chunks(b"\r\na\r\n0\r\n\r\n"), 400),
        Refusal("chunk data longer than its size", _chunks(b"1\r\nab\r\n0\r\n\r\n"), 400),
        Refusal("bare LF after a chunk size", _chunks(b"1\na\r\n0\r\n\r\n"), 400),
        Refusal(
            "control character in a chunk extension", _chunks(b"1;\x00\r\na\r\n0\r\n\r\n"), 400
        ),
        Refusal("chunk extension without a name", _chunks(b"1;\r\na\r\n0\r\n\r\n"), 400),
        Refusal("chunk extension without its value", _chunks(b"1;a=\r\na\r\n0\r\n\r\n"), 400),
        Refusal("white space behind a chunk size", _chunks(b"1 \r\na\r\n0\r\n\r\n"), 400),
        Refusal("unfinished quoted string", _chunks(b'1;a="b\r\na\r\n0\r\n\r\n'), 400),
    ],
    "Lines and fields": [
        Refusal(
            "bare LF as the end of a line", b"GET / HTTP/1.1\nHost: a\n\n", 400, tornado=SERVED
        ),
        Refusal(
            "bare LF in the head", b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400, tornado=SERVED
        ),
        Refusal("bare CR in a value", _with(b"X: a\rb"), 400),
        Refusal("obs-fold", _with(b"X: a\r\n b"), 400),
        Refusal("white space before the first field", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
        Refusal("space before the colon", _with(b"X : a"), 400),
        Refusal("no colon", _with(b"X"), 400),
        Refusal("empty name", _with(b": a"), 400),
        Refusal("NUL in a name", _with(b"X\x00Y: a"), 400),
        Refusal("name that is no token", _with(b"X(Y): a"), 400),
        Refusal("NUL in a value", _with(b"X: a\x00b"), 400),
        Refusal("control character in a value", _with(b"X: a\x01b"), 400),
        Refusal("DEL in a value", _with(b"X: a\x7fb"), 400),
    ],
    "Host": [
        Refusal("no Host in HTTP/1.1", _with(host=b""), 400),
        Refusal("two Host", _with(b"Host: b"), 400),
        Refusal("empty port in Host", _with(host=b"Host: x:"), 400),
        Refusal("port beyond 65535", _with(host=b"Host: x:70000"), 400),
        Refusal("Host with a path", _with(host=b"Host: a/b"), 400),
        Refusal("Host with user information", _with(host=b"Host: u@a"), 400),
        Refusal("Host with white space", _with(host=b"Host: a b"), 400),
    ],
    "Request line": [
        Refusal("target that is neither a path nor a URL", _with(line=b"GET a HTTP/1.1"), 400),
        Refusal("asterisk with a method other than OPTIONS", _with(line=b"GET * HTTP/1.1"), 400),
        Refusal("authority form", _with(line=b"GET a:443 HTTP/1.1"), 400),
        Refusal("CONNECT", _with(line=b"CONNECT a:443 HTTP/1.1"), 501),
        Refusal("CONNECT with a path", _with(line=b"CONNECT /a HTTP/1.1"), 501),
        Refusal("URL of another scheme", _with(line=b"GET ftp://a/ HTTP/1.1"), 400),
        Refusal("fragment in the target", _with(line=b"GET /a#b HTTP/1.1"), 400),
        Refusal("space in the target", _with(line=b"GET /a b HTTP/1.1"), 400),
        Refusal("control character in the target", _with(line=b"GET /a\x01b HTTP/1.1"), 400),
        Refusal("raw UTF-8 in the target", _with(line=b"GET /\xc3\xa9 HTTP/1.1"), 400),
        Refusal("two spaces", _with(line=b"GET  / HTTP/1.1"), 400),
        Refusal("method that is no token", _with(line=b"GE(T / HTTP/1.1"), 400),
        Refusal("another protocol", _with(line=b"GET / RTSP/1.0"), 400),
        Refusal("HTTP/0.9", b"GET /\r\n\r\n", 505, tornado=400),
        Refusal("HTTP/1.2", _with(line=b"GET / HTTP/1.2"), 505),
        Refusal("HTTP/2.0", _with(line=b"GET / HTTP/2.0"), 505, tornado=400),
        Refusal("HTTP/1.10", _with(line=b"GET / HTTP/1.10"), 400),
        Refusal("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, tornado=400),
        Refusal("garbage", b"\x00\x01\x02\x03\r\n\r\n", 400),
        Refusal(
            "a TLS hello on the plain port",
            bytes.fromhex("16030100c8010000c40303") + bytes(190) + b"\r\n\r\n",
            400,
        ),
    ],
    "Size": [
        Refusal(
            "target above 16 KiB",
            _with(line=b"GET /" + b"a" * 20_000 + b" HTTP/1.1"),
            414,
            tornado=SERVED,
        ),
        Refusal(
            "head above 64 KiB",
            _with(*(b"X-%d: " % i + b"a" * 1000 for i in range(70))),
            431,
            tornado=SILENT,
        ),
        Refusal(
            "60 KB of one repeated field", _with(*[b"X: abcdefgh"] * 5000), 431, tornado=SERVED
        ),
        Refusal("announced body above the limit", _post(b"Content-Length: 9999999"), 413),
        Refusal(
            "the same with Expect: 100-continue",
            _post(b"Content-Length: 9999999", b"Expect: 100-continue"),
            413,
        ),
        Refusal(
            "chunked body above the limit",
            _chunks((b"10000\r\n" + b"a" * 65536 + b"\r\n") * 50),
            413,
        ),
        Refusal(
            "unknown expectation", _post(b"Content-Length: 1", b"Expect: 200-ok", body=b"a"), 417
        ),
    ],
}


@dataclass(frozen=True)
class Acceptance:
    """A request that is unusual and served, and what the application sees of it."""

    name: str
    request: bytes
    seen: tuple[str, str, bytes]
    """Method, target and body."""
    tornado: int = SERVED
    """What the stock layer does: `SERVED`, or the status that it refuses with."""


_POSTED = ("POST", "/", b"abc")

ACCEPTED = [
    Acceptance("chunk extension", _chunks(b"3;a=b;c\r\nabc\r\n0;d\r\n\r\n"), _POSTED, 400),
    Acceptance(
        "chunk extension with a quoted string",
        _chunks(b'3;a="b;\\"c"\r\nabc\r\n0\r\n\r\n'),
        _POSTED,
        400,
    ),
    Acceptance(
        "white space around `;` and `=` of a chunk extension (RFC 9112, 7.1.1)",
        _chunks(b"3 \t; a = b ;c\r\nabc\r\n0\r\n\r\n"),
        _POSTED,
        400,
    ),
    Acceptance(
        "trailers, which are dropped", _chunks(b"3\r\nabc\r\n0\r\nX: y\r\n\r\n"), _POSTED, 400
    ),
    Acceptance(
        "a name with an underscore, which never reaches `environ`",
        _post(b"X_Y: z", b"Content-Length: 3", body=b"abc"),
        _POSTED,
    ),
    Acceptance("a method of one's own", _with(line=b"BREW / HTTP/1.1"), ("BREW", "/", b"")),
    Acceptance(
        "an expectation in HTTP/1.0, which has none",
        _with(b"Expect: 200-ok", line=b"GET / HTTP/1.0"),
        ("GET", "/", b""),
    ),
    Acceptance(
        "the body of a request with `Upgrade`, which is read as its body",
        _post(b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 3", body=b"abc"),
        _POSTED,
    ),
    Acceptance(
        "a blank line before a request (RFC 9112, 2.2)", b"\r\n" + _with(), ("GET", "/", b"")
    ),
    Acceptance("several blank lines", b"\r\n\r\n\r\n" + _with(), ("GET", "/", b""), 400),
    Acceptance("absolute form", _with(line=b"GET http://b/c HTTP/1.1"), ("GET", "http://b/c", b"")),
]


def all_refusals() -> list[Refusal]:
    return [refusal for group in REFUSALS.values() for refusal in group]


def rendered() -> str:
    """Return the page of the documentation that the table is."""
    lines = [
        "# HTTP safety",
        "",
        "Requests that are refused before they reach an application, and the answers. On the",
        "llhttp layer (the default) every row applies, and the connection closes after the answer.",
        "On Tornado's own layer (`--http tornado`) its parser decides first; the last column shows",
        "where the result differs. The rules are those of RFC 9110 and RFC 9112, applied strictly.",
        "[Security](security.md) lists what else the server promises under attack.",
        "",
        "`python -m tests.flasknado.http.refusals` writes this page from the table that the tests",
        "send over sockets.",
    ]
    for group, refusals in REFUSALS.items():
        lines += [
            "",
            f"## {group}",
            "",
            "| request | answer | on the tornado layer |",
            "|---|---|---|",
        ]
        lines += [
            f"| {refusal.name} | {refusal.status} | {_said(refusal)} |" for refusal in refusals
        ]
    lines += ["", "## Accepted", "", "| request | on the tornado layer |", "|---|---|"]
    for accepted in ACCEPTED:
        lines.append(f"| {accepted.name} | {_said_of(accepted)} |")
    lines += ["", *_ABOUT_ACCEPTED, "", "## WebSocket", "", *_websocket()]
    lines += ["", "## Fairness", "", *_FAIRNESS, "", "## Limits", "", *_limits()]
    return "\n".join(lines) + "\n"


_ABOUT_ACCEPTED = (
    "Up to 128 trailers are read (431 beyond), and chunked bodies that consist mostly of framing",
    "get 400. A refusal ends the connection, and so do `Connection: close` and HTTP/1.0: requests",
    "sent after them are never run, on either layer. `Upgrade` is ignored in HTTP/1.0 (RFC 9110,",
    "section 7.8), so no WebSocket opens there. Needless percent-encoding is decoded (RFC 3986,",
    "section 6.2.2.2): `/%7Eann` is `/~ann` to routes, mounts and limits of both halves.",
    "",
    "A client that half-closes the connection (FIN) still gets its responses, including streams",
    "and files to their end. For responses that last as long as the client stays (native handlers,",
    "live streams, and a view's `text/event-stream`) it counts as gone. On the tornado layer and",
    "under TLS it always counts as gone.",
)


def _websocket() -> list[str]:
    """Return what a client's frames are answered with."""
    return [
        "Frames that cost the server more than the client end the connection with close code",
        "1008. The work grows at most linearly with the bytes received.",
        "",
        "| the client sends | answer |",
        "|---|---|",
        f"| a message in more than {codec.FREE_FRAMES:,} frames, plus one for each "
        f"{codec.BYTES_PER_FRAME} bytes; control frames in between count | 1008 |",
        f"| more than {codec.CONTROL_FRAMES_PER_S:g} pings per second, after a burst of "
        f"{codec.CONTROL_FRAMES_BURST:g} | 1008 |",
        f"| unsolicited pongs, each of which counts as {codec.UNASKED_PONG_COST:g} pings | 1008 |",
        f"| live messages over `LIVE_MAX_MESSAGES_PER_S` | `error` 429 each, 1008 after "
        f"{DROPPED_LIMIT} |",
        "| live messages larger than `LIVE_MAX_MESSAGE_BYTES` | 1009 |",
        "| frames that RFC 6455 does not allow | 1002; 1007 for text that is not UTF-8 |",
        "",
        "This applies to live clients on both layers. Your own `WebSocketHandler`s run on",
        "Tornado's code; on the llhttp layer the first three rows apply to them, on the tornado",
        "layer nothing counts their frames.",
        "",
        "TCP is closed once both closing frames have passed. After a violation the server closes",
        "its own half at once (not under TLS) and drops further data until the client has closed,",
        f"for at most {GOODBYE_TIMEOUT_S:g} s and {SKIPPED_BYTES // 1024} KiB.",
    ]


_FAIRNESS = (
    "Whatever one client sends at once, others get their turns of the event loop in between. In",
    f"one turn a connection handles up to {WORK_PER_TURN // REQUEST_WORK} requests, or about",
    f"{WORK_PER_TURN:,} chunks or blank lines; a live WebSocket up to {FRAMES_PER_TURN} frames; a",
    f"stream that a Tornado handler has detached up to {STREAM_WORK_PER_TURN} reads and writes.",
    "The rest waits, and reading pauses meanwhile. On the tornado layer Tornado divides the work",
    "of requests, bodies and its own WebSockets into larger turns.",
)


def _said_of(accepted: Acceptance) -> str:
    return "the same" if accepted.tornado == SERVED else f"refused ({accepted.tornado})"


def _said(refusal: Refusal) -> str:
    words = {None: "the same", SERVED: "let through", SILENT: "closed without an answer"}
    return words.get(refusal.tornado, str(refusal.tornado))


def _limits() -> list[str]:
    """Return the limits of a connection as a table, from their own documentation."""
    source = (PROJECT_ROOT / "flasknado/http/limits.py").read_text(encoding="utf-8")
    found = re.findall(r"    (\w+): \w+ = (.+)\n    \"\"\"(.+?)\"\"\"", source)
    rows = [f"| `{name}` | {default} | {' '.join(text.split())} |" for name, default, text in found]
    return ["| limit | default | what it bounds |", "|---|---|---|", *rows]


if __name__ == "__main__":
    sys.stdout.write(rendered())
