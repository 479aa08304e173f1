"""Standard streams that were closed when the process started, opened on the null device.

Otherwise the next socket or file would get such a number, and what anything writes to standard
error would go to a client or into a database.
"""

from __future__ import annotations

import os
import sys


def open_missing() -> None:
    """Open the null device for each standard descriptor that is closed. On the main thread."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            stream = open(number, "w" if number else "r", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
