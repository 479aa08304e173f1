"""The servers of the live benchmarks: this project's, and those to compare it with."""

from __future__ import annotations

from loadtests.bench.live_clients import TOKEN
from loadtests.servers import INSTALL_BENCH, OURS, Server

NCHAN_MODULE = "/usr/lib/nginx/modules/ngx_nchan_module.so"
NCHAN_CONFIGURATION = """
load_module {module};
daemon off;
master_process off;
pid {{folder}}/nginx.pid;
error_log stderr error;
worker_rlimit_nofile 20000;
events {{{{ worker_connections 20000; }}}}
http {{{{
    access_log off;
    client_body_temp_path {{folder}}/body;
    proxy_temp_path {{folder}}/proxy;
    fastcgi_temp_path {{folder}}/fastcgi;
    uwsgi_temp_path {{folder}}/uwsgi;
    scgi_temp_path {{folder}}/scgi;
    keepalive_requests 1000000;
    server {{{{
        listen 127.0.0.1:{{port}};
        location = / {{{{ return 200 "Hello, World!"; }}}}
        location = /subscribe {{{{
            nchan_subscriber websocket eventsource;
            nchan_subscriber_first_message newest;
            nchan_channel_id $arg_channel;
        }}}}
        location = /publish {{{{
            nchan_publisher;
            nchan_channel_id $arg_channel;
        }}}}
    }}}}
}}}}
"""
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


def peers(nchan_module: str = NCHAN_MODULE) -> dict[str, Server]:
    """Return this project's server, and others that tell many clients of events."""
    return {
        OURS: flasknado(OURS),
        "tornado": _tornado("tornado", "asyncio"),
        "tornado-uvloop": _tornado("tornado-uvloop", "uvloop"),
        "nchan": Server(
            "nchan",
            ("nginx", "-p", "{folder}", "-c", "{folder}/nginx.conf"),
            ("sh", "-c", f"test -e {nchan_module} && nginx -v 2>&1"),
            "apt-get install nginx libnginx-mod-nchan",
            "a pub/sub server in C, events in its memory",
            files={"nginx.conf": NCHAN_CONFIGURATION.format(module=nchan_module)},
        ),
    }


def _tornado(name: str, loop: str) -> Server:
    return Server(
        name,
        ("{bench}/python", "-m", "loadtests.apps.live_tornado", "{port}", loop),
        ("{bench}/python", "-c", "import tornado; print(tornado.version)"),
        INSTALL_BENCH,
        f"the loop over a set that one writes oneself, on {loop}",
    )
