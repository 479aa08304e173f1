"""This project's server for live events, as the live benchmarks start it."""

from __future__ import annotations

from loadtests.bench.live_clients import TOKEN
from loadtests.servers import Server

SQLITE = "sqlite:///{folder}/live.db"


def flasknado(
    name: str, *, workers: int = 1, url: str = SQLITE, before: tuple[str, ...] = ()
) -> Server:
    """Return the server with a log of its own; `before` is a command that runs the rest of it."""
    return Server(
        name,
        (
            *before,
            *("env", f"LIVE_DATABASE_URL={url}", f"LIVE_PUBLISH_TOKEN={TOKEN}"),
            *("{venv}/flasknado", "--handlers", "flasknado.live:routes"),
            *("--bind", "127.0.0.1:{port}", "--workers", str(workers), "--threads", "{threads}"),
            *("--log-level", "warning", "loadtests.apps.live:app"),
        ),
        ("{venv}/flasknado", "--version"),
        "make install",
        "every event is committed to a database, and resumable",
    )
