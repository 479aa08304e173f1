"""`docs/socketio.md` says what is so: its examples run, and its numbers are the code's."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from flasknado.live.options import LiveOptions
from flasknado.socketio import SocketIO, bus, client, emitter, packet, server
from flasknado.socketio.engineio.options import EngineOptions
from flasknado.socketio.options import SocketIOOptions
from tests.support.process import PROJECT_ROOT

TEXT = (PROJECT_ROOT / "docs" / "socketio.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", TEXT, re.M | re.S)


def test_application_of_the_page_runs() -> None:
    names: dict[str, Any] = {"__name__": "page"}
    exec(EXAMPLES[0], names)
    test_client = names["socketio"].test_client(names["app"])
    test_client.emit("join", "room")
    assert [event["args"] for event in test_client.get_received()] == [["somebody"]]


def test_program_of_the_page_emits(tmp_path: Path) -> None:
    program = EXAMPLES[1].replace("/var/lib/shop/log.db", f"{tmp_path}/log.db")
    exec(program, {"SocketIO": SocketIO})
    assert (tmp_path / "log.db").is_file()


def test_limits_of_the_page_are_those_of_the_code() -> None:
    table = TEXT.partition("## What happens at each limit")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| (.+?) \| (.+?) \|", table, re.M))
    options, engine = SocketIOOptions(), EngineOptions()
    assert (
        rows["a message, or a POST"] == f"`max_http_buffer_size={engine.max_payload_bytes:_}` bytes"
    )
    assert rows["attachments of one event"].startswith(f"{packet.MAX_ATTACHMENTS},")
    assert rows["events of a client that wait for its handlers"] == str(server.MAX_JOBS)
    assert rows["clients that wait for a thread"] == f"`handler_queue={options.queue_limit}`"
    assert rows["namespaces of a connection"] == str(server.MAX_NAMESPACES)
    assert rows["rooms of a client"] == f"{client.MAX_ROOMS:,}"
    assert rows["answers that a client owes"] == f"{client.MAX_CALLBACKS:,}"
    assert rows["data that waits for all clients"] == f"{emitter.BACKLOG_BYTES >> 20} MiB"
    assert rows["an event for other processes"] == f"{bus.MAX_EVENT_BYTES:,} bytes"
    assert rows["no namespace"] == f"{server.CONNECT_TIMEOUT_S:g} s"
    assert rows["an upgrade to WebSocket"] == f"{engine.upgrade_timeout_s:g} s"
    assert f"handler_threads={options.threads}" in TEXT
    assert LiveOptions().buffered_retention_s == 300
    assert LiveOptions().poll_s == 0.02


def test_settings_that_the_page_names_exist() -> None:
    options = {f"LIVE_{field.name.upper()}" for field in dataclasses.fields(LiveOptions)}
    assert set(re.findall(r"\bLIVE_[A-Z_]+\b", TEXT)) <= options
