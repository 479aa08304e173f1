"""Lines of the access log by plain calls: each atom, JSON, and what must not get through."""

from __future__ import annotations

import base64
import json
import os
import re

import pytest
from gunicorn.config import Config

from flasknado.errors import ConfigurationError
from flasknado.http.head import parse_head
from flasknado.http.message import Finished
from flasknado.ops.logs.access_lines import template
from flasknado.ops.logs.scrub import Scrubber

CREDENTIALS = base64.b64encode(b"ada:lovelace").decode()


def exchange(
    target: str = "/a%20b?x=1&token=hush",
    fields: tuple[tuple[str, str], ...] = (),
    sent_bytes: int = 170,
) -> Finished:
    headers = [(b"Host", b"example.test")]
    headers += [(name.encode(), value.encode("latin-1")) for name, value in fields]
    head = parse_head("GET", target, "1.1", headers, client=("192.0.2.7", 5000))
    head.request_id = "abc-1"
    head.response_fields = [("Content-Type", "text/html"), ("X-Thing", "7")]
    head.route = "/<path>"
    return ended(Finished(head, 200, sent_bytes, 1.234567, "ordinary"), 1_700_000_000.25)


def ended(finished: Finished, at: float) -> Finished:
    finished.ended_at = at
    return finished


def line(text: str, of: Finished | None = None) -> str:
    return template(text, Scrubber()).line(of or exchange())


@pytest.mark.parametrize(
    ("atom", "text"),
    [
        ("h", "192.0.2.7"),
        ("l", "-"),
        ("u", "-"),
        ("r", "GET /a%20b?x=1&token=*** HTTP/1.1"),
        ("s", "200"),
        ("m", "GET"),
        ("U", "/a%20b"),
        ("q", "x=1&token=***"),
        ("H", "HTTP/1.1"),
        ("B", "170"),
        ("b", "170"),
        ("f", "-"),
        ("a", "-"),
        ("T", "1"),
        ("M", "1234"),
        ("D", "1234567"),
        ("L", "1.234567"),
        pytest.param("p", f"<{os.getpid()}>", id="p"),
        ("{host}i", "example.test"),
        ("{X-Nothing}i", "-"),
        ("{x-thing}o", "7"),
        ("{nothing}o", "-"),
        ("{REQUEST_METHOD}e", "GET"),
        ("{QUERY_STRING}e", "x=1&token=***"),
        ("{raw_uri}e", "/a%20b?x=1&token=***"),
        ("{HTTP_HOST}e", "example.test"),
        ("{NOTHING}e", "-"),
        ("id", "abc-1"),
        ("half", "ordinary"),
        ("route", "/<path>"),
    ],
)
def test_atom_is_what_gunicorn_or_this_page_says(atom: str, text: str) -> None:
    assert line(f"%({atom})s") == text


def test_atom_of_time_is_in_the_common_log_format() -> None:
    assert re.fullmatch(r"\[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]", line("%(t)s"))


def test_format_of_gunicorn_is_understood_whole() -> None:
    text = line(Config().access_log_format, exchange(fields=(("User-Agent", "curl/8"),)))
    assert text.endswith('"GET /a%20b?x=1&token=*** HTTP/1.1" 200 170 "-" "curl/8"')


def test_format_with_percent_signs_keeps_them() -> None:
    assert line("100%% of %(s)s, 5 % more") == "100% of 200, 5 % more"


@pytest.mark.parametrize("text", ["%(Z)s", "%(h)d", "%({x}z)s"])
def test_format_with_an_atom_that_there_is_not_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="atom"):
        template(text, Scrubber())


def test_user_of_basic_authentication_is_logged_without_the_password() -> None:
    asked = exchange(fields=(("Authorization", f"Basic {CREDENTIALS}"),))
    assert line("%(u)s %({authorization}i)s", asked) == "ada Basic ***"
    assert line("%(u)s", exchange(fields=(("Authorization", "Basic %%%"),))) == "-"


def test_cookies_that_are_asked_for_are_shown_by_name_only() -> None:
    asked = exchange(fields=(("Cookie", "session=abc; theme=dark"),))
    shown = "session=***; theme=***"
    assert line("%({cookie}i)s|%({HTTP_COOKIE}e)s", asked) == f"{shown}|{shown}"


@pytest.mark.parametrize("log_format", ['"%(a)s"', "json"])
def test_field_that_would_forge_a_line_or_move_a_cursor_is_escaped(log_format: str) -> None:
    text = line(log_format, exchange(fields=(("User-Agent", 'a" "b\\\t\x9b2J'),)))
    assert text.isprintable()
    assert '\\"' in text
    assert "\x9b" not in text


def test_request_that_could_not_be_read_is_logged_without_its_parts() -> None:
    unread = ended(Finished(None, 400, 90, 0.0, "refused"), 1_700_000_000.0)
    assert line('%(h)s %(u)s "%(r)s" %(s)s %(b)s %({host}i)s', unread) == '- - "-" 400 90 -'
    entry = json.loads(line("json", unread))
    assert (entry["status"], entry["half"]) == (400, "refused")
    assert "target" not in entry


def test_json_has_typed_fields_and_no_secret() -> None:
    asked = exchange(
        fields=(("REFERER", "https://a.test/?jwt=x"), ("Authorization", "Bearer abcdef"))
    )
    assert json.loads(line("json", asked)) == {
        "time": "2023-11-14T22:13:20.250Z",
        "half": "ordinary",
        "route": "/<path>",
        "status": 200,
        "request_id": "abc-1",
        "client": "192.0.2.7",
        "method": "GET",
        "target": "/a%20b?x=1&token=***",
        "version": "1.1",
        "scheme": "http",
        "host": "example.test",
        "referer": "https://a.test/?jwt=***",
        "sent_bytes": 170,
        "duration_s": 1.234567,
        "process": os.getpid(),
    }


@pytest.mark.parametrize("log_format", ["%(h)s %(U)s %(s)s %(B)s %(T)s %(id)s", "json"])
def test_line_begun_and_ended_later_has_what_was_known_at_each_time(log_format: str) -> None:
    made = template(log_format, Scrubber())
    end = ended(Finished(None, 200, 5000, 61.5, "ordinary"), 1_700_000_061.0)
    text = made.begun(exchange())(end)
    if log_format == "json":
        entry = json.loads(text)
        assert (entry["client"], entry["sent_bytes"], entry["duration_s"]) == (
            "192.0.2.7",
            5000,
            61.5,
        )
    else:
        assert text == "192.0.2.7 /a%20b 200 5000 61 abc-1"
