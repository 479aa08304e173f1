"""Who asks, as far as a limit by address is concerned."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network

from flask import has_request_context, request

_IPV6_SITE_BITS = 64  # what one customer is given at the least (RFC 6177)


def address() -> str:
    """Return the address that asks; of IPv6 the network, of which one customer has many."""
    try:
        found = ip_address(request.remote_addr or "" if has_request_context() else "")
    except ValueError:
        return "local"  # a Unix socket, or a command
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is None:
            return str(ip_network((found.packed, _IPV6_SITE_BITS), strict=False))
        found = found.ipv4_mapped
    return str(found)
