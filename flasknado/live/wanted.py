"""What a request asks to follow. Pure."""

from __future__ import annotations

import dataclasses

from flasknado.live.event import REVOCATIONS, Cursor, Event, is_by
from flasknado.live.tickets import NOBODY, Identity


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks to follow, once it may."""

    channels: tuple[str, ...]
    after: Cursor | None = None
    last: int = 0
    """How many of its newest events each channel begins with, without a cursor."""
    wire_format: str = "json"
    digest: str | None = None
    """That of its connection, which gets nothing that it has caused for others."""
    identity: Identity = NOBODY

    def gets(self, event: Event) -> bool:
        """Return whether an event of its channels is for it."""
        return event.channel != REVOCATIONS and not is_by(event, self.digest)
