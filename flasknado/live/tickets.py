"""Reconnect tickets: a client that is sent away by a deploy returns without asking Flask.

A ticket says who the client is, what it may read and until when, and is signed with the
application's secret key. It is good for a minute, on any worker, and for its channels only.
A revocation of its user after it was issued makes it worthless. Pure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Collection
from typing import NamedTuple

LIFETIME_S = 60.0
MAX_TICKET_CHARS = 16 * 1024
_SIGNATURE_BYTES = 16
_PURPOSE = b"flasknado live reconnect ticket"


class Identity(NamedTuple):
    """Who reads, and until when; a user is named by text, nobody by `None`."""

    user: str | None = None
    expires_at: float | None = None
    """Seconds since the epoch; `None` for access without an end of its own."""


NOBODY = Identity()


class Ticket(NamedTuple):
    """What a valid ticket says."""

    identity: Identity
    channels: frozenset[str]
    issued_at: float


class Tickets:
    """Issues and checks the tickets of one application. May be used on any thread."""

    def __init__(self, secret_key: str | bytes) -> None:
        secret = secret_key.encode() if isinstance(secret_key, str) else secret_key
        self._key = hmac.digest(secret, _PURPOSE, hashlib.sha256)

    def issue(self, identity: Identity, channels: Collection[str], now: float) -> str:
        """Return a ticket, of the characters of a URL."""
        said = [identity.user, identity.expires_at, round(now, 3), *channels]
        body = _encode(json.dumps(said, separators=(",", ":")).encode())
        return f"{body}.{_encode(self._signature(body))}"

    def check(self, text: str, now: float) -> Ticket | None:
        """Return what a ticket says, or `None` if it is not one of ours or no longer good."""
        body, _, signature = text[:MAX_TICKET_CHARS].partition(".")
        if not hmac.compare_digest(_encode(self._signature(body)).encode(), signature.encode()):
            return None
        try:
            user, expires_at, issued_at, *channels = json.loads(_decode(body))
        except (ValueError, binascii.Error):
            return None
        if not now - LIFETIME_S <= issued_at <= now + LIFETIME_S:
            return None
        if expires_at is not None and expires_at <= now:
            return None
        return Ticket(Identity(user, expires_at), frozenset(channels), issued_at)

    def _signature(self, body: str) -> bytes:
        return hmac.digest(self._key, body.encode(), hashlib.sha256)[:_SIGNATURE_BYTES]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
