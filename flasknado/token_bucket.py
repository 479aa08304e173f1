"""How often something may be done: a bucket that fills with time. Pure."""

from __future__ import annotations

import time


class TokenBucket:
    """Fills with `per_s` tokens a second up to `burst`; belongs to one thread.

    What is taken beyond that is owed, and the caller decides how much that may be.
    """

    __slots__ = ("_burst", "_left", "_per_s", "_taken_at")

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = self._left = burst
        self._taken_at = time.monotonic()

    def take(self, tokens: float = 1.0) -> float:
        """Take tokens; returns what is left, negative if more is taken than there was."""
        now = time.monotonic()
        gained = (now - self._taken_at) * self._per_s
        self._taken_at = now
        self._left = min(self._left + gained, self._burst) - tokens
        return self._left
