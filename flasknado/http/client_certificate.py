"""Client certificates, as environ variables with the names that Apache's mod_ssl gives them.

| variable | what |
|---|---|
| `SSL_CLIENT_VERIFY` | `SUCCESS`, or `NONE` without a certificate |
| `SSL_CLIENT_CERT` | the certificate (PEM) |
| `SSL_CLIENT_S_DN`, `SSL_CLIENT_I_DN` | subject and issuer, as `CN=ann,O=Shop` (RFC 4514) |
| `SSL_CLIENT_S_DN_CN` | the subject's common name |
| `SSL_CLIENT_M_SERIAL` | the serial number (hexadecimal) |
| `SSL_CLIENT_V_START`, `SSL_CLIENT_V_END` | from when until when it is valid |
| `SSL_PROTOCOL`, `SSL_CIPHER` | of the connection |
| `flasknado.peer_certificate` | what `ssl.SSLSocket.getpeercert()` returns |

Text beyond ASCII is UTF-8 in latin-1, as in all of an environ (PEP 3333).
"""

from __future__ import annotations

import base64
import binascii
import re
import ssl
from typing import Any, Final

from flasknado.errors import RequestError

CERTIFICATE_KEY: Final = "flasknado.peer_certificate"

_SHORT_NAMES: Final = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "userId": "UID",
}
_SPECIAL: Final = re.compile(r'[,+"\\<>;=]|\A[ #]| \Z')
_BYTE_SEQUENCE: Final = re.compile(rb"[ \t]*:([A-Za-z0-9+/=]*):[ \t]*\Z")


def variables_of(connection: Any) -> dict[str, Any] | None:
    """Return the variables of a TLS connection (an `ssl.SSLSocket` or `ssl.SSLObject`).

    `None` if it does not ask for client certificates. The handshake has to be over.
    """
    if connection is None or connection.context.verify_mode is ssl.CERT_NONE:
        return None
    variables: dict[str, Any] = {"SSL_CLIENT_VERIFY": "NONE"}
    cipher = connection.cipher()
    if cipher is not None:
        variables["SSL_CIPHER"], variables["SSL_PROTOCOL"] = cipher[0], connection.version()
    der = connection.getpeercert(binary_form=True)
    if der is not None:
        certificate = connection.getpeercert()
        subject, issuer = certificate.get("subject", ()), certificate.get("issuer", ())
        variables |= {
            "SSL_CLIENT_VERIFY": "SUCCESS",
            "SSL_CLIENT_CERT": ssl.DER_cert_to_PEM_cert(der),
            "SSL_CLIENT_S_DN": _name(subject),
            "SSL_CLIENT_I_DN": _name(issuer),
            "SSL_CLIENT_S_DN_CN": _common_name(subject),
            "SSL_CLIENT_M_SERIAL": certificate.get("serialNumber", ""),
            "SSL_CLIENT_V_START": certificate.get("notBefore", ""),
            "SSL_CLIENT_V_END": certificate.get("notAfter", ""),
            CERTIFICATE_KEY: certificate,
        }
    return variables


def forwarded_certificate(value: bytes) -> dict[str, Any]:
    """Return the variables of a certificate that a proxy has verified (RFC 9440, section 2.2).

    Raises `RequestError` (400) for a value that is not one byte sequence (RFC 8941).
    """
    match = _BYTE_SEQUENCE.match(value)
    try:
        der = base64.b64decode(match[1], validate=True) if match is not None else b""
    except binascii.Error:
        der = b""
    if not der:
        raise RequestError(
            400, "the Client-Cert header is not one certificate, :BASE64: (RFC 9440, section 2.2)"
        )
    return {"SSL_CLIENT_VERIFY": "SUCCESS", "SSL_CLIENT_CERT": ssl.DER_cert_to_PEM_cert(der)}


def _name(names: Any) -> str:
    """Return a distinguished name as text, the most specific part first (RFC 4514, section 2)."""
    parts = []
    for relative in reversed(names):
        pairs = (
            f"{_SHORT_NAMES.get(kind, kind)}={_SPECIAL.sub(lambda m: chr(92) + m[0], value)}"
            for kind, value in relative
        )
        parts.append("+".join(pairs))
    return _for_environ(",".join(parts))


def _common_name(subject: Any) -> str:
    names = [value for relative in subject for kind, value in relative if kind == "commonName"]
    return _for_environ(names[-1]) if names else ""


def _for_environ(text: str) -> str:
    return text.encode().decode("latin-1")
