"""The Tornado half of the bundled application: its native endpoints, one `routes` list.

Never imports `webapp`. What it needs of the application it reaches through the hooks in
`app.extensions` (`flasknado.in_flask`, `flasknado.live`).
"""

from __future__ import annotations

from tornado.routing import URLSpec

import flasknado.live
from async_handlers import pulse
from async_handlers.chat import ChatHandler
from async_handlers.search import SearchHandler
from async_handlers.summary import SummaryHandler
from async_handlers.whoami import WhoAmIHandler

routes = [
    *flasknado.live.routes("/live"),
    URLSpec(r"/live/whoami", WhoAmIHandler),
    URLSpec(r"/live/search", SearchHandler),
    URLSpec(r"/live/chat", ChatHandler),
    URLSpec(r"/live/summary", SummaryHandler),
    *pulse.routes,
]
