"""Refusing applications that monkey-patch Python's threads and sockets."""

from __future__ import annotations

import sys

from flasknado.errors import ConfigurationError


def patched_by() -> str | None:
    """Return the call that has monkey-patched this process, if any."""
    gevent: object = getattr(sys.modules.get("gevent.monkey"), "saved", None)
    if gevent:
        return "gevent.monkey.patch_all()"
    eventlet = getattr(sys.modules.get("eventlet.patcher"), "already_patched", None)
    if eventlet:
        return "eventlet.monkey_patch()"
    return None


def refuse_patched(what: str) -> None:
    """Raise `ConfigurationError` if Python's threads and sockets have been monkey-patched.

    what: what has just been imported, such as "the application".
    """
    call = patched_by()
    if call is not None:
        raise ConfigurationError(
            f"{what} calls {call}, but this server needs Python's own threads and sockets: "
            f"remove the call"
        )
