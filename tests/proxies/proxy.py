"""Proxies as they are deployed: nginx, HAProxy and Apache, each on a free port in a folder."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.poll import poll
from tests.support.programs import need

Upstream = str
"""`HOST:PORT` or `unix:PATH`."""

# The upstream and the location of the recipe in gunicorn's documentation ("Deploying Gunicorn").
GUNICORNS_RECIPE = """
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header Host $http_host;
    proxy_redirect off;
    proxy_pass http://app-server;
"""
BARE = "proxy_pass http://app-server;"
WITH_PREFIX = """
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Prefix /shop;
    proxy_pass http://app-server/;
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def running(command: Sequence[str], port: int) -> Iterator[int]:
    """Run a proxy in the foreground until the block ends; yields its port once it listens."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, process_group=0, text=True
    )
    assert process.stdout is not None

    def listens() -> bool:
        if process.poll() is not None:
            raise AssertionError(f"{command[0]} ended:\n{process.stdout and process.stdout.read()}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        poll(listens)
        yield port
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


def _user() -> tuple[str, str]:
    entry = pwd.getpwuid(os.getuid())
    return entry.pw_name, grp.getgrgid(entry.pw_gid).gr_name


@contextlib.contextmanager
def nginx(folder: Path, upstream: Upstream, location: str, path: str = "/") -> Iterator[int]:
    port = free_port()
    # As the server's own user, as its group may use the socket.
    user = f"user {' '.join(_user())};" if os.getuid() == 0 else ""
    configuration = folder / "nginx.conf"
    configuration.write_text(f"""
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream app-server {{ server {upstream} fail_timeout=0; }}
    server {{
        listen 127.0.0.1:{port};
        location {path} {{ {location} }}
    }}
}}
""")
    program = need("nginx")
    with running(
        (program, "-e", "stderr", "-p", str(folder), "-c", str(configuration)), port
    ) as listening:
        yield listening


@contextlib.contextmanager
def haproxy(folder: Path, upstream: Upstream, *options: str) -> Iterator[int]:
    """Debian's defaults, with `options` in the frontend."""
    port = free_port()
    lines = "\n    ".join(options)
    configuration = folder / "haproxy.cfg"
    configuration.write_text(f"""
defaults
    mode http
    timeout connect 5s
    timeout client 50s
    timeout server 50s
frontend site
    bind 127.0.0.1:{port}
    {lines}
    default_backend servers
backend servers
    server one {upstream}
""")
    with running((need("haproxy"), "-db", "-f", str(configuration)), port) as listening:
        yield listening


@contextlib.contextmanager
def apache(folder: Path, upstream: Upstream, *lines: str) -> Iterator[int]:
    port = free_port()
    program = need("apache2")
    modules = Path("/usr/lib/apache2/modules")
    user, group = _user()
    wanted = ("mpm_event", "authz_core", "proxy", "proxy_http", "headers")
    configuration = folder / "apache.conf"
    configuration.write_text(
        "\n".join(
            [
                *(f"LoadModule {name}_module {modules}/mod_{name}.so" for name in wanted),
                f"ServerRoot {folder}",
                f"PidFile {folder}/apache.pid",
                f"DefaultRuntimeDir {folder}",
                f"Listen 127.0.0.1:{port}",
                "ServerName localhost",
                "ErrorLog /dev/stderr",
                # Apache refuses to run as root, and by TCP anybody may be its user.
                *((f"User {'nobody' if user == 'root' else user}",) if os.getuid() == 0 else ()),
                *(
                    (f"Group {'nogroup' if group == 'root' else group}",)
                    if os.getuid() == 0
                    else ()
                ),
                *lines,
                f"ProxyPass / http://{upstream}/",
            ]
        )
        + "\n"
    )
    with running((program, "-DFOREGROUND", "-f", str(configuration)), port) as listening:
        yield listening
