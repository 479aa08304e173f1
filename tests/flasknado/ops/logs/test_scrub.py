from __future__ import annotations

import pytest

from flasknado.ops.logs.scrub import Scrubber


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/live/events?channel=a&access_token=ey.J.x", "/live/events?channel=a&access_token=***"),
        ("/a?TOKEN=x&b=1", "/a?TOKEN=***&b=1"),
        ("/a?acc%65ss_token=x", "/a?acc%65ss_token=***"),
        ("/a?ticket=x=y&jwt=", "/a?ticket=***&jwt=***"),
        ("/a?tokens=1&token", "/a?tokens=1&token"),
        ("/a=token", "/a=token"),
        ("https://example.test/x?token=1", "https://example.test/x?token=***"),
        ("*", "*"),
        ("/e?after=3f2a:42~a.b-c_&x=1", "/e?after=3f2a:42~***&x=1"),
        ("/e?after=3f2a%3A42%7ea.b&x=~1", "/e?after=3f2a%3A42%7e***&x=~1"),
        ("/e?x=1&%61fter=nonsense~a.b", "/e?x=1&%61fter=nonsense~***"),
        ("/e?after=3f2a:42&x=1", "/e?after=3f2a:42&x=1"),
        ("/e?lastEventId=bad~a.b&x=1", "/e?lastEventId=bad~***&x=1"),
        ("/e?Last-Event-ID=3f2a:42~a.b", "/e?Last-Event-ID=3f2a:42~***"),
        ("/e?lastEventId=3f2a:42~a.b", "/e?lastEventId=3f2a:42~***"),
        ("/~ann/?home=~ann", "/~ann/?home=~ann"),
    ],
)
def test_target_with_a_secret_parameter_hides_its_value(target: str, shown: str) -> None:
    assert Scrubber().target(target) == shown


def test_target_with_a_parameter_of_the_operator_hides_it() -> None:
    assert Scrubber(["Invitation"]).target("/a?invitation=x&token=y") == "/a?invitation=***&token=y"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("500 GET /x?token=abc (127.0.0.1)", "500 GET /x?token=*** (127.0.0.1)"),
        ("uri='/x?a=1&jwt=abc', version='1'", "uri='/x?a=1&jwt=***', version='1'"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("{'authorization': 'Basic dTpw'}", "{'authorization': 'Basic ***'}"),
        ("sent bearer eyJhbGciOiJIUzI1NiJ9.e30.x", "sent bearer ***"),
        ("a bearer of news and basic training", "a bearer of news and basic training"),
        ("nothing = to hide", "nothing = to hide"),
        (
            "GET /e?channel=a&after=3f2a:42~a.b HTTP/1.1",
            "GET /e?channel=a&after=3f2a:42~*** HTTP/1.1",
        ),
        ("uri='/e?after=bad%7Ea.b', version='1'", "uri='/e?after=bad%7E***', version='1'"),
        ("'/e?last-event-id=bad%7Ea.b'", "'/e?last-event-id=bad%7E***'"),
        ("Last-Event-ID: 3f2a:42~a.b", "Last-Event-ID: 3f2a:42~***"),
        ("from 3f2a:42 to /home/~ann", "from 3f2a:42 to /home/~ann"),
    ],
)
def test_text_with_what_looks_like_a_secret_hides_it(text: str, shown: str) -> None:
    assert Scrubber().text(text) == shown


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("authorization", "Bearer abc", "Bearer ***"),
        ("cookie", "session=abc; theme=dark", "session=***; theme=***"),
        ("referer", "https://a.test/?token=x", "https://a.test/?token=***"),
        ("x-original-url", "/a?b=1&ticket=x", "/a?b=1&ticket=***"),
        ("user-agent", "curl/8", "curl/8"),
        ("last-event-id", "3f2a:42~a.b", "3f2a:42~***"),
        ("last-event-id", "no cursor~a.b", "no cursor~***"),
        ("x-original-url", "/e?after=3f2a:42~a.b", "/e?after=3f2a:42~***"),
        ("referer", "https://a.test/?after=3f2a:42~a.b", "https://a.test/?after=3f2a:42~***"),
    ],
)
def test_field_that_is_secret_or_has_a_secret_hides_it(name: str, value: str, shown: str) -> None:
    assert Scrubber().field(name, value) == shown
