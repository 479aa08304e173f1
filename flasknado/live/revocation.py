"""Revocations, as events of a channel of the log's own. Pure."""

from __future__ import annotations

import json
import logging
from typing import NamedTuple

from flasknado.live.event import Event
from flasknado.live.tickets import id_text

log = logging.getLogger("flasknado.live")


class Revocation(NamedTuple):
    """A user whose access was taken away; who has this generation keeps it."""

    user: str
    generation: str | None = None

    def ends(self, user: str | None, generation: str | None) -> bool:
        """Return whether it takes the access of a user with these credentials away."""
        return user == self.user and (self.generation is None or generation != self.generation)


def revocation_data(user: str | int, generation: str | int | None) -> dict[str, str]:
    """Return a revocation as the data of its event; raises `InvalidIdentity`."""
    data = {"user": id_text(user)}
    if generation is not None:
        data["generation"] = id_text(generation, "generation")
    return data


def revocation_of(event: Event) -> Revocation | None:
    """Return what an event of the log's own channel says; `None`, and a log line, if nothing."""
    try:
        said = json.loads(event.data)
        generation = said.get("generation")
        return Revocation(
            id_text(said["user"]), generation if generation is None else id_text(generation)
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        log.error("event %d of the log is not a revocation: %.200r", event.offset, event.data)
        return None
