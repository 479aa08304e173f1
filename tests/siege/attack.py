"""What an attack is, what it reports, and what it may cost."""

from __future__ import annotations

import collections
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Target:
    """The server that is attacked, on 127.0.0.1."""

    port: int
    layer: str
    """The connection layer: llhttp or tornado."""

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@dataclass
class Report:
    """What an attacker did, and what the server made of it."""

    sent_bytes: int = 0
    answers: collections.Counter[str] = field(default_factory=collections.Counter)
    """How often each answer came: a status, `close 1008`, or `closed` without one."""
    broken: list[str] = field(default_factory=list)
    """The promises that the attacker saw broken."""

    def expect(self, kept: object, promise: str) -> None:
        """Note a promise that was not kept."""
        if not kept:
            self.broken.append(promise)


@dataclass(frozen=True)
class Attack:
    """One way to do harm. `run` is called in a process of its own, and takes about `seconds`."""

    name: str
    what: str
    run: Callable[[Target, float], Report]
    setups: tuple[str, ...]
    judged_s: float = 0.0
    """How long it takes at least in the long form, for promises that only that judges."""
    memory_mb: float = 48.0
    """How much more memory the worker may need meanwhile."""
    kept_mb: float = 40.0
    """How much more it may have afterwards: the allocator keeps some of what was freed."""
    health_ms: float = 20.0
    """The bound of the health page's median; its longest is judged by `HEALTH_WORST_MS`."""
    page_ms: float | None = 150.0
    """The bound of the page's median; `None` if the page may be refused or late."""
    health_fails: bool = False
    """Whether the health page may stay without an answer, for want of a connection."""
    logs_tracebacks: bool = False
    """Whether the application has a reason to log tracebacks, which no client can give it."""
