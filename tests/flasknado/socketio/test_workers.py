"""socket.io-client at a real server of several workers, started as a user would."""

from __future__ import annotations

import os
from pathlib import Path

from tests.flasknado.socketio.test_node import run
from tests.support.process import PROJECT_ROOT, server_process

APPLICATION = """
from tests.flasknado.socketio.test_node import application

app = application(message_queue="sqlite:///{path}/log.db", durable=["/durable"])
"""


def test_default_transports_work_with_several_workers(tmp_path: Path) -> None:
    (tmp_path / "application.py").write_text(APPLICATION.format(path=tmp_path))
    command = ["-m", "flasknado", "application:app", "--bind", "127.0.0.1:0", "--workers", "2"]
    path = os.pathsep.join((str(tmp_path), str(PROJECT_ROOT)))
    with server_process(command, env={"PYTHONPATH": path}, cwd=tmp_path) as server:
        scenarios = ("polling", "upgrade", "rooms", "reconnects", "recovers")
        found = run(server.url, *scenarios, *scenarios)
    assert found["polling"]["transport"] == "polling"
    assert found["upgrade"] == {"answers": list(range(20)), "transport": "websocket"}
    assert found["rooms"] == ["hello", "two: to itself"]
    assert found["recovers"] == {"recovered": [True, True], "same": True, "seen": [0, 1, 2]}
