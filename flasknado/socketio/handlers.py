"""The functions that an application has registered, and which of them an event is for. Pure.

python-socketio's order: a function for the event in the namespace, one for every event (`*`) in
it, the same for every namespace, and then a `Namespace` object, for this namespace or for all.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, Protocol

Handler = Callable[..., Any]

ANY = "*"
CONNECT = "connect"
DISCONNECT = "disconnect"
RESERVED = frozenset((CONNECT, DISCONNECT))

NOT_HANDLED = object()
"""What an event without a function for it returns."""


class NamespaceObject(Protocol):
    """What a `Namespace` is to the server."""

    namespace: str

    def trigger_event(self, event: str, *args: Any) -> Any:
        """Call the method for an event."""


class Handlers:
    """What was registered. To be filled before the server starts, and read on any thread."""

    def __init__(self, namespaces: str | Iterable[str] | None = None) -> None:
        self.functions: dict[str, dict[str, Handler]] = {}
        """By namespace and event."""
        self.objects: dict[str, NamespaceObject] = {}
        """By namespace."""
        self._all = namespaces == ANY
        self._accepted = {"/"} if namespaces is None or self._all else set(namespaces)

    def add(self, event: str, namespace: str, handler: Handler) -> None:
        """Register a function."""
        self.functions.setdefault(namespace, {})[event] = handler

    def add_object(self, namespace_object: NamespaceObject) -> None:
        """Register an object for a namespace."""
        self.objects[namespace_object.namespace] = namespace_object

    def accepts(self, namespace: str) -> bool:
        """Return whether clients may connect to a namespace."""
        if self._all or namespace in self._accepted:
            return True
        known = (self.functions, self.objects, self._accepted)
        return any(namespace in names or ANY in names for names in known)

    def find(self, namespace: str, event: str) -> tuple[str, Handler] | None:
        """Return the function for an event, and the event that it was registered for."""
        for name in (namespace, ANY):
            events = self.functions.get(name)
            if events is not None:
                handler = events.get(event)
                if handler is not None:
                    return event, handler
                if event not in RESERVED and ANY in events:
                    return ANY, events[ANY]
        return None

    def find_object(self, namespace: str) -> NamespaceObject | None:
        """Return the object for a namespace."""
        found = self.objects.get(namespace)
        return self.objects.get(ANY) if found is None else found


def takes(handler: Handler, args: tuple[Any, ...]) -> bool:
    """Return whether a function can be called with these arguments, as far as is known."""
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*args)
    except TypeError:
        return False
    return True


def call_optional(handler: Handler, *args: Any) -> Any:
    """Call a function, without the last argument if it takes none: `connect`, `disconnect`."""
    return handler(*args) if takes(handler, args) else handler(*args[:-1])
