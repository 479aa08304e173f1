"""Sets of addresses that somebody has listed: IP addresses, CIDR blocks, `unix`, `*`. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from flasknado.errors import ConfigurationError

UNIX_SOCKET = "unix"
"""The entry that stands for every peer on a Unix socket."""

EVERYBODY = "*"

_KNOWN_LIMIT = 1024


class Networks:
    """The listed addresses. May be used on any thread.

    `entries` are IP addresses, CIDR blocks, `unix`, or `*` for everybody; `setting` names the
    list in the error. Raises `ConfigurationError` for anything else.
    """

    def __init__(self, entries: Iterable[str], setting: str) -> None:
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        self._unix = False
        self._everybody = False
        for entry in entries:
            if entry == UNIX_SOCKET:
                self._unix = True
            elif entry == EVERYBODY:
                self._everybody = True
            else:
                try:
                    self._networks.append(_network(entry))
                except ValueError as error:
                    raise ConfigurationError(f"{setting}: {error}") from None
        self._known: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self._networks) or self._unix or self._everybody

    def has(self, address: str | None) -> bool:
        """Return whether an address is listed; `None` is a peer on a Unix socket."""
        if self._everybody:
            return True
        return self.lists(address)

    def lists(self, address: str | None) -> bool:
        """Return whether an address is listed by more than `*`, which stands for everybody."""
        if address is None:
            return self._unix
        known = self._known.get(address)
        if known is None:
            if len(self._known) >= _KNOWN_LIMIT:
                self._known.clear()
            known = self._known[address] = self._contains(address)
        return known

    def _contains(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        return any(ip in network for network in self._networks)


def check_entry(entry: str) -> None:
    """Raise `ValueError` for what cannot be listed."""
    if entry not in (UNIX_SOCKET, EVERYBODY):
        _network(entry)


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        raise ValueError(
            f"{entry!r} is not an IP address, a CIDR block such as 10.0.0.0/8, 'unix' or '*'"
        ) from None
