"""Live events for `loadtests.bench.live_fanout`: everybody may read, a token may publish."""

from __future__ import annotations

import os

from flask import Flask

from flasknado.live import Live

app = Flask(__name__)
app.config["LIVE_PUBLISH_TOKEN"] = os.environ["LIVE_PUBLISH_TOKEN"]
# The benchmark's clients count bytes as they come, and answer no pings.
app.config["LIVE_HEARTBEAT_S"] = 3600
live = Live(app, database_url=os.environ["LIVE_DATABASE_URL"])


@live.authorize
def may_read(_channel: str) -> bool:
    return True


@app.get("/")
def hello() -> str:
    return "Hello, World!"
