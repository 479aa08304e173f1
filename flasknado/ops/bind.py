"""An address of their own for the endpoints of operations (`--ops-bind`).

The socket is made once, in the arbiter's process, and every worker inherits it: no two
processes bind one address, and the kernel hands each connection to one worker.
"""

from __future__ import annotations

import atexit
import os
import socket
from pathlib import Path

from gunicorn.util import parse_address
from tornado.netutil import bind_unix_socket

from flasknado.errors import ConfigurationError
from flasknado.unix_path import check_unix_path

BACKLOG = 128
UNIX_MODE = 0o660
ARBITER_VARIABLE = "GUNICORN_PID"
"""What an arbiter leaves in the environment of the one that takes its place."""

_sockets: dict[str, socket.socket] = {}


def shared_socket(address: str) -> socket.socket:
    """Return the listening socket of an address, made at the first call, before any fork.

    address: `HOST:PORT`, `[IPv6]:PORT` or `unix:PATH`. Raises `ConfigurationError`.
    """
    sock = _sockets.get(address)
    if sock is None:
        sock = _sockets[address] = _bound(address)
    return sock


def name_of(sock: socket.socket) -> str:
    """Return a listening socket's address as a URL."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{name}"
    return f"http://[{name[0]}]:{name[1]}" if ":" in name[0] else f"http://{name[0]}:{name[1]}"


def _bound(address: str) -> socket.socket:
    try:
        where = parse_address(address, default_port="-1")
        if isinstance(where, int) or where[1:] == (-1,):
            raise ValueError("write HOST:PORT or unix:PATH")
        if isinstance(where, str):
            if ARBITER_VARIABLE not in os.environ:
                check_unix_path(where)
            sock = bind_unix_socket(where, UNIX_MODE, BACKLOG)
            atexit.register(_unlink, where, os.getpid())
            return sock
        family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
        # A new arbiter (USR2) binds it while the old one still listens; anybody else must not.
        if ARBITER_VARIABLE not in os.environ:
            socket.create_server(where, family=family).close()
        sock = socket.create_server(where, family=family, backlog=BACKLOG, reuse_port=True)
    except (OSError, OverflowError, RuntimeError, ValueError) as error:
        raise ConfigurationError(
            f"cannot listen on {address!r} ({error}): choose another address"
        ) from None
    sock.setblocking(False)
    return sock


def _unlink(path: str, process: int) -> None:
    # A worker inherits this; the socket is its arbiter's.
    if os.getpid() == process:
        Path(path).unlink(missing_ok=True)
