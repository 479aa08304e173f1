"""`GET who`: the key of the pages of whoever asks, for a page that does not know it."""

from __future__ import annotations

from flasknado.live.endpoints.base import LiveHandler
from flasknado.native.in_flask import in_flask


class WhoHandler(LiveHandler):
    """Answers `{"who": "..."}`, which `Live.page_key` has for a page that a view makes."""

    async def get(self) -> None:
        state = self.state
        timeout_s = state.options.authorize_timeout_s
        identity = await in_flask(self, state.hooks.who, timeout_s=timeout_s)
        self.write({"who": state.page_key(identity.user)})

    head = get
