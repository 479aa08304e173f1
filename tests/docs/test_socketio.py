"""The blocks of `docs/socketio.md`, run as printed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import sqlalchemy as sa

from tests.docs.walkthrough import blocks

APPLICATION, PROGRAM = (block.text for block in blocks("docs/socketio.md"))
LOG = "/var/lib/shop/log.db"


def run(program: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def test_application_of_the_page_answers_who_joins_a_room(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APPLICATION, encoding="utf-8")

    printed = run(
        "from app import app, socketio\n"
        "client = socketio.test_client(app)\n"
        "client.emit('join', 'hall')\n"
        "print([(event['name'], event['args']) for event in client.get_received()])\n",
        tmp_path,
    )

    assert printed == "[('joined', ['somebody'])]\n"


def test_program_without_a_server_emits_into_the_log(tmp_path: Path) -> None:
    assert LOG in PROGRAM
    log = tmp_path / "log.db"

    run("from flasknado.socketio import SocketIO\n" + PROGRAM.replace(LOG, str(log)), tmp_path)

    with sa.create_engine(f"sqlite:///{log}").connect() as connection:
        data = connection.scalars(sa.text("SELECT data FROM live_buffered")).all()
    assert [text for text in data if "deployed" in text]
