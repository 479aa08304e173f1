"""What locust reads: every scenario's users, by hand too.

.venv-loadtest/bin/locust -f loadtests/locustfile.py --host http://127.0.0.1:8000 PageReader
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gevent
from locust import events

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

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


@events.init.add_listener
def start_the_clock_now(**_details: Any) -> None:
    """Make --run-time begin here: gevent's idea of now is from before everything was imported."""
    gevent.get_hub().loop.update_now()
