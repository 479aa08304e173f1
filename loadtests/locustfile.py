"""What locust reads: every scenario's users, by hand too.

.venv-loadtest/bin/locust -f loadtests/locustfile.py --host http://127.0.0.1:8000 PageReader
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import gevent
from locust import events

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from loadtests.scenarios import PROCESSOR_FOLDER
from loadtests.scenarios.compute import Computer
from loadtests.scenarios.mix import Visitor
from loadtests.scenarios.page import PageReader
from loadtests.scenarios.poll import LongPoller
from loadtests.scenarios.publisher import Publisher
from loadtests.scenarios.read import ApiReader
from loadtests.scenarios.small_json import JsonReader
from loadtests.scenarios.sse import SseListener
from loadtests.scenarios.upload import Uploader
from loadtests.scenarios.wait import Waiter
from loadtests.scenarios.websocket_client import WebSocketClient
from loadtests.scenarios.write import Writer

__all__ = [
    "ApiReader",
    "Computer",
    "JsonReader",
    "LongPoller",
    "PageReader",
    "Publisher",
    "SseListener",
    "Uploader",
    "Visitor",
    "Waiter",
    "WebSocketClient",
    "Writer",
]

_started: dict[str, float] = {}


@events.init.add_listener
def start_the_clock_now(**_details: Any) -> None:
    """Make --run-time begin here: gevent's idea of now is from before everything was imported."""
    gevent.get_hub().loop.update_now()


@events.test_start.add_listener
def note_the_start(**_details: Any) -> None:
    """Remember the clocks: what importing locust costs is no part of the load."""
    _started.update(wall_s=time.monotonic(), processor_s=time.process_time())


@events.test_stop.add_listener
def tell_the_processor_time(**_details: Any) -> None:
    """Write what this process used, for `loadtests.generator`, if that runs it."""
    if folder := os.environ.get(PROCESSOR_FOLDER):
        used_s = time.process_time() - _started["processor_s"]
        share = used_s / max(time.monotonic() - _started["wall_s"], 0.001)
        (Path(folder) / f"locust-processor-{os.getpid()}.json").write_text(json.dumps(share))
