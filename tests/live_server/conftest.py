from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.process import ServerProcess, server_process

StartServer = Callable[..., ServerProcess]


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Start the bundled application's server, on a database of this test's own."""
    with ExitStack() as stack:

        def start(**env: str) -> ServerProcess:
            ours = {
                "DATABASE_URL": f"sqlite:///{tmp_path}/app.db",
                "SECRET_KEY": "a-secret-for-tests-that-is-long-enough-to-pass",
                **env,
            }
            return stack.enter_context(server_process(env=ours))

        yield start


@pytest.fixture
def server(start_server: StartServer) -> ServerProcess:
    return start_server()
