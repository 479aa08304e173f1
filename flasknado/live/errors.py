"""The exceptions of the live part. Importable without Tornado."""

from __future__ import annotations

from flasknado.errors import FlasknadoError


class LiveError(FlasknadoError):
    """Base class of all exceptions of `flasknado.live`."""


class InvalidEvent(LiveError, ValueError):
    """A channel, event name or data that cannot be published or subscribed to."""


class InvalidCursor(LiveError, ValueError):
    """A string that is not a cursor."""


class InvalidIdentity(LiveError, ValueError):
    """An invalid user, generation or end of access of an `Identity`."""


class AccessChanged(LiveError):
    """A user's access was taken away while it was being given: ask again."""


class LogUnavailable(LiveError):
    """The log cannot be read right now: its database does not answer."""


class BufferFull(LiveError):
    """Too many buffered events are waiting to be appended."""


class TransactionEnded(LiveError):
    """The session's transaction was committed or rolled back before the event was published."""


class TooManySubscribers(LiveError):
    """The process, the user or the address has too many live clients."""

    def __init__(self, message: str, status: int = 429) -> None:
        super().__init__(message)
        self.status = status
