"""httpbin, every route of it, beside itself under Werkzeug's server."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import requests
from requests.auth import HTTPDigestAuth

from flasknado.server import LAYERS
from tests.flasknado.wsgi.wire import Answer, Wire
from tests.support.process import ServerProcess
from tests.unmodified.conftest import Host
from tests.unmodified.environments import Environments

pytestmark = pytest.mark.timeout(300)  # the first of them installs packages

Addresses = tuple[tuple[str, int], tuple[str, int]]

FORM = "Content-Type: application/x-www-form-urlencoded"
BODY = b"a=1&b=two%20words&b=3"
JSON_BODY = b'{"a": [1, 2.5, null]}'
FILE_TYPE = "Content-Type: multipart/form-data; boundary=edge"
FILE_BODY = (
    b'--edge\r\nContent-Disposition: form-data; name="f"; filename="f.txt"\r\n'
    b"Content-Type: text/plain\r\n\r\nin a file\r\n--edge--\r\n"
)
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "TRACE")


@dataclass(frozen=True)
class Ask:
    line: str
    fields: tuple[str, ...] = ()
    body: bytes = b""

    @property
    def method(self) -> str:
        return self.line.partition(" ")[0]

    @property
    def target(self) -> str:
        return self.line.partition(" ")[2]

    def encoded(self) -> bytes:
        fields = ["Host: httpbin.test", *self.fields]
        if self.body:
            fields.append(f"Content-Length: {len(self.body)}")
        head = "\r\n".join([f"{self.line} HTTP/1.1", *fields])
        return head.encode() + b"\r\n\r\n" + self.body


TARGETS = """
/ /html /robots.txt /deny /ip /headers /user-agent /get?a=1&a=2 /gzip /deflate /brotli
/redirect/1 /redirect/3 /redirect/2?absolute=true /relative-redirect/2
/absolute-redirect/2 /stream/0 /stream/20 /response-headers?X-One=1&X-Two=2&X-Two=3
/cookies /forms/post /cookies/set/name/value /cookies/set?a=1&b=2 /cookies/delete?a&b
/basic-auth/user/secret /hidden-basic-auth/user/secret /bearer
/digest-auth/auth/user/secret /digest-auth/auth/user/secret/SHA-256
/digest-auth/auth-int/user/secret/MD5/never /digest-auth/neither/user/secret
/drip?numbytes=3&duration=0.03&code=202 /drip?numbytes=0 /base64/SGVsbG8= /base64/~
/cache /cache/60 /etag/tag /encoding/utf8 /bytes/0?seed=1 /bytes/1024?seed=1
/stream-bytes/5000?seed=1&chunk_size=512 /range/1024?chunk_size=100 /range/0
/links/3 /links/3/1 /image /image/png /image/jpeg /image/webp /image/svg /xml /json /uuid
/status/418 /status/401 /status/402 /status/406 /status/407 /status/304 /status/204
/status/301 /status/500 /status/503 /status/200:0.0,404:1.0 /status/none /no-such-page
/static/favicon.ico
"""

ASKS = [
    *(Ask(f"{method} /anything") for method in METHODS),
    *(Ask(f"{method} /anything/a%20b/c?x=1&x=2&y=%E2%98%83") for method in METHODS),
    *(
        Ask(f"{method} /status/{code}")
        for method, code in zip(METHODS, range(200, 206), strict=True)
    ),
    *(Ask(f"{method} /delay/0.01") for method in METHODS),
    *(Ask(f"{method} /redirect-to?url=/get") for method in METHODS),
    *(Ask(f"{method} /{method.lower()}?x=1", (FORM,), BODY) for method in METHODS[1:5]),
    *(Ask(f"GET {target}") for target in TARGETS.split()),
    Ask("POST /response-headers?X-One=1"),
    Ask("POST /post", ("Content-Type: application/json",), JSON_BODY),
    Ask("POST /post", (FILE_TYPE,), FILE_BODY),
    Ask("POST /post", ("Content-Type: application/octet-stream",), b"\x00\xff\xfe"),
    Ask("PUT /anything", (FORM,), BODY * 4000),
    Ask("GET /headers", ("X-Twice: a", "X-Twice: b", "Accept: */*")),
    Ask("GET /cookies", ("Cookie: a=1; b=2",)),
    Ask("GET /basic-auth/user/secret", ("Authorization: Basic dXNlcjpzZWNyZXQ=",)),
    Ask("GET /hidden-basic-auth/user/secret", ("Authorization: Basic dXNlcjpzZWNyZXQ=",)),
    Ask("GET /bearer", ("Authorization: Bearer token",)),
    Ask("GET /cache", ('If-None-Match: "x"',)),
    Ask("GET /etag/tag", ('If-None-Match: "tag"',)),
    Ask("GET /etag/tag", ('If-Match: "other"',)),
    Ask("GET /range/1024", ("Range: bytes=10-19",)),
    Ask("GET /range/1024", ("Range: bytes=-10",)),
    Ask("GET /range/1024", ("Range: bytes=2000-",)),
    *(Ask("GET /image", (f"Accept: {kind}",)) for kind in ("image/jpeg", "image/svg+xml", "a/b")),
    *(Ask(f"HEAD {path}") for path in ("/get", "/stream/3", "/image/png", "/status/404")),
    *(Ask(f"OPTIONS {path}") for path in ("/get", "/anything", "/post")),
    Ask("OPTIONS /get", ("Origin: http://a.test", "Access-Control-Request-Headers: X-Own")),
    Ask("DELETE /get"),
]

OWN_FIELDS = {
    b"connection",
    b"content-length",
    b"date",
    b"server",
    b"transfer-encoding",
    b"x-request-id",
}
"""The servers' own; a length is compared where Werkzeug's sends one: it is httpbin's then."""

ONE_ORDER = {"PYTHONHASHSEED": "0"}
"""Flask makes the value of `Allow` of a set."""

RANDOM = (
    re.compile(rb'(?<=nonce=")[0-9a-f]+'),
    re.compile(rb'(?<=opaque=")[0-9a-f]+'),
    re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"),
    re.compile(rb"\A[0-9a-f]{32}\Z"),
    re.compile(rb"\A\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\Z"),
)
"""What httpbin makes up anew for each answer: nonces, identifiers, the time."""


@pytest.fixture(scope="module", params=LAYERS)
def hosted(request: pytest.FixtureRequest, host: Host) -> Iterator[ServerProcess]:
    with host("httpbin", "httpbin:app", "--http", request.param, env=ONE_ORDER) as server:
        yield server


@pytest.fixture(scope="module")
def werkzeug(flask_run: Host) -> Iterator[ServerProcess]:
    with flask_run("httpbin", "httpbin:app", env=ONE_ORDER) as server:
        yield server


@pytest.fixture
def addresses(hosted: ServerProcess, werkzeug: ServerProcess) -> Addresses:
    """Where Werkzeug's server listens, and ours."""
    return ("127.0.0.1", werkzeug.port), ("127.0.0.1", hosted.port)


def answer_of(address: tuple[str, int], request: bytes) -> Answer:
    """Return an answer without what is random in it."""

    def lasting(text: bytes) -> bytes:
        for pattern in RANDOM:
            text = pattern.sub(b"RANDOM", text)
        return text

    with Wire(address) as wire:
        answer = wire.ask(request)
    answer.body = lasting(answer.body)
    answer.fields = [(name, lasting(value)) for name, value in answer.fields]
    return answer


def fields_of(answer: Answer) -> list[tuple[bytes, bytes]]:
    """Return what httpbin itself sent; the case of a name means nothing (RFC 9110, section 5.1)."""
    fields = ((name.lower(), value) for name, value in answer.fields)
    return [field for field in fields if field[0] not in OWN_FIELDS]


@pytest.mark.parametrize("ask", ASKS, ids=lambda ask: " ".join([ask.line, *ask.fields])[:70])
def test_httpbin_answers_as_under_werkzeugs_server(ask: Ask, addresses: Addresses) -> None:
    theirs, ours = (answer_of(address, ask.encoded()) for address in addresses)
    assert ours.status_line == theirs.status_line
    assert fields_of(ours) == fields_of(theirs)
    assert ours.body == theirs.body
    length = theirs.header("Content-Length")
    if length is not None:
        assert ours.header("Content-Length") == length


def test_httpbin_is_asked_for_every_route_by_every_method(environments: Environments) -> None:
    program = """
import json, sys
from httpbin import app
urls = app.url_map.bind("httpbin.test")
asked = set()
for method, path in json.load(sys.stdin):
    try:
        asked.add((urls.match(path, method, return_rule=True)[0].rule, method))
    except Exception as error:
        assert getattr(error, "code", 0) in (301, 308, 404, 405), error
routes = {(rule.rule, method) for rule in app.url_map.iter_rules() for method in rule.methods}
print(json.dumps(sorted((rule, method) for rule, method in routes - asked
                        if method not in ("HEAD", "OPTIONS"))))
"""
    asked = [[ask.method, ask.target.partition("?")[0].replace("%20", " ")] for ask in ASKS]
    done = subprocess.run(
        [environments.python("httpbin"), "-c", program],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout) == []


def test_httpbin_takes_a_chunked_body_which_it_refuses_under_werkzeugs_server(
    addresses: Addresses,
) -> None:
    """A chunked body has arrived whole here, and says its length (RFC 9112, section 7.1.3)."""
    request = (
        b"POST /post HTTP/1.1\r\nHost: httpbin.test\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\n\r\n3\r\na=1\r\n0\r\n\r\n"
    )
    theirs, ours = (answer_of(address, request) for address in addresses)
    assert theirs.status == 501
    assert ours.status == 200
    assert json.loads(ours.body)["form"] == {"a": "1"}


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256", "SHA-512"])
def test_httpbin_knows_who_asks_by_digest(algorithm: str, hosted: ServerProcess) -> None:
    url = f"{hosted.url}/digest-auth/auth/user/secret/{algorithm}"
    with requests.Session() as session:
        session.auth = HTTPDigestAuth("user", "secret")
        assert session.get(url, timeout=20).json() == {"authenticated": True, "user": "user"}
        session.auth = HTTPDigestAuth("user", "wrong")
        assert session.get(url, timeout=20).status_code == 401


@pytest.mark.parametrize(
    "target", ["/drip?numbytes=4&duration=1", "/range/26?chunk_size=7&duration=1"]
)
def test_httpbin_that_trickles_is_heard_before_it_ends(target: str, hosted: ServerProcess) -> None:
    with requests.get(hosted.url + target, stream=True, timeout=20) as answer:
        came = [time.monotonic() for _ in answer.iter_content(1)]
    assert len(came) == int(answer.headers["Content-Length"])
    assert came[-1] - came[0] > 0.5


def test_httpbin_that_streams_sends_each_part_as_it_comes(hosted: ServerProcess) -> None:
    with Wire(("127.0.0.1", hosted.port)) as wire:
        wire.send(b"GET /stream/7 HTTP/1.1\r\nHost: httpbin.test\r\n\r\n")
        assert wire.head().header("Transfer-Encoding") == "chunked"
        lines = list(iter(wire.chunk, b""))
    assert [json.loads(line)["id"] for line in lines] == list(range(7))
