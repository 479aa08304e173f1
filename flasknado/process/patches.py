"""Applications that replace Python's threads and sockets as they are imported: refused."""

from __future__ import annotations

import sys

from flasknado.errors import ConfigurationError


def patched_by() -> str | None:
    """Return the call that has replaced parts of Python in this process, if one has."""
    gevent: object = getattr(sys.modules.get("gevent.monkey"), "saved", None)
    if gevent:
        return "gevent.monkey.patch_all()"
    eventlet = getattr(sys.modules.get("eventlet.patcher"), "already_patched", None)
    if eventlet:
        return "eventlet.monkey_patch()"
    return None


def refuse_patched(what: str) -> None:
    """Raise `ConfigurationError` if Python's threads and sockets have been replaced.

    what: who has had the time to do it, such as "the application".
    """
    call = patched_by()
    if call is not None:
        raise ConfigurationError(
            f"{what} has called {call}, and this server needs Python's own threads and sockets: "
            f"remove the call, and the import that is there for it alone"
        )
