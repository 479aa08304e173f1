"""Who may see the pulse, and who may press its buttons: the application says so."""

from __future__ import annotations

from typing import Any

from flask import current_app

from flasknado import Refused, in_flask
from flasknado.live import LiveHandler

PULSE_KEY = "webapp.pulse"
"""Where `app.extensions` holds an object with `access()`, `publish(count)` and `busy_path()`.

`access()` returns `{"see": bool, "act": bool, "user": name or None}` for who asks.
"""


class PulseBase(LiveHandler):
    """A handler of the pulse."""

    async def access(self) -> dict[str, Any]:
        """Return what who asks may do; raises `Refused` (403) if not even look."""
        may: dict[str, Any] = await in_flask(self, _hook, "access")
        if may.get("see") is not True:
            raise Refused(403, "only administrators may see the server's pulse")
        return may

    async def check_action(self) -> None:
        """Raise `Refused` (403) unless who asks may press the buttons, on this site's own page.

        Browsers send `Origin` with every POST, so another site's page is told apart by it.
        """
        may = await self.access()
        if may.get("act") is not True:
            raise Refused(403, "only administrators may do this")
        if "Origin" not in self.request.headers or not self.own_page:
            raise Refused(403, "this is for the buttons of the page /pulse")

    async def ask(self, name: str, *arguments: Any) -> Any:
        """Call a function of the application's object, in Flask's context."""
        return await in_flask(self, _hook, name, *arguments)


def _hook(name: str, *arguments: Any) -> Any:
    return getattr(current_app.extensions[PULSE_KEY], name)(*arguments)
