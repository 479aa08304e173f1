"""`TRUSTED_HOSTS`: the hosts that a server answers for. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from flasknado.errors import ConfigurationError, RequestError
from flasknado.http.message import RequestHead


class TrustedHosts:
    """The hosts that are served; others are refused. May be used on any thread.

    `hosts` are names such as `example.com` (any port), `example.com:8000` (that port), or
    `.example.com` for a domain and all below it. An empty list admits every host. Raises
    `ConfigurationError` for an empty name.
    """

    def __init__(self, hosts: Iterable[str] = ()) -> None:
        self._names: set[str] = set()
        self._suffixes: list[str] = []
        for host in hosts:
            lower = host.lower()
            if not lower.strip("."):
                raise ConfigurationError(
                    f"the trusted host {host!r} is not a host name: write "
                    f"example.com or .example.com"
                )
            self._names.add(lower.removeprefix("."))
            if lower.startswith("."):
                self._suffixes.append(lower)

    def __bool__(self) -> bool:
        return bool(self._names)

    def check(self, head: RequestHead) -> None:
        """Raise `RequestError` (400) if the request asks for a host that is not served."""
        if not self._names:
            return
        host = (head.host or "").lower()
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        name = name.removesuffix(".")
        if host in self._names or name in self._names:
            return
        if any(name.endswith(suffix) for suffix in self._suffixes):
            return
        raise RequestError(400, f"the host {host[:80]!a} is not served here")
