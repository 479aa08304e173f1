from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.support.process import ServerProcess, server_process
from tests.unmodified.environments import Environments
from tests.unmodified.walking import Walker, assert_same

takes_long = pytest.mark.skipif(
    "UNMODIFIED" not in os.environ, reason="large products are used by `make unmodified`"
)

Host = Callable[..., AbstractContextManager[ServerProcess]]
Use = Callable[[Walker], None]
TheSame = Callable[[str, str, Use], None]

APPLICATIONS = Path(__file__).with_name("applications")
TIMES = r"\d{4}-\d\d-\d\d[T ][\d:.]+(\+00:00|Z| UTC)?", r"\w{3}, \d\d \w{3} \d{4} [\d:]+ GMT"
VARYING = (
    *TIMES,
    r'name="csrfmiddlewaretoken" value="\w+"',
    r"opaquelocktoken:[-0-9a-fx]+",
    r'"(access|refresh)_token":"[^"]+"',
    r'"(request_id|requestId)":"[^"]+"',
    r"quota-[a-z]+-bytes>\d+|\b\d+-\d{10}-\d+\b",  # of the disk; an ETag
    r"\b([0-9a-f]{32}|\d{13})\b",  # a run's id; milliseconds
    r'"end_id":"[^"]+"',  # Dash's, of a page
    r"\b(\d{1,2}(:\d\d)? [ap]\.m\.|noon|midnight)",  # Django's times of day
    r"\d{4}-\d\d-\d\d[_-][\d-]+h?\d*",  # in the name of a file
    r'"(\w*time\w*|run_uuid|run_id|\w*_uri|timestamp)": ?("[^"]*"|[\d.]+)',
    r"\?m=\d+|\.v\d+_\d+_\d+m\d+",
    r'nonce="[^"]+"|"sid":"[^"]+"',
    r"\bI[\w-]{40,}\.[\w-]{6}\.[\w-]{20,}",  # signed by itsdangerous
)
ENVIRONMENT = {
    "FOLDER": "{folder}",
    "PYTHONWARNINGS": "ignore",
    "PYTHONHASHSEED": "0",  # some show sets
    "_MLFLOW_SERVER_FILE_STORE": "sqlite:///{folder}/mlflow.db",
    "_MLFLOW_SERVER_REGISTRY_STORE": "sqlite:///{folder}/mlflow.db",
    "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
    "_MLFLOW_SERVER_ARTIFACT_DESTINATION": "{folder}/artifacts",
    "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    "CONFIG_DISTRO_FILE_PATH": str(APPLICATIONS / "pgadmin_config.py"),
    "PGADMIN_SETUP_EMAIL": "ann@example.org",
    "PGADMIN_SETUP_PASSWORD": "a long secret",
}


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


@pytest.fixture
def the_same(host: Host, gunicorn: Host, tmp_path: Path) -> TheSame:
    """`the_same(environment, "MODULE:APP", use)` uses it under gunicorn and us, and compares."""

    def the_same(environment: str, application: str, use: Use) -> None:
        walked = []
        for name, run in (("gunicorn", gunicorn), ("ours", host)):
            folder = tmp_path / name
            folder.mkdir()
            env = {name: value.format(folder=folder) for name, value in ENVIRONMENT.items()}
            with run(environment, application, cwd=APPLICATIONS, env=env) as server:
                walker = Walker(server.url, *VARYING, str(folder))
                use(walker)
                walked.append(walker.answers)
        assert_same(*walked)

    return the_same
