"""Where a person goes after logging in: a path of this site, never another site."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

# Browsers strip tabs and line ends from addresses and read a backslash as a slash
# (WHATWG URL, 4.4), so "/\evil.example" would lead away.
_DANGEROUS = re.compile(r"[\x00-\x20\\\x7f]")


def safe_path(target: str | None, fallback: str) -> str:
    """Return `target` if it is an absolute path of this site, else `fallback`."""
    if not target or not target.startswith("/") or target.startswith("//"):
        return fallback
    if _DANGEROUS.search(target):
        return fallback
    parts = urlsplit(target)
    return fallback if parts.scheme or parts.netloc else target
