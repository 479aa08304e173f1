"""Hashing passwords (bcrypt), on a few threads of its own with a bounded queue.

A hash takes a fifth of a second of a processor, on purpose. Without a bound as many would run
at once as there are view threads, and whoever only reads would wait for a processor. When the
queue is full the request is answered 503 with `Retry-After`, at once; one address never has more
than half of the places, so that nobody can keep everybody else out. Called on view threads, which
wait for the result; no transaction is open meanwhile.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from flask import Flask, current_app
from werkzeug.exceptions import ServiceUnavailable

from webapp.addresses import address
from webapp.extensions import bcrypt

EXTENSION_KEY = "webapp.passwords"
RETRY_AFTER_S = 3
_QUEUE_PER_THREAD = 4

P = ParamSpec("P")
R = TypeVar("R")


class PoolFullError(ServiceUnavailable):
    """Too many passwords are being hashed (503)."""

    def __init__(self) -> None:
        super().__init__(
            "Many people log in at this moment: try again in a few seconds.",
            retry_after=RETRY_AFTER_S,
        )


class HashingPool:
    """At most `threads` calls at once and `queue` that wait. May be used on any thread.

    Each caller has a share of these places: half of them, and one at the least.
    """

    def __init__(self, threads: int, queue: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="webapp-passwords")
        self._places = threads + queue
        self._share = (self._places + 1) // 2
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def taken(self) -> int:
        """How many calls run or wait."""
        with self._lock:
            return self._taken.total()

    def run(self, whose: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what the function returns, in the caller's context.

        Args:
            whose: whom the place is counted for.
            function: what is called, with the other arguments.

        Raises:
            PoolFullError: there is no place, or none of `whose` (503).
        """
        with self._lock:
            if self._taken.total() >= self._places or self._taken[whose] >= self._share:
                raise PoolFullError
            self._taken[whose] += 1
        try:
            context = contextvars.copy_context()
            call = partial(context.run, function, *args, **kwargs)
            return self._executor.submit(call).result()
        finally:
            with self._lock:
                self._taken[whose] -= 1
                if not self._taken[whose]:
                    del self._taken[whose]


def register(app: Flask, view_threads: int) -> None:
    """Give `app` its pool: half the processors, and at most half the view threads in it.

    `PASSWORD_THREADS` and `PASSWORD_QUEUE` in Flask's configuration say otherwise.
    """
    threads = max(1, min((os.cpu_count() or 1) // 2, view_threads // 4))
    threads = app.config.setdefault("PASSWORD_THREADS", threads)
    queue = max(1, min(threads * _QUEUE_PER_THREAD, view_threads // 2 - threads))
    queue = app.config.setdefault("PASSWORD_QUEUE", queue)
    app.extensions[EXTENSION_KEY] = HashingPool(threads, queue)


def hash_of(password: str) -> str:
    """Return the hash of a password; raises `PoolFullError` (503)."""
    hashed: bytes = _pool().run(address(), bcrypt.generate_password_hash, password)
    return hashed.decode("ascii")


def matches(password_hash: str, password: bytes) -> bool:
    """Whether this is the password of a hash; raises `PoolFullError` (503)."""
    return bool(_pool().run(address(), bcrypt.check_password_hash, password_hash, password))


def _pool() -> HashingPool:
    pool: HashingPool = current_app.extensions[EXTENSION_KEY]
    return pool
