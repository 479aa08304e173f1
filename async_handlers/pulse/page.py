"""`GET /pulse`: the page with the charts, made by the loop and not by a thread."""

from __future__ import annotations

import os
from pathlib import Path

from tornado.template import Loader

from async_handlers.pulse.access import PulseBase
from async_handlers.pulse.actions import EVENTS, STREAMS
from flasknado import Refused

_PAGES = Loader(str(Path(__file__).parent))
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class PulseHandler(PulseBase):
    """Shows the page; its numbers come from `/pulse/stream`."""

    async def get(self) -> None:
        try:
            may = await self.access()
        except Refused as refused:
            if refused.status_code != 403:
                raise
            may = {"see": False, "act": False}
            self.set_status(403)
        self.set_header("Content-Security-Policy", _POLICY)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "same-origin")
        page = _PAGES.load("pulse.html")
        root = self.request.path.removesuffix("pulse")
        self.write(
            page.generate(may=may, root=root, streams=STREAMS, events=EVENTS, pid=os.getpid())
        )

    head = get
