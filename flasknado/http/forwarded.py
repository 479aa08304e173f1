"""What trusted proxies say of a client: a proxy is trusted only for the fields that it sets.

By default a trusted peer is trusted for the scheme only, which is what gunicorn means by trust; all
else has to be named. A proxy that sets `X-Forwarded-Proto` passes on whatever the client
says in `X-Forwarded-Host`, and then the client chooses the host of a password-reset link.

| field | header fields |
|---|---|
| `proto` | `X-Forwarded-Proto`, or those of `secure_schemes` |
| `for` | `X-Forwarded-For` |
| `host`, `port`, `prefix` | `X-Forwarded-Host`, `-Port`, `-Prefix` |
| `request-id` | `X-Request-ID` |
| `client-cert` | `Client-Cert` (RFC 9440) |
| `forwarded` | `for`, `proto` and `host` are read from `Forwarded` (RFC 7239) alone |
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Final

from flasknado.errors import ConfigurationError, RequestError
from flasknado.http.client_certificate import forwarded_certificate
from flasknado.http.forwarded_elements import bare_address, parse_forwarded
from flasknado.http.head import KNOWN_NAME_BYTES, checked_host
from flasknado.http.message import RequestHead
from flasknado.http.networks import Networks
from flasknado.http.request_id import accepted_request_id

log = logging.getLogger("flasknado.http")

FORWARDED: Final = "forwarded"
FIELDS: Final[Mapping[bytes, str]] = {
    b"x-forwarded-for": "for",
    b"x-forwarded-proto": "proto",
    b"x-forwarded-host": "host",
    b"x-forwarded-port": "port",
    b"x-forwarded-prefix": "prefix",
    b"x-request-id": "request-id",
    b"client-cert": "client-cert",
    b"forwarded": FORWARDED,
}
"""Header fields in lower case, each with the name by which it is trusted."""

DEFAULT_FIELDS: Final = ("proto",)
SECURE_SCHEMES: Final[Mapping[str, str]] = {"X-Forwarded-Proto": "https"}
"""Header fields that tell the scheme, each with its value for https."""

_OTHER_SCHEME_FIELDS: Final = (b"x-forwarded-ssl", b"x-forwarded-protocol")
_SCHEMES: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_PREFIX: Final = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+;=:@-]+)*\Z")
_PORT: Final = re.compile(r"[0-9]{1,5}\Z")
_KNOWN_LIMIT: Final = 1024


class TrustedProxies:
    """The proxies that are believed, and in what. `apply()` on the loop's thread, the rest on any.

    networks: IP addresses, CIDR blocks, `unix`, or `*` for everybody.
    fields: what they are trusted for, as named in `FIELDS`.
    secure_schemes: for `proto`, the header fields that tell the scheme, with their value for
        https (gunicorn's `secure_scheme_headers`).

    Raises `ConfigurationError` for anything else.
    """

    def __init__(
        self,
        networks: Iterable[str] = (),
        fields: Iterable[str] = DEFAULT_FIELDS,
        secure_schemes: Mapping[str, str] = SECURE_SCHEMES,
    ) -> None:
        self._networks = Networks(networks, "the list of trusted proxies")
        self.fields = checked_fields(fields)
        self._schemes = {
            name.lower().encode("latin-1"): value.lower() for name, value in secure_schemes.items()
        }
        self._believed = self._names_believed()
        self._names: dict[bytes, bytes] = {}
        """Names as they come; with the lower-case form of those that are looked at, else empty."""
        self._told: set[bytes] = set()

    def __bool__(self) -> bool:
        return bool(self._networks)

    def trusts(self, address: str | None) -> bool:
        """Return whether a peer is trusted; `None` is a peer on a Unix socket."""
        return self._networks.has(address)

    def apply(self, head: RequestHead) -> None:
        """Apply the fields that a trusted peer forwards and is trusted for.

        Raises `RequestError` (400) if what it forwards is malformed or contradicts itself.
        """
        if not self._networks.has(head.client[0] if head.client else None):
            return
        said: dict[bytes, bytes] | None = None
        names = self._names
        for name, value in head.headers:
            lower = names.get(name)
            if lower is None:
                lower = self._learn(name, head)
            if lower:
                if said is None:
                    said = {}
                # Proxies append, so several fields read as one list (RFC 9110, section 5.3).
                said[lower] = said[lower] + b"," + value if lower in said else value
        if said is not None:
            self._believe(head, said)

    def _believe(self, head: RequestHead, said: dict[bytes, bytes]) -> None:
        if FORWARDED in self.fields:
            if b"forwarded" in said:
                self._believe_forwarded(head, said[b"forwarded"].decode("latin-1"))
        else:
            if b"x-forwarded-for" in said:
                addresses = said[b"x-forwarded-for"].decode("latin-1").split(",")
                self._set_client(head, addresses)
            self._set_scheme(head, said)
            if b"x-forwarded-host" in said:
                _set_host(head, _last(said[b"x-forwarded-host"]))
        if b"x-forwarded-port" in said:
            _set_port(head, _last(said[b"x-forwarded-port"]))
        if b"x-forwarded-prefix" in said:
            _set_prefix(head, _last(said[b"x-forwarded-prefix"]))
        if b"x-request-id" in said:
            head.request_id = accepted_request_id(said[b"x-request-id"].decode("latin-1"))
        if b"client-cert" in said:
            head.tls = forwarded_certificate(said[b"client-cert"])

    def _believe_forwarded(self, head: RequestHead, text: str) -> None:
        elements = parse_forwarded(text)
        if not elements:
            return
        element = elements[-1]
        if "for" in self.fields:
            # The proxy that saw the client wrote the element that names it.
            hops = self._set_client(head, [each.get("for", "") for each in elements])
            element = elements[-hops]
        if "proto" in self.fields:
            head.scheme = _SCHEMES.get(element.get("proto", "").lower(), head.scheme)
        if "host" in self.fields:
            _set_host(head, element.get("host", ""))

    def _set_client(self, head: RequestHead, addresses: list[str]) -> int:
        """Set the last address that is no trusted proxy; return its place, counted from the end.

        `*` trusts every peer, but not every address that is named: the client names the first.
        """
        hops = 0
        for text in reversed(addresses):
            hops += 1
            address = bare_address(text.strip())
            if address is None:
                break
            head.client = (address, 0)
            if not self._networks.lists(address):
                break
        return hops

    def _set_scheme(self, head: RequestHead, said: dict[bytes, bytes]) -> None:
        schemes: dict[str, bytes] = {}
        for name, secure in self._schemes.items():
            text = _last(said.get(name, b"")).lower()
            if not text:
                continue
            if text == secure:
                schemes["https"] = name
            elif name != b"x-forwarded-proto" or _SCHEMES.get(text) == "http":
                schemes["http"] = name
            elif text in _SCHEMES:
                schemes["https"] = name
        if len(schemes) > 1:
            names = " and ".join(sorted(name.decode() for name in schemes.values()))
            raise RequestError(400, f"the fields {names} disagree on the scheme")
        for scheme in schemes:
            head.scheme = scheme

    # Names.

    def _names_believed(self) -> frozenset[bytes]:
        names = {name for name, field in FIELDS.items() if field in self.fields}
        names.discard(b"x-forwarded-proto")
        if "proto" in self.fields:
            names.update(self._schemes)
        if FORWARDED in self.fields:
            names -= {b"x-forwarded-for", b"x-forwarded-host", *self._schemes}
        return frozenset(names)

    def _learn(self, name: bytes, head: RequestHead) -> bytes:
        lower = name.lower()
        if lower in self._believed:
            kept = lower
        else:
            kept = b""
            if lower in FIELDS or lower in _OTHER_SCHEME_FIELDS:
                self._tell(lower, head)
        if len(self._names) < _KNOWN_LIMIT and len(name) <= KNOWN_NAME_BYTES:
            self._names[name] = kept
        return kept

    def _tell(self, name: bytes, head: RequestHead) -> None:
        """Warn once for each field that a trusted proxy sends and is not trusted for."""
        field = FIELDS.get(name)
        superseded = FORWARDED in self.fields and field in ("for", "proto", "host")
        if name in self._told or superseded:
            return
        self._told.add(name)
        if field is None or (field == "proto" and "proto" in self.fields):
            mend = "add it to secure_scheme_headers"
        else:
            mend = f"add {field} to --trusted-fields (TRUSTED_FIELDS)"
        log.warning(
            "the trusted proxy %s sends %s, for which it is not trusted: if it sets this field "
            "itself on every request, %s; otherwise the field comes from the client",
            head.client[0] if head.client else "on the Unix socket",
            "-".join(word.capitalize() for word in name.decode().split("-")),
            mend,
        )


def checked_fields(fields: Iterable[str]) -> frozenset[str]:
    """Return the names of trusted fields; raises `ConfigurationError` for an unknown one."""
    names = frozenset(field.strip().lower() for field in fields)
    known = sorted(set(FIELDS.values()))
    for name in sorted(names):
        if name not in known:
            raise ConfigurationError(
                f"{name!r} is not a trusted field: choose from {', '.join(known)}"
            )
    if names == {FORWARDED}:
        raise ConfigurationError(
            "'forwarded' alone trusts nothing: add the fields to read from it, such as "
            "forwarded,for,proto,host"
        )
    return names


def _set_host(head: RequestHead, text: str) -> None:
    if text:
        head.host = checked_host(text)


def _set_port(head: RequestHead, text: str) -> None:
    if not text:
        return
    if _PORT.match(text) is None or not 0 < int(text) <= 65535:
        raise RequestError(400, f"the forwarded port {text[:80]!a} is not a number from 1 to 65535")
    port = int(text)
    if head.server is not None:
        head.server = (head.server[0], port)
    if head.host is not None:
        bracketed = head.host.startswith("[")
        name = head.host.partition("]")[0] + "]" if bracketed else head.host.partition(":")[0]
        head.host = name if port == _DEFAULT_PORTS.get(head.scheme) else f"{name}:{port}"


def _set_prefix(head: RequestHead, text: str) -> None:
    prefix = text.rstrip("/")
    if _PREFIX.match(prefix) is None:
        raise RequestError(
            400, f"the forwarded prefix {text[:80]!a} is not a plain path such as /shop"
        )
    head.prefix = prefix


def _last(value: bytes) -> str:
    return value.decode("latin-1").rpartition(",")[2].strip()
