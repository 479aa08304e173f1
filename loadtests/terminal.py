"""What the commands tell the person at the terminal."""

from __future__ import annotations

import contextlib

INTERRUPTED_STATUS = 130
"""The exit status after Ctrl-C, as a shell gives it."""


def say(line: str) -> None:
    """Print a line at once, so that progress is seen in a pipe too."""
    with contextlib.suppress(BrokenPipeError):
        print(line, flush=True)  # noqa: T201 (the user's terminal)
