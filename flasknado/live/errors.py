"""The exceptions of the live part. Importable without Tornado."""

from __future__ import annotations

from flasknado.errors import FlasknadoError


class LiveError(FlasknadoError):
    """Base of every exception that `flasknado.live` raises on purpose."""


class InvalidEvent(LiveError, ValueError):
    """A channel, event name or data that cannot be published or subscribed to."""


class InvalidCursor(LiveError, ValueError):
    """A text that is not a cursor."""


class InvalidIdentity(LiveError, ValueError):
    """A user, generation or end of access that an `Identity` cannot have."""


class AccessChanged(LiveError):
    """A user's access was taken away while it was being given: ask again."""


class LogUnavailable(LiveError):
    """The log cannot be read at present: its database does not answer."""


class BufferFull(LiveError):
    """More buffered events wait to be appended than may."""


class TooManySubscribers(LiveError):
    """This process holds as many live clients as it may, or the user or address has."""

    def __init__(self, message: str, status: int = 429) -> None:
        super().__init__(message)
        self.status = status
