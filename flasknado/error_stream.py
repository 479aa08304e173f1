"""`wsgi.errors` of a process without standard error: the error log. Pure."""

from __future__ import annotations

import logging
from collections.abc import Iterable

log = logging.getLogger("flasknado.error")


class ErrorStream:
    """A text stream (PEP 3333, "Input and Error Streams"). May be used on any thread."""

    def write(self, text: str) -> int:
        """Log a text; returns its length."""
        if text.strip():
            log.error("%s", text.rstrip("\n"))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Log lines together."""
        self.write("".join(lines))

    def flush(self) -> None:
        """Do nothing: all is written."""
