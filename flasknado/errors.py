"""The exceptions of this package; all derive from `FlasknadoError`."""

from __future__ import annotations


class FlasknadoError(Exception):
    """Base class of all exceptions of flasknado."""


class ConfigurationError(FlasknadoError):
    """A setting or an application that the server cannot start with; the message is one line."""

    setting: str | None = None
    """The name of the setting, if the error is about one."""


class AddressTaken(ConfigurationError):
    """The address to listen on is in use by another program."""


class ClientDisconnected(FlasknadoError, OSError):
    """The client is gone, so the response cannot be delivered."""


class CoroutineCancelled(FlasknadoError):
    """The server cancelled a coroutine of the application, for the reason that it says.

    Its request is past its deadline, its client has been gone for long, or the server stops.
    """


class RequestError(FlasknadoError):
    """A request that is refused before any application sees it.

    `status` is the HTTP status code of the answer and `str(error)` its text: the
    offending value, the rule and where it is written. The connection closes after it.
    """

    def __init__(
        self, status: int, message: str, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
