"""Standard streams that are closed, at the start or by the application, opened on the null device.

Otherwise the next socket or file would get such a number: what anything writes to standard error
would go to a client or into a database, and libuv never closes a connection that has it.
"""

from __future__ import annotations

import os
import sys


def open_missing() -> list[int]:
    """Open the null device for each standard descriptor that is closed; returns those that were.

    On the main thread.
    """
    missing: list[int] = []
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            missing.append(number)
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            stream = open(number, "w" if number else "r", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
    return missing
