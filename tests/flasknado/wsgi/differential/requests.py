"""The raw requests of the differential battery, by name: what clients send, and what they could."""

from __future__ import annotations

from tests.flasknado.wsgi.differential.returns import FILE_TIME

HOST = b"Host: example.test"
FORM = b"Content-Type: application/x-www-form-urlencoded"
JSON = b"Content-Type: application/json"
TEXT = b"Content-Type: text/plain; charset=utf-8"
MULTIPART = b"Content-Type: multipart/form-data; boundary=edge"
CHUNKED = b"Transfer-Encoding: chunked"
FILE_DATE = b"Tue, 14 Nov 2023 22:13:20 GMT"
FILE_ETAG_OF_ANOTHER = b'"not-the-one"'

assert FILE_TIME == 1_700_000_000, "FILE_DATE is that time written out"


def ask(line: bytes, *fields: bytes, body: bytes = b"", host: bytes = HOST) -> bytes:
    """Return a request; `line` is `METHOD target`, or with a version too."""
    if line.count(b" ") == 1:
        line += b" HTTP/1.1"
    head = [line, *([host] if host else []), *fields]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def send(line: bytes, body: bytes, *fields: bytes) -> bytes:
    """Return a request with a body and its length."""
    return ask(line, *fields, b"Content-Length: %d" % len(body), body=body)


def send_chunked(line: bytes, parts: list[bytes], *fields: bytes, trailer: bytes = b"") -> bytes:
    """Return a request whose body comes in chunks."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return ask(line, CHUNKED, *fields, body=body + b"0\r\n" + trailer + b"\r\n")


def part(disposition: bytes, data: bytes, *fields: bytes) -> bytes:
    """Return one part of a multipart body."""
    lines = [b"--edge", b"Content-Disposition: form-data; " + disposition, *fields, b"", data]
    return b"\r\n".join(lines) + b"\r\n"


TARGETS = {
    "a plain path": b"/mirror/plain",
    "the root, unrouted": b"/",
    "an empty query": b"/mirror/a?",
    "a query": b"/mirror/a?b=c&b=d&e=&f&=g&&h=%26%3D",
    "a query of plus signs": b"/mirror/a+b?c+d=e+f%2B",
    "a query with a second question mark": b"/mirror/a?b=c?d/e:f@g",
    "a query with semicolons": b"/mirror/a?b=c;d=e",
    "a query in UTF-8": b"/mirror/a?na%C3%AFve=%E2%98%83",
    "a query of broken UTF-8": b"/mirror/a?b=%FF%C3",
    "a query of raw UTF-8": "/mirror/a?b=\N{SNOWMAN}".encode(),
    "a query with broken percent signs": b"/mirror/a?b=%zz%4",
    "a query with a line break": b"/mirror/a?b=%0d%0aX:y",
    "a path in UTF-8": b"/mirror/na%C3%AFve/%E2%98%83",
    "a path in lower-case percent-encoding": b"/mirror/na%c3%afve",
    "a path of broken UTF-8": b"/mirror/%FF%C3",
    "a path of raw UTF-8": "/mirror/\N{SNOWMAN}".encode(),
    "a path of raw latin-1": b"/mirror/na\xefve",
    "an encoded slash": b"/mirror/a%2Fb",
    "an encoded percent sign": b"/mirror/a%252Fb%25",
    "an encoded question mark": b"/mirror/a%3Fb=c",
    "an encoded hash": b"/mirror/a%23b",
    "an encoded NUL": b"/mirror/a%00b",
    "an encoded line break": b"/mirror/a%0d%0ab",
    "an encoded letter": b"/%6Dirror/a",
    "broken percent signs": b"/mirror/100%/%zz/%4",
    "a semicolon": b"/mirror/a;b=c/d;e",
    "a plus sign, an equals sign, a tilde": b"/mirror/a+b=c~d",
    "sub-delimiters": b"/mirror/!$&'()*+,;=:@",
    "characters that a URL should encode": b'/mirror/{a}|\\^`<b>"',
    "dots": b"/mirror/./a/../b",
    "encoded dots": b"/mirror/%2e%2e/b",
    "slashes at the start": b"//mirror/a",
    "slashes inside": b"/mirror//a///b",
    "a slash at the end": b"/mirror/a/",
    "a colon in the first segment": b"/a:b",
    "an absolute target": b"http://other.test/mirror/a?b=c",
    "an absolute target with a port": b"http://other.test:8080/mirror/a",
    "an absolute target without a path": b"http://other.test",
    "an absolute target with encoded characters": b"http://other.test/mirror/%C3%AF?%C3%AF",
    "a long path": b"/mirror/" + b"a" * 4000,
    "a trailing-slash redirect": b"/slash?x=1&y=%20",
    "a trailing-slash redirect of an absolute target": b"http://other.test/slash",
    "a slash too much": b"/plain/",
    "no such route": b"/no/such/route?q=1",
    "a static file": b"/static/text.txt",
    "a static file that is not there": b"/static/none.txt",
    "a way out of the static folder": b"/static/../app.py",
    "an encoded way out of the static folder": b"/static/..%2f..%2fapp.py",
    "an exception with a handler": b"/boom",
    "an exception without a handler": b"/crash",
    "an aborted view with a response": b"/abort-with-response",
    "a stream in its context": b"/context",
    "a file in memory": b"/memory-file",
    "a new session": b"/session",
}

ANSWERS = {
    f"as {path}": b"/as/" + path.encode()
    for path in (
        "str",
        "bytes",
        "empty",
        "body-status",
        "body-headers",
        "body-status-headers",
        "dict",
        "list",
        "jsonify",
        "made",
        "template?name=%3Cb%3E",
        "generator",
        "generator-of-nothing",
        "generator-with-length",
        "stream-with-context?name=x",
        "list-of-bytes",
        "passthrough",
        "wsgi-app",
        "redirect",
        "redirect-outside",
        "url",
        "cookies",
        "headers",
        "hop-by-hop",
        "kept-alive",
        "conditional",
        "conditional-range",
        "file",
        "file/empty.bin",
        "file/none.bin",
        "file/text.txt?as=plain.txt",
        "file/na%C3%AFve%20%E2%98%83.txt",
        "file/text.txt?as=na%C3%AFve%20%E2%98%83.txt",
        "big",
        "big-stream",
        "methods",
        "bodiless/200",
        "bodiless/204",
        "bodiless/205",
        "bodiless/304",
        "bodiless/404",
        "bodiless-with-length/204",
        "bodiless-with-length/304",
        "status/200",
        "status/201",
        "status/207",
        "status/226",
        "status/299",
        "status/404",
        "status/418",
        "status/451",
        "status/499",
        "status/599",
        "status/200%20Fine",
        "status/200%20",
        "status/299%20Some%20Thing%20%C3%A9",
        "status/404%20not%20found%20here",
        "status/777%20Lucky",
    )
}

ABORTED = [*range(400, 407), *range(408, 419), 422, 423, 424, 428, 429, 431, 451, *range(500, 506)]

ABORTS = {f"abort {code}": b"/abort/%d" % code for code in ABORTED}

METHODS = {
    f"{method} {path}": ask(f"{method} {path}".encode())
    for method in ("HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW", "get")
    for path in (
        "/mirror/a?b=c",
        "/plain",
        "/only-post",
        "/slash",
        "/none",
        "/as/methods",
        "/as/automatic-options",
    )
} | {
    "GET where only POST is": ask(b"GET /only-post"),
    "HEAD of a stream": ask(b"HEAD /as/generator"),
    "HEAD of a big body": ask(b"HEAD /as/big"),
    "HEAD of a file": ask(b"HEAD /as/file"),
    "HEAD of an error": ask(b"HEAD /boom"),
    "HEAD of a redirect": ask(b"HEAD /as/redirect"),
    "HEAD of a 204": ask(b"HEAD /as/bodiless/204"),
    "HEAD of a session": ask(b"HEAD /session"),
    "HEAD of a WSGI application with a body": ask(b"HEAD /as/wsgi-app"),
    "OPTIONS of everything": ask(b"OPTIONS *"),
    "OPTIONS with an origin": ask(b"OPTIONS /plain", b"Origin: https://o.test"),
}

FIELDS = {
    "two Cookie headers": (b"Cookie: a=1; b=2", b"Cookie: c=3"),
    "odd cookies": (b'Cookie: a="1 2"; =x; y; b=%20; a=2; c=\xe2\x98\x83',),
    "repeated headers": (b"X-Many: 1", b"X-Other: o", b"x-many: 2", b"X-MANY: 3"),
    "repeated Accept": (b"Accept: text/html", b"Accept: */*;q=0.1"),
    "an underscore header": (b"X_Real_Ip: 6.6.6.6", b"X-Real-Ip: 1.2.3.4", b"Auth_Token: no"),
    "a token": (b"Auth-Token: s3cret", b"Authorization: Bearer abc.def"),
    "basic authorization": (b"Authorization: Basic dXNlcjpwYTpzcw==",),
    "an empty header": (b"X-Empty:", b"X-Blank:   "),
    "white space around values": (b"X-Space: \t  a  b \t ", b"X-None:c"),
    "values in latin-1 and in UTF-8": (b"X-Latin: caf\xe9", b"X-Utf: \xe2\x98\x83"),
    "odd header names": (b"x!#$%&'*+-.^`|~9: odd",),
    "a colon in a value": (b"X-Colon: a: b:c",),
    "forwarding headers that nobody trusts": (
        b"X-Forwarded-For: 6.6.6.6",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: evil.test",
        b"X-Forwarded-Prefix: /x",
        b"Forwarded: for=6.6.6.6;proto=https",
        b"X-Real-IP: 6.6.6.6",
    ),
    "what browsers send": (
        b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0",
        b"Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8",
        b"Accept-Language: de,en-US;q=0.7,en;q=0.3",
        b"Accept-Encoding: gzip, deflate, br",
        b"Referer: http://example.test/before?x=1",
        b"Upgrade-Insecure-Requests: 1",
        b'If-None-Match: W/"a", "b"',
        b"Range: bytes=0-1",
        b"Connection: keep-alive",
    ),
    "Connection: close": (b"Connection: close",),
    "an ajax request": (b"X-Requested-With: XMLHttpRequest",),
    "many headers": tuple(b"X-Number-%d: %d" % (n, n) for n in range(60)),
    "a long header": (b"X-Long: " + b"l" * 8000,),
    "a body type without a body": (b"Content-Type: application/json",),
    "a length of nothing": (b"Content-Length: 0",),
    "a request id of the client": (b"X-Request-ID: mine",),
    "a proxy header": (b"Proxy: http://evil.test",),
}

HOSTS = {
    "a host with a port": b"Host: example.test:8080",
    "a host with the default port": b"Host: example.test:80",
    "a host in capitals": b"Host: EXAMPLE.Test",
    "a host of IPv4": b"Host: 127.0.0.1:81",
    "a host of IPv6": b"Host: [::1]:82",
}

VERSIONS = {
    "HTTP/1.0": ask(b"GET /mirror/a HTTP/1.0"),
    "HTTP/1.0 without a host": ask(b"GET /mirror/a HTTP/1.0", host=b""),
    "HTTP/1.0 redirect without a host": ask(b"GET /slash HTTP/1.0", host=b""),
    "HTTP/1.0 kept alive": ask(b"GET /mirror/a HTTP/1.0", b"Connection: keep-alive"),
    "HTTP/1.0 stream": ask(b"GET /as/generator HTTP/1.0"),
    "HTTP/1.0 kept-alive stream": ask(b"GET /as/generator HTTP/1.0", b"Connection: keep-alive"),
    "HTTP/1.0 HEAD": ask(b"HEAD /as/str HTTP/1.0"),
    "HTTP/1.0 with a body": ask(
        b"POST /mirror/a HTTP/1.0", FORM, b"Content-Length: 3", body=b"a=b"
    ),
}

_FILE = part(b'name="f"; filename="a.txt"', b"file \x00\xff data\r\n", b"Content-Type: text/x-a")

BODIES = {
    "a form": send(b"POST /mirror/a?b=query", b"b=form&c=%E2%98%83&c=+2&d=&e", FORM),
    "a form with an encoding": send(b"POST /mirror/", b"a=%FF&b=\xe2\x98\x83", FORM),
    "a form by PUT": send(b"PUT /mirror/", b"a=1", FORM),
    "a form by PATCH": send(b"PATCH /mirror/", b"a=1", FORM),
    "a form by DELETE": send(b"DELETE /mirror/", b"a=1", FORM),
    "a form by GET": send(b"GET /mirror/", b"a=1", FORM),
    "an empty form": send(b"POST /mirror/", b"", FORM),
    "JSON": send(b"POST /mirror/", '{"a": [1, "\N{SNOWMAN}"]}'.encode(), JSON),
    "JSON of another type": send(
        b"POST /mirror/", b"[1]", b"Content-Type: application/problem+json"
    ),
    "JSON that is broken": send(b"POST /mirror/", b'{"a": ', JSON),
    "JSON that a view insists on": send(b"POST /upload/json", b'{"a": 1}', JSON),
    "broken JSON that a view insists on": send(b"POST /upload/json", b'{"a": ', JSON),
    "text where a view insists on JSON": send(b"POST /upload/json", b"text", TEXT),
    "text": send(b"POST /mirror/", "caf\N{LATIN SMALL LETTER E WITH ACUTE}".encode(), TEXT),
    "bytes of no type": send(b"POST /mirror/", bytes(range(256))),
    "a body with line ends": send(b"POST /upload/lines", b"one\ntwo\r\nthree"),
    "a body in pieces": send(b"POST /upload/pieces", b"0123456789"),
    "a body as a stream": send(b"POST /upload/read", b"0123456789"),
    "a body that nobody reads": send(b"POST /upload/unread", b"x" * 10_000),
    "a body that no route takes": send(b"POST /none", b"x" * 10_000),
    "a body larger than the view takes": send(b"POST /upload/small", b"0123456789a"),
    "a body as large as the view takes": send(b"POST /upload/small", b"0123456789"),
    "a big body": send(b"POST /mirror/", b"0123456789abcdef" * 100_000, TEXT),
    "two types": send(b"POST /mirror/", b"a=1", FORM, TEXT),
    "multipart": send(
        b"POST /mirror/",
        part(b'name="a"', b"1") + _FILE + part(b'name="a"', b"2") + b"--edge--\r\n",
        MULTIPART,
    ),
    "multipart with odd names": send(
        b"POST /mirror/",
        part('name="f"; filename="na\N{LATIN SMALL LETTER I WITH DIAERESIS}ve.txt"'.encode(), b"1")
        + part(b"name=\"f\"; filename*=UTF-8''%E2%98%83.txt", b"2")
        + part(b'name="f"; filename="a\\"b;c.txt"', b"3")
        + part(b'name="f"; filename="../../etc/passwd"', b"4")
        + part(b'name="f"; filename="C:\\\\dir\\\\d.txt"', b"5")
        + part(b'name="f"; filename=""', b"6")
        + part(b'name="' + "\N{SNOWMAN}".encode() + b'"', b"7")
        + b"--edge--\r\n",
        MULTIPART,
    ),
    "multipart without an end": send(b"POST /mirror/", part(b'name="a"', b"1"), MULTIPART),
    "multipart without a boundary": send(
        b"POST /mirror/", b"--edge--\r\n", b"Content-Type: multipart/form-data"
    ),
    "multipart of a big file": send(
        b"POST /mirror/",
        part(b'name="f"; filename="big"', b"0123456789abcdef" * 50_000) + b"--edge--\r\n",
        MULTIPART,
    ),
    "a chunked body": send_chunked(b"POST /mirror/", [b"one ", b"two ", b"three"], TEXT),
    "a chunked body of nothing": send_chunked(b"POST /mirror/", [], TEXT),
    "a chunked form": send_chunked(b"POST /mirror/", [b"a=", b"1&b", b"=2"], FORM),
    "a chunked JSON body": send_chunked(b"POST /mirror/", [b'{"a"', b": 1}"], JSON),
    "a chunked file": send_chunked(
        b"POST /mirror/", [_FILE[:30], _FILE[30:], b"--edge--\r\n"], MULTIPART
    ),
    "a chunked body as a stream": send_chunked(b"POST /upload/read", [b"0123456789"] * 3),
    "a chunked body as lines": send_chunked(b"POST /upload/lines", [b"one\ntw", b"o\nthree"]),
    "a chunked body in pieces": send_chunked(b"POST /upload/pieces", [b"01234", b"56789"]),
    "a chunked body larger than the view takes": send_chunked(
        b"POST /upload/small", [b"01234", b"56789a"]
    ),
    "an awaited 100-continue": send(b"POST /upload/read", b"body", b"Expect: 100-continue"),
}

CONDITIONS = (
    {
        "not modified since": ask(b"GET /as/file", b"If-Modified-Since: " + FILE_DATE),
        "modified since": ask(b"GET /as/file", b"If-Modified-Since: Tue, 14 Nov 2022 00:00:00 GMT"),
        "not matching": ask(b"GET /as/conditional", b"If-None-Match: " + FILE_ETAG_OF_ANOTHER),
        "matching anything": ask(b"GET /as/conditional", b"If-None-Match: *"),
        "unless modified": ask(
            b"GET /as/file", b"If-Unmodified-Since: Tue, 14 Nov 2022 00:00:00 GMT"
        ),
        "HEAD if modified": ask(b"HEAD /as/file", b"If-Modified-Since: " + FILE_DATE),
        "a static file, not modified": ask(
            b"GET /static/text.txt", b"If-Modified-Since: " + FILE_DATE
        ),
    }
    | {
        f"range {value.decode()} of {path.decode()}": ask(b"GET " + path, b"Range: bytes=" + value)
        for value in (
            b"0-4",
            b"5-",
            b"-5",
            b"9-9",
            b"4-2",
            b"99999999-",
            b"0-1,3-4",
            b"x",
            b"0-99999",
        )
        for path in (b"/as/file", b"/as/conditional-range", b"/as/file/empty.bin")
    }
    | {
        "a range if the date fits": ask(
            b"GET /as/file", b"Range: bytes=1-3", b"If-Range: " + FILE_DATE
        ),
        "a range if the tag fits not": ask(
            b"GET /as/file", b"Range: bytes=1-3", b"If-Range: " + FILE_ETAG_OF_ANOTHER
        ),
        "HEAD of a range": ask(b"HEAD /as/file", b"Range: bytes=0-4"),
    }
)

REQUESTS: dict[str, bytes] = {
    **{name: ask(b"GET " + target) for name, target in {**TARGETS, **ANSWERS, **ABORTS}.items()},
    **METHODS,
    **{name: ask(b"GET /mirror/h", *fields) for name, fields in FIELDS.items()},
    **{name: ask(b"GET /mirror/h", host=host) for name, host in HOSTS.items()},
    **{f"redirect to {name}": ask(b"GET /slash", host=host) for name, host in HOSTS.items()},
    **VERSIONS,
    **BODIES,
    **CONDITIONS,
}
