from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.support.process import ServerProcess, server_process
from tests.unmodified.environments import Environments

takes_long = pytest.mark.skipif(
    "UNMODIFIED" not in os.environ, reason="large products are used by `make unmodified`"
)

Host = Callable[..., AbstractContextManager[ServerProcess]]


@pytest.fixture(scope="session")
def environments(pytestconfig: pytest.Config) -> Environments:
    """The environments of other people's applications, kept in pytest's cache."""
    cache = pytestconfig.cache
    assert cache is not None
    return Environments(Path(cache.mkdir("environments")))


@pytest.fixture(scope="session")
def host(environments: Environments) -> Host:
    """`host(environment, "MODULE:APP", *options, cwd=..., env=...)` runs it under the command."""

    def host(
        name: str, *arguments: str, **options: object
    ) -> AbstractContextManager[ServerProcess]:
        command = ("-m", "flasknado.process.cli", "--bind", "127.0.0.1:0", *arguments)
        return server_process(command, python=environments.python(name), **options)  # type: ignore[arg-type]

    return host


@pytest.fixture(scope="session")
def gunicorn(environments: Environments) -> Host:
    """`gunicorn(environment, "MODULE:APP", cwd=..., env=...)` runs it under gunicorn's threads."""

    @contextmanager
    def gunicorn(name: str, *arguments: str, **options: object) -> Iterator[ServerProcess]:
        command = ("-m", "gunicorn", "--threads", "8", "--bind", "127.0.0.1:0", *arguments)
        python = environments.python(name)
        with server_process(command, python=python, ready=False, **options) as server:  # type: ignore[arg-type]
            server.url = server.wait_for_output(r"Listening at: (http://\S+)")[1]
            yield server

    return gunicorn


@pytest.fixture(scope="session")
def flask_run(environments: Environments) -> Host:
    """`flask_run(environment, "MODULE:APP", cwd=...)` runs it under Werkzeug's server."""

    @contextmanager
    def flask_run(name: str, application: str, **options: object) -> Iterator[ServerProcess]:
        command = ("-m", "flask", "--app", application, "run", "--port", "0")
        python = environments.python(name)
        with server_process(command, python=python, ready=False, **options) as server:  # type: ignore[arg-type]
            server.url = server.wait_for_output(r"Running on (http://\S+)")[1]
            yield server

    return flask_run
