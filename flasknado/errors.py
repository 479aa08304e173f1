"""The exceptions of this package; all derive from `FlasknadoError`."""

from __future__ import annotations


class FlasknadoError(Exception):
    """Base of every exception that flasknado raises on purpose."""


class ConfigurationError(FlasknadoError):
    """A setting or an application that the server cannot start with; the message is one line."""

    setting: str | None = None
    """The name of the setting, if the error is about one."""


class AddressTaken(ConfigurationError):
    """Another program listens on the address that the server is to listen on."""


class ClientDisconnected(FlasknadoError, OSError):
    """The client has gone, so what is being written can reach nobody."""


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
