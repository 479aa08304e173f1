"""The environ of a request, by plain calls: PEP 3333's rules, and properties of any request."""

from __future__ import annotations

import io
import sys
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from werkzeug.wrappers import Request

from flasknado.environ import REQUEST_ID_KEY, base_environ, build_environ
from flasknado.errors import RequestError
from flasknado.http.head import parse_head
from flasknado.http.message import Body, RequestHead

HOST = (b"Host", b"example.test")


def environ_of(
    target: str = "/",
    *fields: tuple[bytes, bytes],
    method: str = "GET",
    version: str = "1.1",
    mount: str = "",
    body: Body | None = None,
    **options: Any,
) -> dict[str, Any]:
    head = parse_head(method, target, version, [HOST, *fields], **options)
    return build_environ(head, body, base_environ(mount=mount))


def test_environ_has_every_key_that_pep_3333_requires() -> None:
    environ = environ_of("/a?b=c", client=("10.0.0.9", 4242), server=("10.0.0.1", 80))
    expected = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a",
        "QUERY_STRING": "b=c",
        "SERVER_NAME": "10.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "10.0.0.9",
        "REMOTE_PORT": "4242",
        "HTTP_HOST": "example.test",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
    }
    assert {key: environ[key] for key in expected} == expected
    assert type(environ) is dict
    assert environ["wsgi.input"].read() == b""


def test_environ_of_one_request_shares_nothing_with_the_next() -> None:
    base = base_environ()
    head = parse_head("GET", "/", "1.1", [HOST])
    first = build_environ(head, None, base)
    first["mine"] = 1
    del first["wsgi.version"]
    assert "mine" not in build_environ(head, None, base)
    assert base["wsgi.version"] == (1, 0)


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", "/", ""),
        ("/?", "/", ""),
        ("/a%20b", "/a b", ""),
        ("/%E2%98%83", "\xe2\x98\x83", ""),
        ("/%FF", "\xff", ""),
        ("/a%2Fb%3Fc%23d", "/a/b?c#d", ""),
        ("/%zz%4", "/%zz%4", ""),
        ("/a+b", "/a+b", ""),
        ("/a;b", "/a;b", ""),
        ("//a//", "//a//", ""),
        ("/a?%20b?c=/d", "/a", "%20b?c=/d"),
        ("http://other.test", "/", ""),
        ("http://other.test?q", "/", "q"),
        ("https://other.test/a%20b?q", "/a b", "q"),
    ],
)
def test_target_becomes_decoded_path_and_raw_query(target: str, path: str, query: str) -> None:
    environ = environ_of(target)
    assert environ["PATH_INFO"].lstrip("/") == path.lstrip("/")
    assert environ["QUERY_STRING"] == query
    assert environ["REQUEST_URI"] == environ["RAW_URI"] == target


def test_options_of_everything_has_an_asterisk_for_path() -> None:
    assert environ_of("*", method="OPTIONS")["PATH_INFO"] == "*"


def test_absolute_target_is_stronger_than_the_host_header() -> None:
    assert environ_of("http://other.test:81/a")["HTTP_HOST"] == "other.test:81"


@pytest.mark.parametrize(
    ("target", "path"),
    [("/shop", ""), ("/shop/", "/"), ("/shop/a%20b", "/a b"), ("/shop/shop", "/shop")],
)
def test_mount_moves_from_the_path_to_the_script_name(target: str, path: str) -> None:
    environ = environ_of(target, mount="/shop")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/shop", path)
    assert environ["REQUEST_URI"] == target


@pytest.mark.parametrize(("mount", "script_name"), [("", "/site"), ("/shop", "/site/shop")])
def test_prefix_of_a_proxy_goes_before_the_mount(mount: str, script_name: str) -> None:
    head = parse_head("GET", f"{mount}/a", "1.1", [(b"Host", b"h")])
    head.prefix = "/site"
    environ = build_environ(head, None, base_environ(mount=mount))
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (script_name, "/a")


@pytest.mark.parametrize(
    ("fields", "key", "value"),
    [
        ([(b"Auth-Token", b"t")], "HTTP_AUTH_TOKEN", "t"),
        ([(b"auth-token", b"t")], "HTTP_AUTH_TOKEN", "t"),
        ([(b"X-A", b"1"), (b"x-a", b"2"), (b"X-A", b"")], "HTTP_X_A", "1,2,"),
        ([(b"Cookie", b"a=1"), (b"cookie", b"b=2")], "HTTP_COOKIE", "a=1; b=2"),
        ([(b"X-Latin", b"caf\xe9")], "HTTP_X_LATIN", "caf\xe9"),
        ([(b"X-Utf", b"\xe2\x98\x83")], "HTTP_X_UTF", "\xe2\x98\x83"),
        ([(b"Content-Type", b"text/plain")], "CONTENT_TYPE", "text/plain"),
        ([(b"Content-Length", b"0")], "CONTENT_LENGTH", "0"),
        ([(b"Content-Length", b"007")], "CONTENT_LENGTH", "7"),
        ([(b"Expect", b"100-continue")], "HTTP_EXPECT", "100-continue"),
    ],
)
def test_field_becomes_a_variable(fields: list[tuple[bytes, bytes]], key: str, value: str) -> None:
    assert environ_of("/", *fields)[key] == value


@pytest.mark.parametrize(
    "name",
    [b"X_Real_Ip", b"Content_Length", b"CONTENT_TYPE", b"Transfer_Encoding", b"X-Real_Ip", b"_"],
)
def test_field_with_an_underscore_is_dropped(name: bytes) -> None:
    environ = environ_of("/", (name, b"1"), (b"X-Real-Ip", b"right"))
    assert environ["HTTP_X_REAL_IP"] == "right"
    assert "CONTENT_LENGTH" not in environ
    assert "CONTENT_TYPE" not in environ
    assert "HTTP_TRANSFER_ENCODING" not in environ
    assert "HTTP__" not in environ


@pytest.mark.parametrize("name", ["CONTENT_LENGTH", "CONTENT_TYPE", "HTTP_TRANSFER_ENCODING"])
def test_request_without_a_body_says_nothing_of_one(name: str) -> None:
    assert name not in environ_of("/")


def test_chunked_body_is_announced_by_its_length() -> None:
    body = Body(io.BytesIO(b"twelve bytes"), 12)
    environ = environ_of("/", (b"Transfer-Encoding", b"chunked"), method="POST", body=body)
    assert environ["CONTENT_LENGTH"] == "12"
    assert "HTTP_TRANSFER_ENCODING" not in environ
    assert environ["wsgi.input"].read() == b"twelve bytes"


def test_scheme_and_request_id_come_from_the_head() -> None:
    head = parse_head("GET", "/", "1.1", [HOST], scheme="https")
    head.request_id = "abc-1"
    environ = build_environ(head, None, base_environ())
    assert (environ["wsgi.url_scheme"], environ[REQUEST_ID_KEY]) == ("https", "abc-1")


@pytest.mark.parametrize(
    ("host", "scheme", "name", "port"),
    [
        (b"example.test", "http", "example.test", "80"),
        (b"example.test", "https", "example.test", "443"),
        (b"example.test:8080", "http", "example.test", "8080"),
        (b"[::1]:8080", "http", "[::1]", "8080"),
        (b"[::1]", "http", "[::1]", "80"),
    ],
)
def test_server_on_a_unix_socket_is_what_the_client_asked_for(
    host: bytes, scheme: str, name: str, port: str
) -> None:
    head = parse_head("GET", "/", "1.1", [(b"Host", host)], scheme=scheme)
    environ = build_environ(head, None, base_environ())
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == (name, port)
    assert environ["REMOTE_ADDR"] == ""


def test_request_without_a_host_on_a_unix_socket_has_a_server_name() -> None:
    head = parse_head("GET", "/", "1.0", [])
    environ = build_environ(head, None, base_environ())
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("localhost", "80")
    assert "HTTP_HOST" not in environ


TOKEN = st.text("!#$%&'*+-.^_`|~09AZaz", min_size=1, max_size=20).map(str.encode)
VALUE = st.binary(max_size=40).map(
    lambda value: bytes(byte for byte in value if byte >= 32 and byte != 127).strip(b" \t")
)
TARGET = st.one_of(
    st.text(st.characters(max_codepoint=255), max_size=40).map(lambda text: "/" + text),
    st.text("/%2fF?=&+;:.a\xe9", max_size=40).map(lambda text: "/" + text),
)


@st.composite
def heads(draw: st.DrawFn) -> RequestHead:
    """Any head that `parse_head` accepts."""
    fields = draw(st.lists(st.tuples(TOKEN, VALUE), max_size=12))
    fields = [field for field in fields if field[0].lower() not in (b"host", b"te", b"expect")]
    client = draw(st.none() | st.just(("10.0.0.9", 4242)))
    while True:
        try:
            return parse_head(
                draw(st.sampled_from(("GET", "POST", "M-SEARCH"))),
                draw(TARGET),
                draw(st.sampled_from(("1.0", "1.1"))),
                [HOST, *fields],
                client=client,
                server=client,
            )
        except RequestError:
            continue


@given(heads())
def test_any_accepted_head_makes_an_environ_of_latin_1_text(head: RequestHead) -> None:
    environ = build_environ(head, None, base_environ())
    for key, value in environ.items():
        if not key.startswith(("wsgi.", "flasknado.")):
            assert type(value) is str
            value.encode("latin-1")
    assert environ["PATH_INFO"].encode("latin-1") == unquote_to_bytes(head.path.encode("latin-1"))


@given(heads())
def test_any_field_without_underscore_reaches_the_environ_and_no_other(head: RequestHead) -> None:
    environ = build_environ(head, None, base_environ())
    variables = {key for key in environ if key.startswith("HTTP_")}
    names = {name.decode() for name, _ in head.headers if b"_" not in name}
    assert variables == {"HTTP_" + name.upper().replace("-", "_") for name in names}
    for variable in variables - {"HTTP_COOKIE", "HTTP_HOST"}:
        values = [
            value.decode("latin-1")
            for name, value in head.headers
            if b"_" not in name and "HTTP_" + name.decode().upper().replace("-", "_") == variable
        ]
        assert environ[variable] == ",".join(values)


@given(heads())
def test_any_environ_is_readable_to_werkzeug(head: RequestHead) -> None:
    assume(head.query.isascii())  # else `args` raises; a target of other bytes breaks RFC 3986
    request = Request(build_environ(head, None, base_environ()))
    assert request.method == head.method
    assert request.path.startswith("/")
    assert request.host == "example.test"
    assert isinstance(request.url, str)
    assert request.query_string == head.query.encode("latin-1")
    assert len(list(request.headers)) == len({name.lower() for name, _ in request.headers})
    assert isinstance(request.args.to_dict(), dict)
