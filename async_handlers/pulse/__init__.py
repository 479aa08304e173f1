"""`/pulse`: the server looking at itself, on the event loop, whatever the threads are doing."""

from __future__ import annotations

from tornado.routing import URLSpec

from async_handlers.pulse.actions import BusyThreadsHandler, HoldStreamsHandler, PublishHandler
from async_handlers.pulse.page import PulseHandler
from async_handlers.pulse.stream import PulseStreamHandler

routes = [
    URLSpec(r"/pulse", PulseHandler),
    URLSpec(r"/pulse/stream", PulseStreamHandler),
    URLSpec(r"/pulse/hold-streams", HoldStreamsHandler),
    URLSpec(r"/pulse/busy-threads", BusyThreadsHandler),
    URLSpec(r"/pulse/publish", PublishHandler),
]
