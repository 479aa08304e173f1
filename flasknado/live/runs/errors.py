"""The exceptions of runs."""

from __future__ import annotations

from werkzeug.exceptions import ServiceUnavailable

from flasknado.live.errors import LiveError

RETRY_AFTER_S = 2


class TooManyRuns(LiveError, ServiceUnavailable):
    """The process has as many runs as it may; from a view it is answered 503."""

    def __init__(self, message: str) -> None:
        ServiceUnavailable.__init__(self, message, retry_after=RETRY_AFTER_S)

    def __str__(self) -> str:
        return str(self.description)


class RunTooLong(LiveError):
    """A run has published, or taken, more than it may."""
