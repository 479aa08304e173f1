"""The addresses to listen on, tried before gunicorn does, for one-line errors."""

from __future__ import annotations

import errno
import os
import socket

from gunicorn.config import Config

from flasknado.errors import AddressTaken, ConfigurationError
from flasknado.ops.bind import ARBITER_VARIABLE
from flasknado.process import environment
from flasknado.process.configuration import named
from flasknado.unix_path import check_unix_path

MAX_PORT = 65535


def check_addresses(cfg: Config) -> None:
    """Raise `ConfigurationError` if an address is in use or does not belong to this machine.

    Call it in the process that becomes the arbiter.
    """
    environment.check_port(cfg.bind)
    for address in _parsed(cfg):
        if isinstance(address, int):
            _check_descriptor(address)
        elif not isinstance(address, tuple):
            if not (address.startswith("\0") or _sockets_are_inherited()):
                check_unix_path(address)
        else:
            if not 0 <= address[1] <= MAX_PORT:
                raise ConfigurationError(
                    f"cannot listen on {address[0]}:{address[1]}: a port is a number from 0 to "
                    f"{MAX_PORT}"
                )
            if address[1] and not (cfg.reuse_port or _sockets_are_inherited()):
                _try(address)


def _parsed(cfg: Config) -> list[tuple[str, int] | str | int]:
    if not cfg.bind:
        raise ConfigurationError(
            f"{named(cfg, 'bind')} is empty: set HOST:PORT, unix:PATH or fd://FD"
        )
    try:
        parsed: list[tuple[str, int] | str | int] = cfg.address
    except RuntimeError as error:
        raise ConfigurationError(
            f"{named(cfg, 'bind')} is {', '.join(cfg.bind)}: {error}"
        ) from None
    return parsed


def _check_descriptor(descriptor: int) -> None:
    problem = ""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as sock:
            if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                problem = "the socket is not listening"
    except (OSError, OverflowError) as error:
        problem = getattr(error, "strerror", None) or str(error)
    if problem:
        raise ConfigurationError(
            f"cannot listen on fd://{descriptor} ({problem}): use the descriptor of a listening "
            f"socket that this process inherits"
        )


def _try(address: tuple[str, int]) -> None:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise _address_error(address, error) from None


def _sockets_are_inherited() -> bool:
    """Whether systemd, or an arbiter that this one replaces (USR2), listens already."""
    by_systemd = os.environ.get("LISTEN_PID") == str(os.getpid())
    return by_systemd or ARBITER_VARIABLE in os.environ


def _address_error(address: tuple[str, int], error: OSError) -> ConfigurationError:
    host, port = address
    if error.errno == errno.EADDRINUSE:
        return AddressTaken(
            f"port {port} on {host} is in use by another program: stop it, or choose another port"
        )
    if error.errno == errno.EACCES:
        return ConfigurationError(
            f"port {port} needs the privilege to bind ports below 1024: choose a higher port"
        )
    return ConfigurationError(
        f"cannot listen on {host}:{port} ({error.strerror}): choose another address"
    )
