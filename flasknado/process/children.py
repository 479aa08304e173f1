"""Processes that an application forks: they are not the server, and keep nothing of it.

A forked process inherits the signal handlers of its parent and the descriptor that tells the
parent's loop of signals, so a TERM for the child would drain the server. It also inherits
every socket, so a client would not see its connection end while the child lives, and the port
would stay taken after the server has gone. One hook at every fork (`os.register_at_fork`) lets
go of all of that in the child, and signals wait meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

_DESCRIPTORS = next((p for p in (Path("/proc/self/fd"), Path("/dev/fd")) if p.is_dir()), None)

_HANDLED = (
    signal.SIGABRT,
    signal.SIGCHLD,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
)
"""What an arbiter or a worker listens to; in a child each does what it does by default."""

_ports: set[int] = set()
_paths: set[str] = set()
_forking = threading.local()
_registered = False


def disown_children(listening: Iterable[socket.socket]) -> None:
    """From now on, let forked children keep no signal handler and no socket of the server.

    listening: the server's listening sockets; what was accepted on them is known by its local
    address. Call it on the main thread before the application runs.
    """
    global _registered
    for sock in listening:
        sock.set_inheritable(False)  # for programs started without `close_fds`
        address = sock.getsockname()
        if isinstance(address, tuple):
            _ports.add(address[1])
        else:
            _paths.add(address)
    if not _registered:
        _registered = True
        os.register_at_fork(
            before=_hold_signals, after_in_parent=_release_signals, after_in_child=_let_go
        )


def _hold_signals() -> None:
    """Have a signal for the child wait until the parent's handlers are off it."""
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def _release_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _let_go() -> None:
    signal.set_wakeup_fd(-1)
    for number in _HANDLED:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        for descriptor in list(_server_sockets()):
            # Not closed, but replaced: whoever owns the number in this copy may close it still.
            os.dup2(nothing, descriptor, inheritable=False)
    finally:
        os.close(nothing)
        _release_signals()


def _server_sockets() -> Iterator[int]:
    """Yield the descriptors of the listening sockets and of all that was accepted on them."""
    if _DESCRIPTORS is None:
        return
    for entry in list(_DESCRIPTORS.iterdir()):
        descriptor = int(entry.name)
        with contextlib.suppress(OSError):
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                continue
            sock = socket.socket(fileno=descriptor)
            try:
                address = sock.getsockname()
            finally:
                sock.detach()
            if isinstance(address, tuple):
                known = sock.type == socket.SOCK_STREAM and address[1] in _ports
            else:
                known = address in _paths
            if known:
                yield descriptor
