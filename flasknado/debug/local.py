"""Who may see the insides of an application in development mode: programs of this machine.

The server listens on loopback addresses alone. That does not keep a proxy or a tunnel of this
machine from passing strangers' requests on, nor a page of another site from reaching it by a name
that resolves to this machine (DNS rebinding). So each request is asked for its host, and for the
fields that those who pass requests on leave behind.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any, Final

_PORT: Final = re.compile(r":[0-9]*\Z")

_PASSED_ON: Final = frozenset(
    (
        "cdn-loop",
        "cf-connecting-ip",
        "client-ip",
        "fastly-client-ip",
        "forwarded",
        "true-client-ip",
        "via",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-envoy-external-address",
        "x-original-host",
        "x-real-ip",
    )
)
"""Header fields, in lower case, that proxies and tunnels add; with every `X-Forwarded-*`."""


def is_loopback(host: str) -> bool:
    """Return whether a host is a loopback address, written as one, or `localhost`."""
    name = host.removeprefix("[").removesuffix("]").lower()
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def is_loopback_socket(sock: socket.socket) -> bool:
    """Return whether a listening socket can be reached from this machine alone, over TCP."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    return is_loopback(sock.getsockname()[0])


def is_local(address: str, host: str, field_names: Iterable[str]) -> bool:
    """Return whether a request comes from a program of this machine, and not through a proxy.

    address: of the client. host: the field of that name. field_names: those of all its fields.
    """
    if not is_loopback(address):
        return False
    name = _PORT.sub("", host)
    if not (is_loopback(name) or name.lower().endswith(".localhost")):
        return False
    return not any(
        name in _PASSED_ON or name.startswith("x-forwarded") for name in map(str.lower, field_names)
    )


def is_local_environ(environ: Mapping[str, Any]) -> bool:
    """Return whether a WSGI request comes from a program of this machine: `is_local()`."""
    names = (key[5:].replace("_", "-") for key in environ if key.startswith("HTTP_"))
    return is_local(environ.get("REMOTE_ADDR", ""), environ.get("HTTP_HOST", ""), names)
