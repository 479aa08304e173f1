"""Memory that was freed, given back to the system.

glibc keeps what was freed between two pieces that are in use; after a flood of bodies that is
most of them. `malloc_trim` gives back every whole page (malloc_trim(3)).
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from typing import Final

TRIM_BYTES: Final = 32 * 1024 * 1024
"""How much must have been freed at least, since it is done under the allocator's lock."""


def give_back_freed() -> None:
    """Have the allocator give back what is free, on a thread of its own; any thread.

    Does nothing where the C library has no such function.
    """
    with contextlib.suppress(RuntimeError):  # there is no thread to be had: after the next flood
        threading.Thread(target=_trim, name="flasknado-trim", daemon=True).start()


def _trim() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
