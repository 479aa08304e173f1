"""Fixtures of the live tests: an application, and a server around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.flasknado.live.helpers import LiveApp, make_app
from tests.support.pgbouncer import Pgbouncer
from tests.support.pgbouncer import pgbouncer as run_pgbouncer
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.serving import Serving, serving
from tests.support.silent_proxy import SilentProxy, silent_proxy


@pytest.fixture
def make_live_app(tmp_path: Path) -> Iterator[Callable[..., LiveApp]]:
    """Return a function that makes applications, by default on one database file."""
    made: list[LiveApp] = []

    def make(**options: Any) -> LiveApp:
        made.append(make_app(tmp_path, **options))
        return made[-1]

    yield make
    for live_app in made:
        live_app.log.close()
        with live_app.app.app_context():
            live_app.db.engine.dispose()
        if hasattr(live_app.log, "engine"):
            live_app.engine().dispose()


@pytest.fixture
def make(
    make_live_app: Callable[..., LiveApp], request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[..., LiveApp]:
    """Return a function that makes an application with a log of a kind."""

    def make(kind: str, **config: object) -> LiveApp:
        if kind == "memory":
            return make_live_app(log_url="memory://", **config)
        if kind.startswith("sqlite"):
            url = f"sqlite:///{tmp_path}/log.db"
        else:
            server: PostgresServer = request.getfixturevalue("postgres")
            url = server.url()
        return make_live_app(**{"log_url" if "apart" in kind else "url": url}, **config)

    return make


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def pgbouncer(postgres: PostgresServer) -> Iterator[Pgbouncer]:
    with run_pgbouncer(postgres) as program:
        yield program


@pytest.fixture
def proxied(postgres: PostgresServer) -> Iterator[tuple[SilentProxy, str]]:
    """Return a proxy that can fall silent, and the URL of a database behind it."""
    url = sa.make_url(postgres.url())
    with silent_proxy(postgres.socket_path) as proxy:
        behind = url.set(host="127.0.0.1", port=proxy.port, query={})
        yield proxy, behind.render_as_string(hide_password=False)


@pytest.fixture
def live_app(make_live_app: Callable[..., LiveApp]) -> LiveApp:
    return make_live_app()


@pytest.fixture
def serve() -> Iterator[Callable[[LiveApp], Serving]]:
    """Return a function that serves an application until the test ends."""
    with ExitStack() as stack:
        yield lambda live_app: stack.enter_context(serving(live_app.server))


@pytest.fixture
def served(live_app: LiveApp, serve: Callable[[LiveApp], Serving]) -> Serving:
    return serve(live_app)
