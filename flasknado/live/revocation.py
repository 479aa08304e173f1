"""Revocations, as events of a channel of the log's own. Pure."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from typing import NamedTuple

from flasknado.live.event import Event, check_channel
from flasknado.live.tickets import Identity, id_text

log = logging.getLogger("flasknado.live")


class Revocation(NamedTuple):
    """A user whose access was taken away: all of it, or a part."""

    user: str
    generation: str | None = None
    """Who has this generation keeps it."""
    session_id: str | None = None
    """Only who has this session loses it."""
    channel: str | None = None
    """Only access to this channel."""

    @property
    def whole(self) -> bool:
        """Whether it takes everything."""
        return self == (self.user, None, None, None)

    def ends(self, identity: Identity) -> bool:
        """Return whether it takes access away from who is identified so."""
        return (
            identity.user == self.user
            and (self.generation is None or identity.generation != self.generation)
            and (self.session_id is None or identity.session_id == self.session_id)
        )

    def concerns(self, channels: Collection[str] | None) -> bool:
        """Return whether it is about one of these channels; `None` may be any."""
        return self.channel is None or channels is None or self.channel in channels


def revocation_data(
    user: str | int,
    generation: str | int | None = None,
    session_id: str | int | None = None,
    channel: str | None = None,
) -> dict[str, str]:
    """Return a revocation as the data of its event.

    Raises `InvalidIdentity`, and `InvalidEvent` for a channel that is none.
    """
    data = {"user": id_text(user)}
    if generation is not None:
        data["generation"] = id_text(generation, "generation")
    if session_id is not None:
        data["session_id"] = id_text(session_id, "session_id")
    if channel is not None:
        data["channel"] = check_channel(channel)
    return data


def revocation_of(event: Event) -> Revocation | None:
    """Return what an event of the log's own channel says; `None`, and a log line, if nothing."""
    try:
        said = json.loads(event.data)
        known = revocation_data(*(said.get(name) for name in Revocation._fields))
        return Revocation(*(known.get(name) for name in Revocation._fields))  # type: ignore[arg-type]
    except (ValueError, KeyError, TypeError, AttributeError):
        log.error("event %d of the log is not a revocation: %.200r", event.offset, event.data)
        return None
