"""WSGI applications that do every wrong thing, and some odd right ones, each with what follows.

`APPS` has them by name; `application` serves each under the path of that name. An outcome
is what the client must see: `failed` is 500 on a connection that lives on, `cut` is a
connection closed before the body is whole, and `answered` is that answer.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

SECRET = "the secret in the traceback"
TEXT = [("Content-Type", "text/plain")]

Environ = dict[str, Any]
App = Callable[[Environ, Any], Any]


class Outcome(NamedTuple):
    """What a client sees: a status line (without the version) and a body, or a cut body."""

    status: str
    body: bytes | None = None
    cut: bool = False


FAILED = Outcome("500 Internal Server Error")

APPS: dict[str, tuple[App, Outcome]] = {}


def _register(name: str, app: App, outcome: Outcome) -> None:
    assert name not in APPS, name
    APPS[name] = app, outcome


def _decorator(outcome: Outcome) -> Callable[[App], App]:
    def decorate(app: App) -> App:
        _register(app.__name__, app, outcome)
        return app

    return decorate


failed = _decorator(FAILED)
cut = _decorator(Outcome("200 OK", cut=True))


def answered(body: bytes, status: str = "200 OK") -> Callable[[App], App]:
    return _decorator(Outcome(status, body))


def application(environ: Environ, start_response: Any) -> Any:
    """Serve the application that the path names, and `/fine`."""
    name = environ["PATH_INFO"][1:]
    if name == "fine":
        start_response("200 OK", TEXT[:])
        return [b"fine"]
    return APPS[name][0](environ, start_response)


# Raising.


@failed
def raises_before_start(environ: Environ, start_response: Any) -> Any:
    raise RuntimeError(SECRET)


@failed
def raises_after_start(environ: Environ, start_response: Any) -> Any:
    start_response("200 OK", TEXT[:])
    raise RuntimeError(SECRET)


@failed
def raises_before_first_byte(environ: Environ, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", TEXT[:])
    yield b""
    raise RuntimeError(SECRET)


@cut
def raises_after_first_byte(environ: Environ, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", TEXT[:])
    yield b"first"
    raise RuntimeError(SECRET)


@cut
def raises_after_first_byte_of_known_length(
    environ: Environ, start_response: Any
) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Length", "10")])
    yield b"first"
    raise RuntimeError(SECRET)


@answered(b"whole")
def raises_after_last_byte_of_known_length(
    environ: Environ, start_response: Any
) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Length", "5")])
    yield b"whole"
    raise RuntimeError(SECRET)


@failed
def raises_in_iter(environ: Environ, start_response: Any) -> Any:
    class Unwilling:
        def __iter__(self) -> Iterator[bytes]:
            raise RuntimeError(SECRET)

    start_response("200 OK", TEXT[:])
    return Unwilling()


@failed
def recurses_without_end(environ: Environ, start_response: Any) -> Any:
    return recurses_without_end(environ, start_response)


@failed
def runs_out_of_memory(environ: Environ, start_response: Any) -> Any:
    raise MemoryError(SECRET)


@failed
def exits(environ: Environ, start_response: Any) -> Any:
    sys.exit(3)


@failed
def exits_in_iteration(environ: Environ, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", TEXT[:])
    yield b""
    sys.exit(SECRET)


@cut
def exits_after_first_byte(environ: Environ, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", TEXT[:])
    yield b"first"
    sys.exit(SECRET)


@failed
def interrupts(environ: Environ, start_response: Any) -> Any:
    raise KeyboardInterrupt


@failed
def raises_generator_exit(environ: Environ, start_response: Any) -> Any:
    raise GeneratorExit


@failed
def raises_stop_iteration(environ: Environ, start_response: Any) -> Any:
    raise StopIteration


@failed
def raises_what_cannot_be_shown(environ: Environ, start_response: Any) -> Any:
    class Unshowable(Exception):
        def __str__(self) -> str:
            raise ValueError("not even this")

        __repr__ = __str__

    raise Unshowable


@failed
def fails_as_the_client_would(environ: Environ, start_response: Any) -> Any:
    raise BrokenPipeError(SECRET)


# start_response().


@failed
def never_starts(environ: Environ, start_response: Any) -> Any:
    return [b"body"]


@failed
def never_starts_and_is_empty(environ: Environ, start_response: Any) -> Any:
    return []


@failed
def never_starts_a_generator(environ: Environ, start_response: Any) -> Iterator[bytes]:
    yield b"body"


@answered(b"late")
def starts_in_the_generator(environ: Environ, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", TEXT[:])
    yield b"late"


@answered(b"later")
def starts_in_the_generator_after_an_empty_part(
    environ: Environ, start_response: Any
) -> Iterator[bytes]:
    yield b""
    start_response("200 OK", TEXT[:])
    yield b"later"


@failed
def starts_twice(environ: Environ, start_response: Any) -> Any:
    start_response("200 OK", TEXT[:])
    start_response("200 OK", TEXT[:])
    return [b"body"]


@cut
def starts_twice_after_the_body_began(environ: Environ, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", TEXT[:])
    yield b"first"
    start_response("200 OK", TEXT[:])
    yield b"second"


@answered(b"sorry", "503 Sorry")
def changes_its_mind(environ: Environ, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Length", "99"), ("X-First", "1")])
    try:
        raise RuntimeError(SECRET)
    except RuntimeError:
        start_response("503 Sorry", TEXT[:], sys.exc_info())
    return [b"sorry"]


@answered(b"at once", "503 Sorry")
def starts_with_an_error(environ: Environ, start_response: Any) -> Any:
    try:
        raise RuntimeError(SECRET)
    except RuntimeError:
        start_response("503 Sorry", TEXT[:], sys.exc_info())
    return [b"at once"]


@cut
def changes_its_mind_too_late(environ: Environ, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", TEXT[:])
    yield b"first"
    try:
        raise RuntimeError(SECRET)
    except RuntimeError:
        start_response("503 Sorry", TEXT[:], sys.exc_info())
    yield b"second"


@failed
def starts_with_nothing(environ: Environ, start_response: Any) -> Any:
    start_response()
    return [b"body"]


# What is returned and yielded.


def _returning(body: Any) -> App:
    def returns(environ: Environ, start_response: Any) -> Any:
        start_response("200 OK", TEXT[:])
        return body

    return returns


for _name, _body in {
    "none": None,
    "an int": 7,
    "a str": "text",
    "bytes": b"bytes",
    "a list of str": ["text"],
    "a list of one empty str": [""],
    "a list of none": [None],
    "a list of int": [1],
    "a list of zero": [0],
    "a list of bytearray": [bytearray(b"text")],
    "a list of memoryview": [memoryview(b"text")],
    "a mixed list, wrong first": ["text", b"bytes"],
}.items():
    _register(f"returns_{_name}".replace(" ", "_"), _returning(_body), FAILED)

for _name, _body, _sent in (
    ("an empty list", [], b""),
    ("a list of one empty part", [b""], b""),
    ("a list of parts", [b"a", b"", b"b"], b"ab"),
    ("a tuple", (b"a", b"b"), b"ab"),
    ("a dict of bytes", {b"a": 1}, b"a"),
):
    _register(f"returns_{_name}".replace(" ", "_"), _returning(_body), Outcome("200 OK", _sent))


@cut
def yields_str_after_bytes(environ: Environ, start_response: Any) -> Iterator[Any]:
    start_response("200 OK", TEXT[:])
    yield b"first"
    yield "second"


@cut
def yields_an_empty_str_after_bytes(environ: Environ, start_response: Any) -> Iterator[Any]:
    start_response("200 OK", TEXT[:])
    yield b"first"
    yield ""


@answered(b"")
def yields_nothing(environ: Environ, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", TEXT[:])
    return
    yield b"never"


@answered(b"ab")
def yields_empty_parts(environ: Environ, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", TEXT[:])
    yield from (b"", b"a", b"", b"b", b"")


# Statuses.


def _with_status(status: Any) -> App:
    def has_status(environ: Environ, start_response: Any) -> Any:
        start_response(status, TEXT[:])
        return [b"body"]

    return has_status


for _status in (
    "",
    "OK",
    "20",
    "200OK",
    "2000 OK",
    "-200 OK",
    " 200 OK",
    "2x0 OK",
    "\u0662\u0660\u0660 OK",
    "100 Continue",
    "101 Switching Protocols",
    "199 Odd",
    "000 Odd",
    "200 OK\r\nX-Injected: yes",
    "200 OK\n",
    "200 O\x00K",
    "200 \N{SNOWMAN}",
    200,
    200.0,
    None,
    b"200 OK",
    ("200", "OK"),
):
    _register(f"status_{_status!a}", _with_status(_status), FAILED)

for _status, _line in (
    ("200", "200 OK"),
    ("404", "404 Not Found"),
    ("299", "299 "),
    ("299 ", "299 "),
    ("200  two spaces", "200  two spaces"),
    ('418 I\'m "odd" (very)', '418 I\'m "odd" (very)'),
    ("999 Beyond", "999 Beyond"),
):
    _register(f"status_{_status!a}", _with_status(_status), Outcome(_line, b"body"))


# Headers.


def _with_headers(headers: Any) -> App:
    def has_headers(environ: Environ, start_response: Any) -> Any:
        start_response("200 OK", headers)
        return [b"body"]

    return has_headers


for _name, _headers in {
    "none": None,
    "a_tuple": (("X-A", "a"),),
    "a_dict": {"X-A": "a"},
    "a_str": "X-A: a",
    "an_iterator": iter([("X-A", "a")]),
    "list_of_lists": [["X-A", "a"]],
    "list_of_str": ["X-A: a"],
    "list_of_none": [None],
    "short_pair": [("X-A",)],
    "long_pair": [("X-A", "a", "b")],
    "bytes_name": [(b"X-A", "a")],
    "none_name": [(None, "a")],
    "empty_name": [("", "a")],
    "name_with_space": [("X A", "a")],
    "name_with_colon": [("X-A:", "a")],
    "name_with_line_break": [("X-A\r\nX-Injected", "a")],
    "name_of_unicode": [("X-\N{SNOWMAN}", "a")],
    "name_of_latin_1": [("X-\xe9", "a")],
    "bytes_value": [("X-A", b"a")],
    "int_value": [("X-A", 1)],
    "none_value": [("X-A", None)],
    "value_with_cr": [("X-A", "a\rX-Injected: yes")],
    "value_with_lf": [("X-A", "a\nX-Injected: yes")],
    "value_with_crlf": [("X-A", "a\r\nX-Injected: yes")],
    "value_with_crlf_at_end": [("X-A", "a\r\n")],
    "value_with_nul": [("X-A", "a\x00")],
    "value_with_escape": [("X-A", "a\x1b[2J")],
    "value_with_del": [("X-A", "a\x7f")],
    "value_of_unicode": [("X-A", "\N{SNOWMAN}")],
    "value_with_unicode_line_break": [("X-A", "a\u010a\u010d")],
    "connection": [("Connection", "upgrade")],
    "te": [("TE", "trailers")],
    "trailer": [("Trailer", "X-A")],
    "transfer_encoding": [("transfer-encoding", "gzip, chunked")],
    "upgrade": [("Upgrade", "h2c")],
    "length_of_no_number": [("Content-Length", "four")],
    "empty_length": [("Content-Length", "")],
    "negative_length": [("Content-Length", "-4")],
    "signed_length": [("Content-Length", "+4")],
    "length_with_underscore": [("Content-Length", "0_4")],
    "length_in_other_digits": [("Content-Length", "\xb2")],
    "endless_length": [("Content-Length", "4" * 5000)],
    "two_lengths": [("Content-Length", "4"), ("content-length", "4")],
}.items():
    _register(f"headers_{_name}", _with_headers(_headers), FAILED)


# Content-Length.


@answered(b"fou")
def length_too_small(environ: Environ, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Length", "3")])
    return [b"four"]


@answered(b"abcd")
def length_too_small_for_the_parts(environ: Environ, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Length", "4")])
    return [b"abc", b"def", b"ghi"]


@answered(b"")
def length_zero_with_a_body(environ: Environ, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Length", "0")])
    return [b"body"]


@answered(b"fofo")
def length_passed_by_an_endless_body(environ: Environ, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Length", "4")])
    return itertools.repeat(b"fo")


@answered(b"")
def length_zero_of_an_endless_body(environ: Environ, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Length", "0")])
    return itertools.repeat(b"x")


@cut
def length_too_large(environ: Environ, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Length", "10")])
    return [b"four"]


@cut
def length_too_large_for_the_generator(environ: Environ, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Length", "10")])
    yield b"fo"
    yield b"ur"


@failed
def length_without_a_body(environ: Environ, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Length", "10")])
    return []


@failed
def length_with_an_empty_body(environ: Environ, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Length", "10")])
    return [b""]


# Statuses without a body.


@answered(b"", "204 No Content")
def body_on_204(environ: Environ, start_response: Any) -> Any:
    start_response("204 No Content", [("Content-Length", "4")])
    return [b"body"]


@answered(b"", "204 No Content")
def endless_body_on_204(environ: Environ, start_response: Any) -> Any:
    start_response("204 No Content", [])
    return itertools.repeat(b"x")


@answered(b"", "304 Not Modified")
def body_on_304(environ: Environ, start_response: Any) -> Any:
    start_response("304 Not Modified", [])
    return [b"body"]


@answered(b"", "304 Not Modified")
def length_on_304(environ: Environ, start_response: Any) -> Any:
    start_response("304 Not Modified", [("Content-Length", "1234")])
    return []


# write().


@answered(b"written and returned")
def writes(environ: Environ, start_response: Any) -> Any:
    write = start_response("200 OK", TEXT[:])
    write(b"written")
    write(b"")
    write(b" and")
    return [b" returned"]


@answered(b"written")
def writes_all_of_known_length(environ: Environ, start_response: Any) -> Any:
    write = start_response("200 OK", [("Content-Length", "7")])
    write(b"writ")
    write(b"ten")
    return []


@answered(b"")
def writes_nothing(environ: Environ, start_response: Any) -> Any:
    start_response("200 OK", TEXT[:])(b"")
    return []


@failed
def writes_str(environ: Environ, start_response: Any) -> Any:
    start_response("200 OK", TEXT[:])("text")
    return []


@cut
def writes_and_raises(environ: Environ, start_response: Any) -> Any:
    start_response("200 OK", TEXT[:])(b"written")
    raise RuntimeError(SECRET)


@answered(b"", "204 No Content")
def writes_on_204(environ: Environ, start_response: Any) -> Any:
    write = start_response("204 No Content", [])
    write(b"body")
    write(b"body")
    return []


# close().


class Closing:
    """A body whose `close()` does something."""

    def __init__(self, body: Iterable[Any], on_close: Callable[[], object]) -> None:
        self._body = body
        self.close = on_close

    def __iter__(self) -> Iterator[Any]:
        return iter(self._body)


def _raise() -> None:
    raise RuntimeError(SECRET)


@answered(b"body")
def close_raises(environ: Environ, start_response: Any) -> Any:
    start_response("200 OK", TEXT[:])
    return Closing([b"body"], _raise)


@answered(b"body")
def close_exits(environ: Environ, start_response: Any) -> Any:
    start_response("200 OK", TEXT[:])
    return Closing([b"body"], sys.exit)


@failed
def close_raises_after_an_error(environ: Environ, start_response: Any) -> Any:
    return Closing([b"body"], _raise)


@answered(b"body")
def close_is_not_callable(environ: Environ, start_response: Any) -> Any:
    start_response("200 OK", TEXT[:])
    body = Closing([b"body"], _raise)
    body.close = 7  # type: ignore[assignment]
    return body


def _writing_in_close(body: Iterable[bytes], headers: list[tuple[str, str]]) -> App:
    def writes_in_close(environ: Environ, start_response: Any) -> Any:
        write = start_response("200 OK", headers[:])
        return Closing(body, lambda: write(b"HTTP/1.1 200 Injected\r\n\r\n"))

    return writes_in_close


_register("writes_in_close", _writing_in_close([b"bo", b"dy"], TEXT), Outcome("200 OK", b"body"))
_register("writes_in_close_of_nothing", _writing_in_close([], TEXT), Outcome("200 OK", b""))
_register(
    "writes_in_close_of_known_length",
    _writing_in_close([b"bo", b"dy"], [("Content-Length", "4")]),
    Outcome("200 OK", b"body"),
)
_register(
    "writes_in_close_of_one_part_of_known_length",
    _writing_in_close([b"body"], [("Content-Length", "4")]),
    Outcome("200 OK", b"body"),
)
