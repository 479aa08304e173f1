"""`POST stop`: a client stops a run.

    fetch("/live/stop", {method: "POST", body: JSON.stringify({run})})

Answered `{"run": "...", "stopped": true}`, or false for a run that had ended. The application
decides who may (`@live.authorize_stop`); without its function, only the user who started the run.
"""

from __future__ import annotations

import json

from flasknado.live.endpoints.base import BodyHandler
from flasknado.live.state import LiveState
from flasknado.native.in_flask import Refused, in_flask
from flasknado.native.lane import LaneSettings


class StopHandler(BodyHandler):
    """`POST {"run": ID}`."""

    max_body_bytes = 4 * 1024

    async def post(self) -> None:
        state = self.state
        run = _run_of(bytes(self._body))
        options = state.options
        lane = LaneSettings("live-authorize", options.authorize_threads, options.authorize_queue)
        stopped = await in_flask(
            self, _stop, state, run, timeout_s=options.authorize_timeout_s, lane=lane
        )
        self.write({"run": run, "stopped": stopped})


def _run_of(body: bytes) -> str:
    try:
        run = json.loads(body)["run"]
    except (ValueError, KeyError, TypeError, RecursionError):
        run = None
    if not isinstance(run, str):
        raise Refused(400, 'the body must be {"run": "..."}, with the id of a run')
    return run


def _stop(state: LiveState, run_id: str) -> bool:
    """Stop a run if whoever asks may; in a request context."""
    run = state.runs.store.get(run_id)
    if run is None:
        raise Refused(404, f"there is no run {run_id[:40]!a}")
    if not state.hooks.may_stop(run):
        raise Refused(403, f"you may not stop the run {run_id!r}")
    return state.runs.stop(run_id)
