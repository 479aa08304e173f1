"""`GET /live/whoami`: who the Flask half says is asking, on a native connection.

The example of a native handler that uses Flask's context: session cookie and bearer token
give the same answer here as in a view.
"""

from __future__ import annotations

from typing import Any

from flask import current_app

from flasknado import in_flask
from flasknado.live import LiveHandler

IDENTITY_KEY = "flasknado.identity"
"""Where `app.extensions` holds a function that says who asks, as a dict; in a request context."""


class WhoAmIHandler(LiveHandler):
    """Answers with what the application's identity hook returns, as JSON."""

    async def get(self) -> None:
        self.write(await in_flask(self, identity))

    head = get


def identity() -> dict[str, Any]:
    """Return who the current Flask request is of; nobody if the application does not say."""
    hook = current_app.extensions.get(IDENTITY_KEY)
    who = hook() if hook is not None else None
    return {"user": None} if who is None else dict(who)
