"""Who reads, and reconnect tickets: a client sent away by a deploy returns without asking Flask.

A ticket says who the client is, what it may read and until when, and up to which place in the
log that was so. It is signed with the application's secret key, and good for a minute, on any
worker, for its channels only. A revocation of its user behind that place makes it worthless
(`flasknado.live.hub.revocations`). Pure.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from itsdangerous import BadData, Signer, URLSafeSerializer

from flasknado.live.errors import InvalidCursor, InvalidIdentity
from flasknado.live.event import Cursor, has_control_characters, parse_cursor

LIFETIME_S = 60.0
MAX_TICKET_CHARS = 16 * 1024
MAX_USER_CHARS = 128
"""The longest user id, generation and session id."""
MAX_INFO_BYTES = 1024
"""The largest `info` of an identity, as JSON."""
ANONYMOUS = "anonymous"
"""The key of the pages that nobody in particular has loaded."""
_SALT = b"flasknado live reconnect ticket"
_TAG_SALT = b"flasknado live tag"
_PAGE_SALT = b"flasknado live page key"
_SIGNING: dict[str, Any] = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
"""As Flask signs its sessions, with a digest of today."""


@dataclasses.dataclass(frozen=True, slots=True, init=False)
class Identity:
    """A user, and the end of their access.

    Raises `InvalidIdentity`, a `ValueError`, for a value that breaks one of the rules below.
    """

    user: str | None
    """The user's id: 1 to 128 characters, none of them a control character or surrogate. A
    whole number becomes text. `None` is nobody in particular."""
    expires_at: float | None
    """Seconds since 1970; `None` for access without an end of its own."""
    generation: str | None
    """What changes with the user's credentials, such as a count of the changes of password;
    under the rules of `user`. `Live.revoke` says what it does."""

    session_id: str | None
    """What names this session of the user, for `Live.revoke`; under the rules of `user`."""
    info_json: str | None
    """What presence tells about the user, as JSON text; `info` is its value."""

    def __init__(
        self,
        user: str | int | None = None,
        expires_at: float | None = None,
        generation: str | int | None = None,
        *,
        session_id: str | int | None = None,
        info: Mapping[str, Any] | None = None,
    ) -> None:
        if expires_at is not None and (
            isinstance(expires_at, bool)
            or not isinstance(expires_at, (int, float))
            or not math.isfinite(expires_at)
        ):
            raise InvalidIdentity(
                f"expires_at must be a number of seconds since 1970, as datetime.timestamp() "
                f"returns, or None, not {repr(expires_at)[:80]}"
            )
        self._set(
            None if user is None else id_text(user, "user"),
            expires_at,
            None if generation is None else id_text(generation, "generation"),
            None if session_id is None else id_text(session_id, "session_id"),
            None if info is None else _info_text(info),
        )

    @classmethod
    def of(
        cls,
        user: str | None,
        expires_at: float | None,
        generation: str | None,
        session_id: str | None,
        info_json: str | None,
    ) -> Identity:
        """Return an identity of values that were checked before."""
        identity = cls.__new__(cls)
        identity._set(user, expires_at, generation, session_id, info_json)
        return identity

    def _set(
        self,
        user: str | None,
        expires_at: float | None,
        generation: str | None,
        session_id: str | None,
        info_json: str | None,
    ) -> None:
        object.__setattr__(self, "user", user)
        object.__setattr__(self, "expires_at", expires_at)
        object.__setattr__(self, "generation", generation)
        object.__setattr__(self, "session_id", session_id)
        object.__setattr__(self, "info_json", info_json)

    @property
    def info(self) -> dict[str, Any] | None:
        """What presence tells about the user."""
        if self.info_json is None:
            return None
        info: dict[str, Any] = json.loads(self.info_json)
        return info

    def is_same_user(self, other: Identity) -> bool:
        """Return whether another identity is this user with the same credentials."""
        if self.user is None:
            return other.user is None
        return (self.user, self.generation) == (other.user, other.generation)


def _info_text(info: object) -> str:
    """Return what is told about a user as JSON text; raises `InvalidIdentity`."""
    if not isinstance(info, Mapping):
        raise InvalidIdentity(f"info must be a dict or None, not {type(info).__name__}")
    try:
        # ASCII, so that no database and no log takes offence at a character.
        text = json.dumps(dict(info), allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidIdentity(f"info must be JSON serializable: {error}") from error
    if len(text) > MAX_INFO_BYTES:
        raise InvalidIdentity(
            f"info may have at most {MAX_INFO_BYTES} bytes as JSON, not {len(text)}: give what "
            f"others are to see, such as a name and a picture's address"
        )
    return text


def id_text(value: object, field: str = "user") -> str:
    """Return an id as text; raises `InvalidIdentity` for what cannot be one."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise InvalidIdentity(f"{field} must be a string or an int, not {type(value).__name__}")
    if not 0 < len(value) <= MAX_USER_CHARS or has_control_characters(value):
        raise InvalidIdentity(
            f"{field} must have 1 to {MAX_USER_CHARS} characters and no line ends, other control "
            f"characters or surrogates, not {value[:80]!a}"
        )
    return value


NOBODY = Identity()


class Access(NamedTuple):
    """Who may read, and when that was asked, in seconds of `time.monotonic`."""

    identity: Identity
    asked_at: float
    channels: frozenset[str] | None = None
    """What may be read; `None` if that was not asked, or is not known."""
    address: str | None = None
    """The client's address as the application has it, behind its own middleware."""
    by_ticket: bool = False
    """Whether a ticket says so, and its address is the one of before."""


class Ticket(NamedTuple):
    """What a valid ticket says: who may read which channels, as of a place in the log."""

    identity: Identity
    channels: frozenset[str]
    place: Cursor
    address: str | None = None


class Tickets:
    """Issues and checks the tickets of one application, and names its users to their pages.

    keys: the application's secret key, or several, the newest last: it signs, and a ticket that
    one of the others has signed is good, too. May be used on any thread.
    """

    def __init__(self, keys: str | bytes | Sequence[bytes]) -> None:
        self._serializer = URLSafeSerializer(keys, salt=_SALT, signer_kwargs=_SIGNING)
        self._tags = URLSafeSerializer(keys, salt=_TAG_SALT, signer_kwargs=_SIGNING)
        self._pages = Signer(keys, _PAGE_SALT, **_SIGNING)

    def page_key(self, user: str | None) -> str:
        """Return a text that names a user to its own pages, and says nothing to anybody else."""
        return ANONYMOUS if user is None else self._pages.get_signature(user).decode()

    def issue(
        self,
        identity: Identity,
        channels: Collection[str],
        place: Cursor,
        now: float,
        address: str | None = None,
    ) -> str:
        """Return a ticket, of the characters of a URL."""
        info = identity.info
        user, session_id = identity.user, identity.session_id
        known = (user, identity.expires_at, identity.generation, session_id, info, address)
        # Not by itsdangerous's own timer, which takes nothing of a clock that is ahead of ours.
        return self._serializer.dumps([[*known], str(place), round(now, 3), *channels])

    def issue_tag(
        self, identity: Identity, channels: Collection[str], place: Cursor, now: float
    ) -> str:
        """Return the proof that a page of this user may read some channels."""
        return self._tags.dumps(
            [[identity.user, identity.generation], str(place), round(now), *channels]
        )

    def check_tag(self, text: str, now: float, lifetime_s: float) -> Ticket | None:
        """Return what a tag says, or `None` if it is not one of ours or too old."""
        try:
            (user, generation), place, issued_at, *channels = self._tags.loads(
                text[:MAX_TICKET_CHARS]
            )
            identity = Identity(user, None, generation)
            cursor = parse_cursor(place)
            age_s = now - float(issued_at)
        except (BadData, ValueError, TypeError, InvalidCursor):
            return None
        # The clock of the machine that has issued it may be a little ahead.
        fresh = -LIFETIME_S <= age_s <= lifetime_s
        return Ticket(identity, frozenset(channels), cursor) if fresh else None

    def check(self, text: str, now: float) -> Ticket | None:
        """Return what a ticket says, or `None` if it is not one of ours or no longer good."""
        try:
            said = self._serializer.loads(text[:MAX_TICKET_CHARS])
            known, place, issued_at, *channels = said
            user, expires_at, generation, session_id, info, address = known
            identity = Identity(user, expires_at, generation, session_id=session_id, info=info)
            cursor = parse_cursor(place)
            fresh = abs(now - float(issued_at)) <= LIFETIME_S
        except (BadData, ValueError, TypeError, InvalidCursor):
            # With a good signature it is of another release of this program.
            return None
        if not fresh or (expires_at is not None and expires_at <= now):
            return None
        return Ticket(identity, frozenset(channels), cursor, address)
