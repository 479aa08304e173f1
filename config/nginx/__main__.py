"""`python -m config.nginx`: start two servers and nginx, and end all three together."""

from __future__ import annotations

import argparse
import http.client
import os
import resource
import shutil
import signal
import socket
import stat
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from config import PROJECT_ROOT, Settings, SettingsError, load_settings
from config.nginx.processes import ProcessEnded, ProcessSet, Stopped
from config.nginx.template import Site, render

DEFAULT_PORT = 8080
SERVERS = 2
HOST = "127.0.0.1"
TRUSTED_FIELDS = "proto,for,host,request-id"
"""What nginx.conf sets on every request."""
READY_PATH = "/-/readyz"
READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 40.0
INSTALL_NGINX = "apt-get install nginx-light"


class CannotStart(Exception):
    """Why the set does not run, in one sentence."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until a signal; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m config.nginx", description=__doc__)
    parser.add_argument(
        "command",
        nargs="*",
        help="starts one server that listens on {port}; without it, this project's server.py",
    )
    command = parser.parse_args(arguments).command or [sys.executable, "server.py"]
    try:
        with tempfile.TemporaryDirectory(prefix="flasknado-nginx-") as folder:
            run(load_settings(), command, Path(folder))
    except Stopped:
        return 0
    except (CannotStart, ProcessEnded, SettingsError) as error:
        print(error, file=sys.stderr)  # noqa: T201 (the user's terminal)
        return 1
    return 0


def run(settings: Settings, command: Sequence[str], folder: Path) -> None:
    """Start everything and watch it; returns by an exception only.

    Raises `CannotStart`, `ProcessEnded` if one of the three ends, `Stopped` on a signal.
    """
    nginx = find_nginx()
    port = int(os.environ["PORT"]) if os.environ.get("PORT") else DEFAULT_PORT
    port = port or free_ports(1)[0]
    check_free(port)
    # When root starts nginx, its workers are somebody else, who must reach what is inside.
    folder.chmod(0o711)
    server_ports = free_ports(SERVERS)
    with ProcessSet(STOP_TIMEOUT_S) as processes:
        for number in server_ports:
            pid = processes.start(
                f"the server on port {number}",
                [part.replace("{port}", str(number)) for part in command],
                {
                    "HOST": HOST,
                    "PORT": str(number),
                    "TRUSTED_PROXIES": f"{HOST}/32",
                    "TRUSTED_FIELDS": TRUSTED_FIELDS,
                    "FORWARDED_ALLOW_IPS": HOST,
                    "FLASKNADO_TRUSTED_FIELDS": TRUSTED_FIELDS,
                },
            )
            say(f"server: http://{HOST}:{number} (pid {pid})")
        for number in server_ports:
            wait_until_ready(processes, number, f"the server on port {number}")
        site = Site(
            address=f"{HOST}:{port}",
            servers=[f"{HOST}:{number}" for number in server_ports],
            folder=folder,
            max_body_mb=settings.max_body_mb,
            open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
            access_log=access_log(),
        )
        written = folder / "nginx.conf"
        written.write_text(render(site), encoding="utf-8")
        pid = processes.start(
            "nginx",
            # -e: the log that is built in may belong to root.
            [nginx, "-e", "stderr", "-p", str(folder), "-c", str(written)],
            stop_signal=signal.SIGQUIT,
        )
        wait_until_ready(processes, port, "nginx")
        say(f"nginx:  http://{HOST}:{port} (pid {pid}); Ctrl-C ends all {SERVERS + 1}")
        while True:
            processes.pause()


def find_nginx() -> str:
    """Return nginx's path; raises `CannotStart`."""
    # Debian keeps it where ordinary users do not look.
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"))
    nginx = shutil.which("nginx", path=path)
    if nginx is None:
        raise CannotStart(f"nginx is not installed: run {INSTALL_NGINX}")
    return nginx


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on now."""
    sockets = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [int(listener.getsockname()[1]) for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


def check_free(port: int) -> None:
    """Raise `CannotStart` if nginx cannot listen on the port."""
    try:
        socket.create_server((HOST, port)).close()
    except PermissionError:
        raise CannotStart(
            f"PORT={port} needs the right to bind ports below 1024: choose a port above, as in "
            f"PORT={DEFAULT_PORT} python -m config.nginx"
        ) from None
    except OSError as error:
        raise CannotStart(
            f"PORT={port} cannot be listened on ({error.strerror}): stop the program that has it, "
            f"or choose another port, as in "
            f"PORT={port + 1 if port < 65535 else 8080} python -m config.nginx"
        ) from None


def wait_until_ready(processes: ProcessSet, port: int, name: str) -> None:
    """Return when `READY_PATH` answers 200; raises `CannotStart` when that takes too long."""
    for _ in range(int(READY_TIMEOUT_S / 0.1)):
        if is_ready(port):
            return
        processes.pause(0.1)
    raise CannotStart(
        f"{name} did not answer {READY_PATH} within {READY_TIMEOUT_S:.0f} s: see its messages above"
    )


def is_ready(port: int) -> bool:
    """Whether the server on a port of this machine says that it is ready."""
    connection = http.client.HTTPConnection(HOST, port, timeout=1)
    try:
        connection.request("GET", READY_PATH)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def access_log() -> str:
    """Return the directive's value: the terminal or the pipe that this process writes to."""
    try:
        mode = os.fstat(1).st_mode
    except OSError:
        return "off"
    shared = stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)
    # nginx opens the path anew, so it would write over the servers' lines in a file.
    return "/dev/stdout upstream" if shared else "off"


def say(line: str) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)  # noqa: T201 (the user's terminal)


if __name__ == "__main__":
    os.chdir(PROJECT_ROOT)
    sys.exit(main())
