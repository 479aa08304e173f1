"""Who may read the metrics: the bearer of a token, or a program that asks the server itself.

What comes through a proxy on this machine, or through a Unix socket, comes from anybody: the
address of the peer says nothing then. So a request is believed to be its peer's own only if
no proxy has left a trace in it.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterable
from typing import Any, Final

from tornado.httputil import HTTPServerRequest, split_host_and_port

from flasknado.errors import ConfigurationError
from flasknado.http.message import as_address
from flasknado.http.networks import UNIX_SOCKET, Networks

LOCAL: Final = ("127.0.0.0/8", "::1")
MIN_TOKEN_CHARS: Final = 16
NOBODY: Final = "none"

PROXY_FIELDS: Final = frozenset(
    (
        *("cdn-loop", "cf-connecting-ip", "client-cert", "client-ip", "fastly-client-ip"),
        *("fly-client-ip", "forwarded", "forwarded-for", "true-client-ip", "via"),
        *("x-client-ip", "x-cluster-client-ip", "x-original-forwarded-for", "x-original-host"),
        *("x-original-url", "x-real-ip", "x-request-id"),
    )
)
"""Fields, in lower case, that proxies add; beside all that begin with `x-forwarded`."""


def is_token(text: str) -> bool:
    """Return whether a text is long enough for a token, and can be sent as one."""
    return len(text) >= MIN_TOKEN_CHARS and text.isascii() and " " not in text


class Allowed:
    """The requests that may read the metrics. `allows()` on the loop's thread.

    networks: IP addresses, CIDR blocks, `unix` or `*` of programs that may without a token;
        `none` is nobody. Without, and without a token: this machine's.
    token: requests that carry it (`Authorization: Bearer TOKEN`) may from anywhere.

    Raises `ConfigurationError`.
    """

    def __init__(self, networks: Iterable[str] | None = None, token: str = "") -> None:
        listed = [] if networks is None else list(networks)
        if token and not is_token(token):
            raise ConfigurationError(
                f"metrics_token must be at least {MIN_TOKEN_CHARS} ASCII characters without spaces"
            )
        self._token = token.encode()
        self._by_default = networks is None and not token
        if self._by_default:
            listed = [*LOCAL]
        elif NOBODY in listed:
            if len(listed) > 1:
                raise ConfigurationError("metrics_allow: 'none' must stand alone")
            listed = []
        self._networks = Networks(listed, "metrics_allow")
        self._at_own_address = Networks(
            [*LOCAL, UNIX_SOCKET] if self._by_default else listed, "metrics_allow"
        )

    def allows(self, request: HTTPServerRequest, own_address: bool = False) -> bool:
        """Return whether a request may read the metrics.

        own_address: it came to an address that serves nothing else (`--ops-bind`), which nobody
            puts a proxy before by mistake: there the peer's address is enough.
        """
        if self._token and self._bears_token(request):
            return True
        context: Any = getattr(request.connection, "context", None)
        peer = as_address(getattr(context, "address", None))
        address = peer[0] if peer is not None else None
        if own_address:
            return self._at_own_address.has(address)
        if not self._networks.has(address) or _is_forwarded(request):
            return False
        return not self._by_default or _asks_this_very_address(request)

    def _bears_token(self, request: HTTPServerRequest) -> bool:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        given = token.strip().encode("utf-8", "surrogateescape")
        return scheme.lower() == "bearer" and hmac.compare_digest(given, self._token)


def _is_forwarded(request: HTTPServerRequest) -> bool:
    """Whether a proxy has left a trace. nginx speaks HTTP/1.0 unless it is told otherwise."""
    if request.version == "HTTP/1.0":
        return True
    names = {name.lower() for name in request.headers}
    return not names.isdisjoint(PROXY_FIELDS) or any(n.startswith("x-forwarded") for n in names)


def _asks_this_very_address(request: HTTPServerRequest) -> bool:
    """Whether `Host` is an address or `localhost` with the port that the connection came to.

    A proxy that adds nothing passes on the name or the port that it has been asked by, and a
    page whose name leads to this machine (DNS rebinding) its own.
    """
    head: Any = getattr(request.connection, "head", None)
    if head is None or head.server is None:
        return False
    name, port = split_host_and_port(request.headers.get("Host", ""))
    if (port or 80) != head.server[1]:
        return False
    if name.lower() == "localhost":
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
