"""What code costs, in work and not in seconds: lines run and bytes moved, in some modules."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from types import FrameType, ModuleType
from typing import Any, SupportsIndex
from unittest import mock


class Work:
    """The work that was counted."""

    def __init__(self) -> None:
        self.lines = 0
        self.bytes = 0
        """Copied or added up, by what is written in C."""

    @property
    def total(self) -> int:
        return self.lines + self.bytes


@contextlib.contextmanager
def counted(*modules: ModuleType) -> Iterator[Work]:
    """Count the work of these modules, on this thread, until the block ends.

    They must be interpreted. What they copy with `bytes` and `bytearray`, and sum with
    `sum`, is counted because these names mean something else to them meanwhile.
    """
    work = Work()

    class CountedArray(bytearray):
        def __init__(self, source: Any = b"") -> None:
            super().__init__(source)
            work.bytes += len(self)

        def __iadd__(self, other: Any) -> CountedArray:
            work.bytes += len(other)
            super().__iadd__(other)
            return self

        def extend(self, other: Any) -> None:
            work.bytes += len(other)
            super().extend(other)

        def __getitem__(self, key: Any) -> Any:
            found = super().__getitem__(key)
            if isinstance(key, slice):
                work.bytes += len(found)
            return found

        def __delitem__(self, key: SupportsIndex | slice) -> None:
            if isinstance(key, slice) and key.start not in (None, 0):
                work.bytes += len(self)  # the front goes without moving the rest
            super().__delitem__(key)

    def counted_bytes(source: Any = b"") -> bytes:
        made = bytes(source)
        work.bytes += len(made)
        return made

    def counted_sum(items: Iterable[int], start: int = 0) -> int:
        listed = list(items)
        work.bytes += len(listed)
        return sum(listed, start)

    files = {module.__file__ for module in modules}

    def enter(frame: FrameType, _event: str, _argument: object) -> Any:
        return line if frame.f_code.co_filename in files else None

    def line(_frame: FrameType, event: str, _argument: object) -> Any:
        work.lines += event == "line"
        return line

    with contextlib.ExitStack() as patches:
        for module in modules:
            names = {"bytearray": CountedArray, "bytes": counted_bytes, "sum": counted_sum}
            for name, stand_in in names.items():
                patches.enter_context(mock.patch.object(module, name, stand_in, create=True))
        before = sys.gettrace()
        sys.settrace(enter)
        try:
            yield work
        finally:
            sys.settrace(before)
