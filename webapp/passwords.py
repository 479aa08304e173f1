"""Hashing passwords (bcrypt), on a few threads of its own with a bounded queue.

A hash takes a fifth of a second of a processor, on purpose. Without a bound as many would run
at once as there are view threads, and whoever only reads would wait for a processor. When the
queue is full the request is answered 503 with `Retry-After`, at once. Called on view threads,
which wait for the result; no transaction is open meanwhile.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from flask import Flask, current_app
from werkzeug.exceptions import ServiceUnavailable

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
    """At most `threads` calls at once and `queue` that wait. May be used on any thread."""

    def __init__(self, threads: int, queue: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="webapp-passwords")
        self._places = threading.Semaphore(threads + queue)

    def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what the function returns, in the caller's context.

        Raises:
            PoolFullError: there is no place (503).
        """
        if not self._places.acquire(blocking=False):
            raise PoolFullError
        try:
            context = contextvars.copy_context()
            call = partial(context.run, function, *args, **kwargs)
            return self._executor.submit(call).result()
        finally:
            self._places.release()


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
    hashed: bytes = _pool().run(bcrypt.generate_password_hash, password)
    return hashed.decode("ascii")


def matches(password_hash: str, password: bytes) -> bool:
    """Whether this is the password of a hash; raises `PoolFullError` (503)."""
    return bool(_pool().run(bcrypt.check_password_hash, password_hash, password))


def _pool() -> HashingPool:
    pool: HashingPool = current_app.extensions[EXTENSION_KEY]
    return pool
