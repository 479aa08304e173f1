"""What the fuzzer starts from: valid requests of every kind, and every class of refusals."""

from __future__ import annotations

from tests.flasknado.http.refusals import all_refusals

_HOST = b"Host: example.test\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
_H2C = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"

VALID = [
    b"GET / HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET /a?b=c HTTP/1.1\r\n" + _HOST + b"Connection: keep-alive\r\nAccept: */*\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"POST /a HTTP/1.1\r\n" + _HOST + b"Content-Length: 5\r\n\r\nhello",
    b"PUT /a HTTP/1.1\r\n" + _HOST + _CHUNKED + b"5\r\nhello\r\n0\r\n\r\n",
    b"PUT /a HTTP/1.1\r\n" + _HOST + _CHUNKED + b"3;a=b\r\nabc\r\n0\r\nT: 1\r\n\r\n",
    b"GET http://example.test/a HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"OPTIONS * HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET / HTTP/1.1\r\n" + _HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + _HOST + _H2C + b"Content-Length: 3\r\n\r\nabc",
    b"POST / HTTP/1.1\r\n" + _HOST + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\na",
    b"GET / HTTP/1.1\r\n" + _HOST + b"Connection: close\r\n\r\n",
    b"BREW /pot HTTP/1.1\r\n" + _HOST + b"\r\n",
]

CORPUS = VALID + [refusal.request for refusal in all_refusals() if len(refusal.request) < 2000]

DICTIONARY = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"\x0b",
    b"\x80",
    b"\xff",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Connection: close\r\n",
    b"Connection: Upgrade\r\n",
    b"Upgrade: h2c\r\n",
    b"Host: b\r\n",
    b"Expect: 100-continue\r\n",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"HTTP/0.9",
    b"RTSP/1.0",
    b"GET",
    b"POST",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"0x",
    b"+",
    b"-",
    b"_",
]
