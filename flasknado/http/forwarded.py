"""What trusted proxies say of the client: address, scheme, host and request id.

`X-Forwarded-For`, `X-Forwarded-Proto`, `X-Forwarded-Host` and `X-Request-ID` are believed
only from a peer whose address is trusted; anybody could send them. The address is the
last one in the list that is not itself a trusted proxy, so a client cannot prepend one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from flasknado.http.head import checked_host
from flasknado.http.message import RequestHead
from flasknado.http.networks import Networks
from flasknado.http.request_id import accepted_request_id

_FORWARDED = frozenset(
    (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-request-id")
)


class TrustedProxies:
    """The addresses whose forwarding headers are believed. May be used on any thread.

    `networks` are IP addresses, CIDR blocks, `unix`, or `*` for everybody. Raises
    `ConfigurationError` for anything else.
    """

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks = Networks(networks, "the list of trusted proxies")

    def __bool__(self) -> bool:
        return bool(self._networks)

    def trusts(self, address: str | None) -> bool:
        """Return whether a peer is trusted; `None` is a peer on a Unix socket."""
        return self._networks.has(address)

    def apply(self, head: RequestHead) -> None:
        """Set the client, scheme, host and request id that a trusted peer forwards.

        Raises `RequestError` (400) if a trusted proxy forwards a host that is none.
        """
        if not self or not self.trusts(head.client[0] if head.client else None):
            return
        said: dict[bytes, bytes] = {}
        for name, value in head.headers:
            lower = name.lower()
            if lower in _FORWARDED:
                # Proxies append, so several fields read as one list (RFC 9110, section 5.3).
                said[lower] = said[lower] + b"," + value if lower in said else value
        if b"x-forwarded-for" in said:
            self._apply_address(head, said[b"x-forwarded-for"].decode("latin-1"))
        if b"x-forwarded-proto" in said:
            scheme = _last(said[b"x-forwarded-proto"]).lower()
            if scheme in ("http", "https"):
                head.scheme = scheme
        if b"x-forwarded-host" in said:
            head.host = checked_host(_last(said[b"x-forwarded-host"]))
        if b"x-request-id" in said:
            head.request_id = accepted_request_id(said[b"x-request-id"].decode("latin-1"))

    def _apply_address(self, head: RequestHead, forwarded_for: str) -> None:
        for candidate in reversed(forwarded_for.split(",")):
            address = _bare_address(candidate.strip())
            if address is None:
                return
            head.client = (address, 0)
            if not self.trusts(address):
                return


def _bare_address(text: str) -> str | None:
    """Return an IP address without brackets or port, or `None` if it is none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def _last(value: bytes) -> str:
    return value.decode("latin-1").rpartition(",")[2].strip()
