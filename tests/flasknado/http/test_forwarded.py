"""What is believed of a proxy, by plain calls."""

from __future__ import annotations

import base64
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flasknado.errors import ConfigurationError, RequestError
from flasknado.http.forwarded import FIELDS, TrustedProxies
from flasknado.http.forwarded_elements import bare_address, parse_forwarded
from flasknado.http.head import parse_head
from flasknado.http.message import Address, RequestHead

PROXY = ("10.0.0.1", 4000)
STRANGER = ("203.0.113.9", 4000)
EACH = ("proto", "for", "host", "port", "prefix", "request-id", "client-cert")
SCHEMES = {"X-FORWARDED-PROTOCOL": "ssl", "X-FORWARDED-PROTO": "https", "X-FORWARDED-SSL": "on"}
"""gunicorn's own `secure_scheme_headers`."""


def head_from(client: Address | None, **fields: str) -> RequestHead:
    """Return a head whose peer is `client`; `_` in a field's name stands for `-`."""
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    return parse_head(
        "GET",
        "/",
        "1.1",
        [(b"Host", b"inside"), *named],
        client=client,
        server=("10.0.0.9", 8000),
    )


def applied(
    client: Address | None, *networks: str, trusted: tuple[str, ...] = EACH, **fields: str
) -> RequestHead:
    head = head_from(client, **fields)
    TrustedProxies(networks or ("10.0.0.0/8",), trusted).apply(head)
    return head


ALL = {
    "X_Forwarded_For": "198.51.100.7",
    "X_Forwarded_Proto": "https",
    "X_Forwarded_Host": "shop.example",
    "X_Forwarded_Port": "8443",
    "X_Forwarded_Prefix": "/shop",
    "X_Request_ID": "abc-1",
    "Client_Cert": ":" + base64.b64encode(b"not looked into").decode() + ":",
    "Forwarded": 'for=192.0.2.60;proto=http;host="other.example"',
}
UNTOUCHED = {
    "proto": "http",
    "for": PROXY[0],
    "host": "inside",
    "port": 8000,
    "prefix": "",
    "request-id": None,
    "client-cert": None,
}
BELIEVED = {
    "proto": "https",
    "for": "198.51.100.7",
    "host": "shop.example",
    "port": 8443,
    "prefix": "/shop",
    "request-id": "abc-1",
    "client-cert": "SUCCESS",
}


def told(head: RequestHead) -> dict[str, object]:
    assert head.client is not None
    assert head.server is not None
    return {
        "proto": head.scheme,
        "for": head.client[0],
        "host": (head.host or "").partition(":")[0],
        "port": head.server[1],
        "prefix": head.prefix,
        "request-id": head.request_id,
        "client-cert": head.tls and head.tls["SSL_CLIENT_VERIFY"],
    }


def test_forwarded_by_a_trusted_proxy_is_believed_in_the_scheme_alone_by_default() -> None:
    head = head_from(PROXY, **ALL)
    TrustedProxies(["10.0.0.1"]).apply(head)
    assert told(head) == {**UNTOUCHED, "proto": "https"}


@pytest.mark.parametrize("field", EACH)
def test_forwarded_field_is_believed_if_it_is_named_and_no_other_is(field: str) -> None:
    head = applied(PROXY, trusted=(field,), **ALL)
    assert told(head) == {**UNTOUCHED, field: BELIEVED[field]}


def test_forwarded_fields_that_are_all_named_are_all_believed() -> None:
    head = applied(PROXY, **ALL)
    assert told(head) == BELIEVED
    assert head.host == "shop.example:8443"


def test_forwarded_by_a_stranger_is_not_believed() -> None:
    assert told(applied(STRANGER, **ALL)) == {**UNTOUCHED, "for": STRANGER[0]}


def test_forwarded_over_a_unix_socket_needs_the_entry_for_it() -> None:
    assert applied(None, "unix", **ALL).client == ("198.51.100.7", 0)
    assert applied(None, **ALL).client is None


@pytest.mark.parametrize("field", ["X_Forwarded_Host", "X_Forwarded_Proto", "X_Forwarded_Port"])
@pytest.mark.parametrize("value", ["", " ", "first, "])
def test_forwarded_field_that_is_empty_says_nothing(field: str, value: str) -> None:
    head = applied(PROXY, **{field: value})
    assert told(head) == UNTOUCHED


def test_prefix_that_is_empty_is_none() -> None:
    assert applied(PROXY, X_Forwarded_Prefix="/").prefix == ""


@pytest.mark.parametrize(
    ("forwarded_for", "expected"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("6.6.6.6, 198.51.100.7", "198.51.100.7"),  # what the client prepended
        ("198.51.100.7, 10.0.0.2, 10.0.0.3", "198.51.100.7"),  # a chain of proxies
        ("[2001:db8::1]:5000", "2001:db8::1"),
        ("198.51.100.7:5000", "198.51.100.7"),
        ("nonsense", "10.0.0.1"),
        ("198.51.100.7, nonsense", "10.0.0.1"),
        ("nonsense, 10.0.0.2", "10.0.0.2"),
        ("", "10.0.0.1"),
    ],
)
def test_address_is_the_last_one_that_is_no_proxy(forwarded_for: str, expected: str) -> None:
    head = applied(PROXY, X_Forwarded_For=forwarded_for)
    assert head.client is not None
    assert head.client[0] == expected


def test_fields_sent_twice_read_as_one_list() -> None:
    head = head_from(PROXY, X_Forwarded_For="6.6.6.6")
    head.headers.append((b"x-forwarded-for", b"198.51.100.7"))
    TrustedProxies(["10.0.0.1"], ["for"]).apply(head)
    assert head.client == ("198.51.100.7", 0)


def test_address_with_everybody_trusted_is_the_last_one() -> None:
    head = applied(STRANGER, "*", X_Forwarded_For="127.0.0.1, 8.8.8.8")
    assert head.client == ("8.8.8.8", 0)


def test_address_with_everybody_and_a_proxy_listed_passes_over_the_proxy() -> None:
    head = applied(STRANGER, "*", "8.8.8.8", X_Forwarded_For="127.0.0.1, 9.9.9.9, 8.8.8.8")
    assert head.client == ("9.9.9.9", 0)


@pytest.mark.parametrize("scheme", ["ftp", "", "https, ftp"])
def test_scheme_that_is_not_http_is_ignored(scheme: str) -> None:
    assert applied(PROXY, X_Forwarded_Proto=scheme).scheme == "http"


def test_host_that_is_none_is_refused_even_from_a_proxy() -> None:
    with pytest.raises(RequestError, match="is not host"):
        applied(PROXY, X_Forwarded_Host="a b")


@pytest.mark.parametrize("name", ["", "a b", "a" * 200, "a\u00e9"])
def test_request_id_that_could_spoil_a_log_is_ignored(name: str) -> None:
    assert applied(PROXY, X_Request_ID=name).request_id is None


@pytest.mark.parametrize(
    ("entry", "address", "trusted"),
    [
        ("10.0.0.0/8", "10.9.9.9", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.0/8", "::ffff:10.9.9.9", True),
        ("2001:db8::/32", "2001:db8::5%eth0", True),
        ("*", "203.0.113.9", True),
        ("*", None, True),
        ("unix", None, True),
        ("unix", "127.0.0.1", False),
        ("10.0.0.0/8", "nonsense", False),
    ],
)
def test_entry_covers_exactly_its_addresses(entry: str, address: str | None, trusted: bool) -> None:
    proxies = TrustedProxies([entry])
    assert proxies.trusts(address) is trusted
    assert proxies.trusts(address) is trusted  # as remembered


@pytest.mark.parametrize("entry", ["10.0.0.0/99", "proxy.example", ""])
def test_entry_that_is_no_address_is_refused(entry: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"the list of trusted proxies: .* is not an IP address"
    ):
        TrustedProxies([entry])


@pytest.mark.parametrize(
    ("fields", "scheme"),
    [
        ({"X_Forwarded_Ssl": "on"}, "https"),
        ({"X_Forwarded_Ssl": "ON"}, "https"),
        ({"X_Forwarded_Ssl": "off"}, "http"),
        ({"X_Forwarded_Protocol": "ssl"}, "https"),
        ({"X_Forwarded_Proto": "http", "X_Forwarded_Ssl": ""}, "http"),
        ({"X_Forwarded_Proto": "wss"}, "https"),
        ({"X_Forwarded_Proto": "https", "X_Forwarded_Ssl": "on"}, "https"),
    ],
)
def test_scheme_fields_that_are_configured_are_believed(
    fields: dict[str, str], scheme: str
) -> None:
    head = head_from(PROXY, **fields)
    TrustedProxies(["10.0.0.1"], secure_schemes=SCHEMES).apply(head)
    assert head.scheme == scheme


def test_scheme_fields_that_are_not_configured_are_not_believed() -> None:
    assert applied(PROXY, X_Forwarded_Ssl="on", X_Forwarded_Protocol="ssl").scheme == "http"


def test_scheme_fields_that_disagree_are_refused() -> None:
    head = head_from(PROXY, X_Forwarded_Proto="http", X_Forwarded_Ssl="on")
    with pytest.raises(RequestError, match="x-forwarded-proto and x-forwarded-ssl disagree"):
        TrustedProxies(["10.0.0.1"], secure_schemes=SCHEMES).apply(head)


@pytest.mark.parametrize(
    ("port", "host", "expected"),
    [
        ("443", "shop.example", "shop.example"),
        ("443", "shop.example:8000", "shop.example"),
        ("8443", "shop.example", "shop.example:8443"),
        ("80", "shop.example", "shop.example:80"),
        ("8443", "[2001:db8::1]:9", "[2001:db8::1]:8443"),
        ("8443", "[2001:db8::1]", "[2001:db8::1]:8443"),
    ],
)
def test_port_goes_to_the_host_unless_the_scheme_has_it(
    port: str, host: str, expected: str
) -> None:
    head = applied(PROXY, X_Forwarded_Port=port, X_Forwarded_Host=host, X_Forwarded_Proto="https")
    assert head.host == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("X_Forwarded_Port", "0"),
        ("X_Forwarded_Port", "65536"),
        ("X_Forwarded_Port", "eighty"),
        ("X_Forwarded_Prefix", "shop"),
        ("X_Forwarded_Prefix", "//evil.example"),
        ("X_Forwarded_Prefix", "/a b"),
        ("X_Forwarded_Prefix", "/a?b"),
        ("Client_Cert", "MIIB"),
        ("Client_Cert", ":MIIB"),
        ("Client_Cert", ":====:"),
        ("Client_Cert", "::"),
        ("Client_Cert", ":MIIB:, :MIIB:"),
    ],
)
def test_forwarded_field_that_is_malformed_is_refused(field: str, value: str) -> None:
    with pytest.raises(RequestError) as refused:
        applied(PROXY, **{field: value})
    assert refused.value.status == 400


# RFC 7239.

WITH_FORWARDED = ("forwarded", "for", "proto", "host")


@pytest.mark.parametrize(
    ("field", "client", "scheme", "host"),
    [
        ("for=192.0.2.60;proto=https;host=shop.example", "192.0.2.60", "https", "shop.example"),
        ('For="[2001:db8::17]:4711";PROTO=https', "2001:db8::17", "https", "inside"),
        ("for=6.6.6.6;proto=http, for=192.0.2.60;proto=https", "192.0.2.60", "https", "inside"),
        # An inner proxy names the outer one: the outer one's word counts.
        (
            "for=192.0.2.60;proto=https;host=shop.example, for=10.0.0.2;proto=http;host=inner",
            "192.0.2.60",
            "https",
            "shop.example",
        ),
        ("for=_hidden;proto=https", PROXY[0], "https", "inside"),
        ("for=unknown, for=10.0.0.2;proto=http", "10.0.0.2", "http", "inside"),
        ('for="192.0.2.60:80"; host="a\\.example"', "192.0.2.60", "http", "a.example"),
        ("proto=ftp", PROXY[0], "http", "inside"),
        ("", PROXY[0], "http", "inside"),
        (" , ,", PROXY[0], "http", "inside"),
    ],
)
def test_forwarded_of_rfc_7239_is_read_by_its_last_element_from_outside(
    field: str, client: str, scheme: str, host: str
) -> None:
    head = applied(PROXY, trusted=WITH_FORWARDED, Forwarded=field)
    assert head.client is not None
    assert (head.client[0], head.scheme, head.host) == (client, scheme, host)


def test_forwarded_of_rfc_7239_goes_before_the_other_fields() -> None:
    head = applied(PROXY, trusted=WITH_FORWARDED, **{**ALL, "Forwarded": "for=192.0.2.60"})
    assert told(head) == {**UNTOUCHED, "for": "192.0.2.60"}


def test_forwarded_of_rfc_7239_is_believed_in_the_named_parameters_only() -> None:
    field = "for=6.6.6.6;proto=https;host=evil.example, for=192.0.2.60;proto=http;host=a.example"
    head = applied(PROXY, trusted=("forwarded", "proto"), Forwarded=field)
    assert told(head) == UNTOUCHED


@pytest.mark.parametrize(
    "field",
    ['for="', 'for="a, for=192.0.2.60', "for=a b", "for", "=a", "for=a;for=b", 'for="a"b', "a=\\"],
)
def test_forwarded_of_rfc_7239_that_is_malformed_is_refused(field: str) -> None:
    with pytest.raises(RequestError) as refused:
        applied(PROXY, trusted=WITH_FORWARDED, Forwarded=field)
    assert refused.value.status == 400


@given(st.text(alphabet='for=";,\\ a1.[]:', max_size=60))
def test_forwarded_of_rfc_7239_what_a_proxy_appends_is_its_last_element(client: str) -> None:
    try:
        elements = parse_forwarded(f"{client}, for=192.0.2.60;proto=http")
    except RequestError:
        return
    assert elements[-1] == {"for": "192.0.2.60", "proto": "http"}


@given(st.text(max_size=60))
def test_address_of_any_text_is_an_address_or_none(text: str) -> None:
    address = bare_address(text)
    assert address is None or bare_address(f"[{address}]" if ":" in address else address) == address


# Settings and warnings.


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (["for", "x-forwarded-for"], "'x-forwarded-for' is not a trusted field: choose from"),
        (["forwarded"], "'forwarded' alone trusts nothing"),
    ],
)
def test_trusted_field_that_is_none_is_refused(fields: list[str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        TrustedProxies(["10.0.0.1"], fields)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_field_that_a_trusted_proxy_is_not_trusted_for_is_warned_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    proxies = TrustedProxies(["10.0.0.0/8"])
    for name in ("X_Forwarded_For", "x_forwarded_for", "X_Forwarded_Proto"):
        for _ in range(2):
            proxies.apply(head_from(PROXY, **{name: "192.0.2.1"}))
    (line,) = warnings(caplog)
    assert line.startswith(
        "the trusted proxy 10.0.0.1 sends X-Forwarded-For, for which it is not trusted"
    )
    assert "add for to --trusted-fields" in line


def test_field_of_a_stranger_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    TrustedProxies(["10.0.0.0/8"]).apply(head_from(STRANGER, **ALL))
    assert warnings(caplog) == []


def test_every_field_that_is_not_believed_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    TrustedProxies(["10.0.0.0/8"], ()).apply(head_from(PROXY, **ALL, X_Forwarded_Ssl="on"))
    assert len(warnings(caplog)) == len(FIELDS) + 1


def test_names_that_clients_make_up_are_kept_up_to_a_bound() -> None:
    proxies = TrustedProxies(["10.0.0.0/8"])
    for number in range(3000):
        field = (b"X-Made-Up-%i" % number, b"1")
        proxies.apply(RequestHead("GET", "/", "1.1", [field], client=PROXY))
    assert len(proxies._names) == 1024
    proxies = TrustedProxies(["10.0.0.0/8"])
    proxies.apply(RequestHead("GET", "/", "1.1", [(b"X" * 1000, b"1")], client=PROXY))
    assert not proxies._names
