"""Sizes as people write them: `65536`, `64K`, `100M`, `2G`, in multiples of 1024. Pure."""

from __future__ import annotations

import re

from flasknado.errors import ConfigurationError

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

_SIZE = re.compile(r"([0-9]{1,18})\s*(?:([KMG])(?:i?B)?)?", re.IGNORECASE)
_UNITS = {"": 1, "K": KIB, "M": MIB, "G": GIB}


def size_bytes(value: object, name: str) -> int:
    """Return a size in bytes from an int or from text such as `64K`.

    Raises `ConfigurationError`, which calls the value by its `name`. Any thread.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ConfigurationError(
            f"{name} must be a whole number of bytes, or one with K, M or G such as 64K, "
            f"not {value!r}"
        )
    return int(match[1]) * _UNITS[(match[2] or "").upper()]
