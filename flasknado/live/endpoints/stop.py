"""`POST stop`: a client stops a run.

    fetch("/live/stop", {method: "POST", body: JSON.stringify({run})})

Answered `{"run": "...", "stopped": true}`, or false for a run that had ended. The application
decides who may (`@live.authorize_stop`); without its function, only the user who started the run.
"""

from __future__ import annotations

from flasknado.live.endpoints.access import refusals
from flasknado.live.endpoints.base import BodyHandler
from flasknado.live.said import MAX_STOP_BYTES, run_in, stop_run
from flasknado.native.in_flask import in_flask
from flasknado.native.lane import LaneSettings


class StopHandler(BodyHandler):
    """`POST {"run": ID}`."""

    max_body_bytes = MAX_STOP_BYTES

    async def post(self) -> None:
        state = self.state
        with refusals():
            run = run_in(bytes(self._body))
        options = state.options
        lane = LaneSettings("live-authorize", options.authorize_threads, options.authorize_queue)
        stopped = await in_flask(
            self, stop_run, state, run, timeout_s=options.authorize_timeout_s, lane=lane
        )
        self.write({"run": run, "stopped": stopped})
