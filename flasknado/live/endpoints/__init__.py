"""The native endpoints of live events: one file a transport, one table of routes."""

from __future__ import annotations

import re

from tornado.routing import URLSpec

from flasknado.errors import ConfigurationError
from flasknado.live.endpoints.javascript import ModuleHandler
from flasknado.live.endpoints.ndjson import NdjsonHandler
from flasknado.live.endpoints.poll import PollHandler
from flasknado.live.endpoints.publish import PublishHandler
from flasknado.live.endpoints.send import SendHandler
from flasknado.live.endpoints.sse import EventsHandler
from flasknado.live.endpoints.stop import StopHandler
from flasknado.live.endpoints.websocket import SocketHandler
from flasknado.live.endpoints.who import WhoHandler


def route_table(prefix: str) -> list[URLSpec]:
    """Return the routes under a path prefix such as `/live`; raises `ConfigurationError`."""
    if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
        raise ConfigurationError(
            f"the prefix {prefix!r} must begin with a slash and not end with one, such as /live"
        )
    root = re.escape(prefix)
    return [
        URLSpec(rf"{root}/events", EventsHandler),
        URLSpec(rf"{root}/ndjson", NdjsonHandler),
        URLSpec(rf"{root}/poll", PollHandler),
        URLSpec(rf"{root}/socket", SocketHandler),
        URLSpec(rf"{root}/who", WhoHandler),
        URLSpec(rf"{root}/stop", StopHandler),
        URLSpec(rf"{root}/publish", PublishHandler),
        URLSpec(rf"{root}/send", SendHandler),
        URLSpec(rf"{root}/live\.js", ModuleHandler),
    ]
