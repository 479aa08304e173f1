"""`socketio.run(app)`: a server in this process, until it is stopped."""

from __future__ import annotations

import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flasknado.errors import AddressTaken, ConfigurationError
from flasknado.socketio import SocketIO, SocketIOError
from tests.flasknado.live.helpers import wait_for
from tests.flasknado.socketio.test_node import run as run_node
from tests.support.process import PROJECT_ROOT, server_process

PROGRAM = """
from tests.flasknado.socketio.test_node import application

app = application()
app.extensions["socketio"].run(app, port={port})
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def test_program_serves_until_it_is_terminated(tmp_path: Path) -> None:
    port = free_port()
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(port=port))
    environment = {"PYTHONPATH": str(PROJECT_ROOT)}
    with server_process([str(program)], env=environment, cwd=tmp_path, ready=False) as server:
        wait_for(lambda: answers(port), "it serves")
        assert run_node(f"http://127.0.0.1:{port}", "called")["called"]
        server.signal(signal.SIGTERM)
        assert server.wait() == 0, server.output


def test_stop_ends_it_from_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flasknado.server.DRAIN_LINGER_S", 0.02)
    app = Flask("stop")
    app.config["SERVER_NAME"] = f"localhost:{free_port()}"
    socketio = SocketIO(app)
    thread = threading.Thread(target=lambda: socketio.run(app), daemon=True)
    thread.start()
    wait_for(lambda: answers(int(app.config["SERVER_NAME"].partition(":")[2])), "it serves")
    socketio.stop()
    thread.join(15)
    assert not thread.is_alive()
    with pytest.raises(SocketIOError, match="no server runs here"):
        socketio.stop()


def test_address_that_is_taken_and_unknown_options_are_refused() -> None:
    app = Flask("taken")
    socketio = SocketIO(app)
    with socket.create_server(("127.0.0.1", 0)) as sock, pytest.raises(AddressTaken):
        socketio.run(app, port=sock.getsockname()[1])
    unknown: dict[str, Any] = {"certfile": "x"}
    with pytest.raises(ConfigurationError, match="no option 'certfile'"):
        socketio.run(app, **unknown)
