"""The servers that are compared, as data: how each is started, installed, and what it is good at.

Shared by `loadtests.loadtest` and `loadtests.bench`. In commands and files `{name}` stands for a
field of `Target`.
"""

from __future__ import annotations

import getpass
import grp
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv" / "bin"
BENCH = ROOT / ".venv-bench" / "bin"

INSTALL_BENCH = "make .venv-bench/.bench"
# The stamp may be there already, from when a server could not be built.
REBUILD_BENCH = "make --always-make .venv-bench/.bench"
INSTALL_MOD_WSGI = "apt-get install apache2 libapache2-mod-wsgi-py3"
VERSION_TIMEOUT_S = 20
_PYTHON_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class Target:
    """What a server is asked to serve, and where."""

    port: int
    folder: str
    module: str = "loadtests.apps.views"
    attribute: str = "app"
    handlers: str = "loadtests.apps.native:routes"
    threads: int = 16
    workers: int = 1

    def fill(self, text: str) -> str:
        """Return a command's part or a file's text with the fields in their places."""
        as_root = os.geteuid() == 0
        return text.format(
            **asdict(self),
            root=ROOT,
            venv=VENV,
            bench=BENCH,
            python_version=_PYTHON_VERSION,
            site_packages=BENCH.parent / f"lib/python{_PYTHON_VERSION}/site-packages",
            # Apache refuses to answer requests as root.
            user="nobody" if as_root else getpass.getuser(),
            group="nogroup" if as_root else grp.getgrgid(os.getgid()).gr_name,
        )


@dataclass(frozen=True)
class Server:
    """A server of the table.

    `version` is a command whose output names the version; it fails when the server is not
    installed. `workers` is its number of processes, where there may be more than one. `files` are
    written into the target's folder before the start. `pooled` says whether views run on
    `Target.threads` threads, `native` whether Tornado's handlers run beside, `single` that there is
    one thread for everything. `max_body_bytes` is the largest body that it takes, where that is
    less than is asked of the others. `python_path` is where it finds the application.
    """

    name: str
    command: tuple[str, ...]
    version: tuple[str, ...]
    install: str
    good_at: str
    pooled: bool = True
    native: bool = False
    single: bool = False
    workers: int = 1
    max_body_bytes: int | None = None
    python_path: str = "{root}"
    files: Mapping[str, str] = field(default_factory=dict)

    def installed_version(self) -> str | None:
        """Return the version, or `None` if the server is not installed."""
        nowhere = Target(0, "")
        try:
            done = subprocess.run(
                [nowhere.fill(part) for part in self.version],
                capture_output=True,
                text=True,
                timeout=VERSION_TIMEOUT_S,
                check=True,
                cwd=ROOT,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip().splitlines()[0] if done.stdout.strip() else None


def _version_of(distribution: str, python: str = "{bench}/python") -> tuple[str, ...]:
    program = f"from importlib.metadata import version; print(version({distribution!r}))"
    return (python, "-c", program)


def _flask_and_werkzeug() -> tuple[str, ...]:
    program = (
        "from importlib.metadata import version;"
        " print('Flask', version('flask') + ', Werkzeug', version('werkzeug'))"
    )
    return ("{venv}/python", "-c", program)


def _ours(layer: str, environment: str = "{venv}") -> tuple[str, ...]:
    return (
        environment + "/flasknado",
        *("--http", layer, "--handlers", "{handlers}"),
        *("--bind", "127.0.0.1:{port}", "--workers", "{workers}"),
        *("--threads", "{threads}", "--log-level", "warning", "{module}:{attribute}"),
    )


def _gunicorn(worker: str, *options: str) -> tuple[str, ...]:
    return (
        *("{bench}/gunicorn", "--worker-class", worker, "--workers", "1", *options),
        *("--bind", "127.0.0.1:{port}", "--keep-alive", "75", "--log-level", "warning"),
        *("--no-control-socket", "{module}:{attribute}"),
    )


def _uwsgi(socket_option: str, threads: str, *options: str) -> tuple[str, ...]:
    return (
        *("{bench}/uwsgi", "--master", socket_option, "127.0.0.1:{port}", "--processes", "1"),
        *("--threads", threads, "--disable-logging", "--die-on-term", *options),
        *("--module", "{module}:{attribute}"),
    )


def _peregrine(threads: str) -> tuple[str, ...]:
    return (
        *("{bench}/peregrine", "--host", "127.0.0.1", "--port", "{port}", "--workers", "1"),
        *("--wsgi-threads", threads, "--keep-alive", "75000", "--protocol", "wsgi"),
        "{module}:{attribute}",
    )


_TABLE = (
    Server(
        "flasknado",
        _ours("llhttp"),
        _version_of("flasknado", "{venv}/python"),
        "make install",
        "views and live endpoints in one process",
        native=True,
    ),
    Server(
        "flasknado-compiled",
        _ours("llhttp", "{bench}"),
        (
            *("{bench}/python", "-P", "-c"),
            "from importlib.metadata import version; from flasknado.http import parser;"
            " assert not parser.__file__.endswith('.py'); print(version('flasknado'))",
        ),
        f"apt-get install gcc python3-dev && {REBUILD_BENCH}",
        "the same, its hot modules compiled to C from the same source (make wheel)",
        native=True,
        python_path="",  # else the source would go before what is installed
    ),
    Server(
        "flasknado-stock",
        _ours("tornado"),
        _version_of("flasknado", "{venv}/python"),
        "make install",
        "the same on Tornado's own connections, where llhttp has no wheel",
        native=True,
    ),
    Server(
        "flask-dev",
        (
            *("{venv}/flask", "--app", "{module}:{attribute}", "run", "--without-threads"),
            *("--no-reload", "--no-debugger", "--host", "127.0.0.1", "--port", "{port}"),
        ),
        _flask_and_werkzeug(),
        "make install",
        "developing: it reloads and has a debugger; one request at a time",
        pooled=False,
        single=True,
    ),
    Server(
        "tornado-wsgi",
        (
            *("{bench}/python", "-m", "loadtests.apps.serve", "tornado"),
            *("{module}:{attribute}", "{port}", "{threads}"),
        ),
        _version_of("tornado"),
        INSTALL_BENCH,
        "a few WSGI pages beside a Tornado application",
        native=True,
    ),
    Server(
        "gunicorn-gthread",
        _gunicorn("gthread", "--threads", "{threads}"),
        _version_of("gunicorn"),
        INSTALL_BENCH,
        "ordinary sites, with the best known process management",
    ),
    Server(
        "gunicorn-gevent",
        _gunicorn("gevent"),
        _version_of("gevent"),
        INSTALL_BENCH,
        "many waiting requests, if every library can be patched",
        pooled=False,
    ),
    Server(
        "waitress",
        (
            *("{bench}/waitress-serve", "--listen", "127.0.0.1:{port}"),
            *("--threads", "{threads}", "--connection-limit", "1000", "{module}:{attribute}"),
        ),
        _version_of("waitress"),
        INSTALL_BENCH,
        "Windows too, nothing to compile",
    ),
    Server(
        "cheroot",
        (
            *("{bench}/cheroot", "--bind", "127.0.0.1:{port}", "--threads", "{threads}"),
            *("--max-threads", "{threads}", "{module}:{attribute}"),
        ),
        _version_of("cheroot"),
        INSTALL_BENCH,
        "being embedded in a Python program",
    ),
    Server(
        "uwsgi",
        _uwsgi("--http-socket", "{threads}", "--add-header", "Connection: close"),
        _version_of("pyuwsgi"),
        INSTALL_BENCH,
        "a great many features; a connection for each request",
    ),
    Server(
        "uwsgi-keepalive",
        _uwsgi("--http11-socket", "64"),
        _version_of("pyuwsgi"),
        INSTALL_BENCH,
        "the same with kept-alive connections: each one holds one of its 64 threads",
        pooled=False,
    ),
    Server(
        "mod_wsgi",
        ("/usr/sbin/apache2", "-D", "FOREGROUND", "-f", "{folder}/httpd.conf"),
        # The module must be for the Python that the peers' packages are for.
        (
            *("sh", "-c"),
            "test -e /usr/lib/apache2/modules/mod_wsgi.so-{python_version}"
            " && test -x {bench}/python && /usr/sbin/apache2 -v",
        ),
        f"{INSTALL_MOD_WSGI} && {INSTALL_BENCH}",
        "a machine where Apache serves everything else",
        files={
            "httpd.conf": Path(__file__).with_name("httpd.conf").read_text(encoding="utf-8"),
            "app.wsgi": "from {module} import {attribute} as application\n",
        },
    ),
    Server(
        "granian",
        (
            *("{bench}/granian", "--interface", "wsgi", "--host", "127.0.0.1"),
            *("--port", "{port}", "--workers", "1", "--blocking-threads", "{threads}"),
            *("--backlog", "16384", "--backpressure", "16384"),
            *("--no-ws", "--log-level", "warning", "{module}:{attribute}"),
        ),
        _version_of("granian"),
        INSTALL_BENCH,
        "short views at a high rate, HTTP/2",
    ),
    Server(
        "granian-1",
        (
            *("{bench}/granian", "--interface", "wsgi", "--host", "127.0.0.1"),
            *("--port", "{port}", "--workers", "1", "--blocking-threads", "1"),
            *("--no-ws", "--log-level", "warning", "{module}:{attribute}"),
        ),
        _version_of("granian"),
        INSTALL_BENCH,
        "the same with one thread: no view may wait",
        pooled=False,
        single=True,
    ),
    Server(
        "bjoern",
        (
            *("{bench}/python", "-m", "loadtests.apps.serve", "bjoern"),
            *("{module}:{attribute}", "{port}", "{threads}"),
        ),
        _version_of("bjoern"),
        f"apt-get install gcc python3-dev libev-dev && {REBUILD_BENCH}",
        "short views on one thread: no view may wait",
        pooled=False,
        single=True,
    ),
    Server(
        "fastwsgi",
        (
            *("{bench}/fastwsgi", "--host", "127.0.0.1", "--port", "{port}"),
            "{module}:{attribute}",
        ),
        _version_of("fastwsgi"),
        f"apt-get install gcc python3-dev && {REBUILD_BENCH}",
        "short views on one thread: no view may wait",
        pooled=False,
        single=True,
    ),
    Server(
        "fastpysgi",
        (
            *("{bench}/fastpysgi", "--host", "127.0.0.1", "--port", "{port}"),
            "{module}:{attribute}",
        ),
        _version_of("fastpysgi"),
        INSTALL_BENCH,
        "what FastWSGI has become, with ASGI and TLS; one thread: no view may wait",
        pooled=False,
        single=True,
    ),
    Server(
        "freastal",
        (
            *("{bench}/python", "-m", "loadtests.apps.serve", "freastal"),
            *("{module}:{attribute}", "{port}", "{threads}"),
        ),
        _version_of("freastal"),
        INSTALL_BENCH,
        "short views and bodies of 16 KiB on one thread: no view may wait",
        pooled=False,
        single=True,
        max_body_bytes=16_000,
    ),
    Server(
        "peregrine",
        _peregrine("{threads}"),
        _version_of("peregrine-server"),
        INSTALL_BENCH,
        "HTTP/2, HTTP/3 and certificates of its own getting, with WebSocket for ASGI",
    ),
    Server(
        "peregrine-1",
        _peregrine("1"),
        _version_of("peregrine-server"),
        INSTALL_BENCH,
        "the same with one thread, its default: no view may wait",
        pooled=False,
        single=True,
    ),
)

SERVERS: Mapping[str, Server] = {server.name: server for server in _TABLE}
OURS = "flasknado"
OURS_COMPILED = "flasknado-compiled"
OURS_ON_STOCK = "flasknado-stock"
ALL_OURS = (OURS, OURS_COMPILED, OURS_ON_STOCK)


def with_workers(count: int) -> Server:
    """Return our server with more than one worker, each of which may have a core."""
    ours = SERVERS[OURS]
    return replace(ours, name=f"{OURS}-{count}-workers", workers=count)
