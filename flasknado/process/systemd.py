"""What the service manager is told (sd_notify(3)): who is ready, what goes on, that all is well."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from flasknado.ops.bind import ARBITER_VARIABLE

ADDRESS_VARIABLE = "NOTIFY_SOCKET"

SEND_TIMEOUT_S = 1.0
STATUS_INTERVAL_S = 5.0
BEATS_PER_WATCHDOG = 3
"""How often the watchdog is fed in the time that it waits."""


class ServiceManager:
    """Tells systemd, if it has asked for that. Belongs to the arbiter's main thread."""

    def __init__(self, log: Any, environment: Mapping[str, str] = os.environ) -> None:
        self._log = log
        self._address = environment.get(ADDRESS_VARIABLE, "")
        self.watchdog_s = _watchdog_s(environment) if self._address else None
        """How long it waits for a sign of life before it restarts the service; None: forever."""
        self._ready = False
        self._reloading = False
        self._fed_at = 0.0
        self._status = ""
        self._status_at = 0.0

    @property
    def interval_s(self) -> float | None:
        """How often `look` must be called."""
        return self.watchdog_s / BEATS_PER_WATCHDOG if self.watchdog_s else None

    @contextlib.contextmanager
    def unheard(self) -> Iterator[None]:
        """Leave out what gunicorn tells by itself: that it is ready, before anybody serves."""
        address = os.environ.pop(ADDRESS_VARIABLE, None)
        try:
            yield
        finally:
            if address is not None:
                os.environ[ADDRESS_VARIABLE] = address

    def ready(self) -> None:
        """Say that requests are served, at the first call and after a reload."""
        if not self._ready or self._reloading:
            self._ready = True
            self._reloading = False
            self._tell("READY=1")

    def reloading(self) -> None:
        """Say that a reload begins; `ready` ends it."""
        self._reloading = True
        # What Type=notify-reload needs to tell this reload from an older one.
        self._tell(
            "RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"
        )

    def stopping(self, successor_pid: int = 0) -> None:
        """Say that the service stops, or which process goes on in its place (USR2)."""
        self._tell(f"MAINPID={successor_pid}" if successor_pid else "STOPPING=1")

    def look(self, alive: bool, status: Callable[[], str]) -> None:
        """Feed the watchdog if all is well, and tell the status if it has changed."""
        if not self._address:
            return
        now = time.monotonic()
        if self.interval_s is not None and alive and now - self._fed_at >= self.interval_s:
            self._fed_at = now
            self._tell("WATCHDOG=1")
        if now - self._status_at >= STATUS_INTERVAL_S:
            self._status_at = now
            self.say(status())

    def say(self, status: str) -> None:
        """Tell the status that `systemctl status` shows, unless it is the same still."""
        if status != self._status:
            self._status = status
            self._tell(f"STATUS={status}")

    def _tell(self, *assignments: str) -> None:
        if not self._address:
            return
        address = self._address
        if address.startswith("@"):
            address = "\0" + address[1:]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(SEND_TIMEOUT_S)
                sock.connect(address)
                sock.sendall("\n".join(assignments).encode())
        except OSError as error:
            self._log.warning("cannot notify systemd of %s: %s", " ".join(assignments), error)


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    """Return the time of a watchdog that watches this process, or the one that it replaces."""
    watched = environment.get("WATCHDOG_PID")
    if watched is not None and watched not in (str(os.getpid()), environment.get(ARBITER_VARIABLE)):
        return None
    microseconds = environment.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) else None
