"""What is believed of a proxy, by plain calls."""

from __future__ import annotations

import pytest

from flasknado.errors import ConfigurationError, RequestError
from flasknado.http.forwarded import TrustedProxies
from flasknado.http.head import parse_head
from flasknado.http.message import Address, RequestHead

PROXY = ("10.0.0.1", 4000)
STRANGER = ("203.0.113.9", 4000)


def head_from(client: Address | None, **fields: str) -> RequestHead:
    """Return a head whose peer is `client`; `_` in a field's name stands for `-`."""
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    return parse_head("GET", "/", "1.1", [(b"Host", b"inside"), *named], client=client)


def applied(client: Address | None, *networks: str, **fields: str) -> RequestHead:
    head = head_from(client, **fields)
    TrustedProxies(networks or ("10.0.0.0/8",)).apply(head)
    return head


ALL = {
    "X_Forwarded_For": "198.51.100.7",
    "X_Forwarded_Proto": "https",
    "X_Forwarded_Host": "shop.example",
    "X_Request_ID": "abc-1",
}


def test_forwarded_by_a_trusted_proxy_is_believed() -> None:
    head = applied(PROXY, **ALL)
    assert head.client == ("198.51.100.7", 0)
    assert (head.scheme, head.host, head.request_id) == ("https", "shop.example", "abc-1")


def test_forwarded_by_a_stranger_is_not_believed() -> None:
    head = applied(STRANGER, **ALL)
    assert head.client == STRANGER
    assert (head.scheme, head.host, head.request_id) == ("http", "inside", None)


def test_forwarded_over_a_unix_socket_needs_the_entry_for_it() -> None:
    assert applied(None, "unix", **ALL).client == ("198.51.100.7", 0)
    assert applied(None, **ALL).client is None


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
    TrustedProxies(["10.0.0.1"]).apply(head)
    assert head.client == ("198.51.100.7", 0)


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
    with pytest.raises(ConfigurationError, match="the list of trusted proxies has"):
        TrustedProxies([entry])
