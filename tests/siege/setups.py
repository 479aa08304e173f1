"""The servers that are attacked: real processes on free ports of 127.0.0.1."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from tests.siege.attack import Target
from tests.support.process import PROJECT_ROOT, ServerProcess, server_process

THREADS = 4
SENDING_TIMEOUT_S = 1.0
"""How long a head may take, and how long a body is watched."""
HEARTBEAT_S = 0.5
SUBSCRIBE_TIMEOUT_S = 0.5
HANG_S = 6.0
"""How long the authorisation of one channel takes."""
BEHIND = "/behind/"
"""Below it nobody asks for anything but an attack, behind a request that ends its connection."""
MEMORY_LIMIT_MB = 64
MAX_CONNECTIONS = 1_000
FEW_DESCRIPTORS = 120
SMALL_FILES_BLOCKS = 1_000
"""How large a file may become, in blocks of 512 bytes: the stand-in for a disk that is full."""
SECRET_KEY = "a-secret-for-sieges-that-is-long-enough-to-pass"
PUBLISH_TOKEN = "a-token-for-sieges-to-publish"


@dataclass(frozen=True)
class Besieged:
    """A server that runs, and what is done to its surroundings while it is attacked."""

    process: ServerProcess
    layer: str
    page: str
    """An ordinary page."""
    trouble: Callable[[], AbstractContextManager[object]] = nullcontext

    @property
    def target(self) -> Target:
        return Target(self.process.port, self.layer)

    @property
    def worker(self) -> int:
        """The process id of the worker that serves now."""
        return int(self.process.wait_for_output(r"Serving as worker with pid: (\d+)")[1])


Setup = Callable[[Path], AbstractContextManager[Besieged]]


def small(layer: str = "llhttp", *options: str, limits: str = "") -> Setup:
    """Return the small application's server, under the shell's `limits` if there are any."""

    @contextlib.contextmanager
    def start(folder: Path) -> Iterator[Besieged]:
        command = (
            *("-m", "flasknado.process.cli", "--bind", "127.0.0.1:0", "--http", layer),
            *("--threads", str(THREADS), "--worker-connections", str(MAX_CONNECTIONS)),
            *("--header-timeout", str(SENDING_TIMEOUT_S), "--body-timeout", str(SENDING_TIMEOUT_S)),
            *("--write-timeout", "5"),
            *("--max-body", "20M", "--memory-limit", f"{MEMORY_LIMIT_MB}M", *options),
            *("--handlers", "tests.siege.application:routes", "tests.siege.application:app"),
        )
        env = {"PYTHONPATH": str(PROJECT_ROOT), "LIVE_PUBLISH_TOKEN": PUBLISH_TOKEN}
        python = sys.executable
        if limits:
            command = ("-c", f'{limits} && exec "$@"', "sh", python, *command)
            python = "sh"
        with server_process(command, cwd=folder, env=env, python=python) as process:
            yield Besieged(process, layer, "/")

    return start


def bundled(**settings: str) -> Setup:
    """Return the bundled application's server on a SQLite file."""

    @contextlib.contextmanager
    def start(folder: Path) -> Iterator[Besieged]:
        env = {
            "DATABASE_URL": f"sqlite:///{folder}/app.db",
            "SECRET_KEY": SECRET_KEY,
            "THREADS": str(THREADS),
            "CORS_ORIGINS": "*",
            **settings,
        }
        with server_process(env=env) as process:
            yield Besieged(process, "llhttp", "/")

    return start


@contextlib.contextmanager
def silent_database(folder: Path) -> Iterator[Besieged]:
    """Run the bundled application on a PostgreSQL that says nothing while it is attacked."""
    from tests.support.postgres import postgres_server
    from tests.support.silent_proxy import silent_proxy

    with postgres_server() as postgres:
        url = postgres.url()
        socket_folder = url.partition("?host=")[2]
        with silent_proxy(Path(socket_folder) / ".s.PGSQL.5432") as proxy:

            @contextlib.contextmanager
            def silence() -> Iterator[None]:
                proxy.silence()
                try:
                    yield
                finally:
                    proxy.resume()

            through = url.replace("@/", f"@127.0.0.1:{proxy.port}/").partition("?")[0]
            quick = {
                "DATABASE_CONNECT_TIMEOUT_S": "2",
                "DATABASE_STATEMENT_TIMEOUT_S": "3",
                "DATABASE_SILENCE_TIMEOUT_S": "6",
                "DATABASE_POOL_TIMEOUT_S": "1",
            }
            with bundled(DATABASE_URL=through, **quick)(folder) as besieged:
                yield Besieged(besieged.process, besieged.layer, besieged.page, silence)


SETUPS: dict[str, Setup] = {
    "small": small(),
    "small, tornado": small("tornado"),
    "bundled": bundled(),
    "few descriptors": small(limits=f"ulimit -n {FEW_DESCRIPTORS}"),
    "full disk": small(limits=f"ulimit -f {SMALL_FILES_BLOCKS}"),
    "silent database": silent_database,
}
