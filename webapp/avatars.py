"""Pictures for names: the same name has the same picture, in any case. Pure."""

from __future__ import annotations

import hashlib

_CELLS = 5
_UNIT = 10
_MARGIN = 5


def svg(name: str) -> str:
    """Return an SVG picture of coloured squares, symmetric, which belongs to `name`."""
    digest = hashlib.sha256(name.lower().encode()).digest()
    hue = int.from_bytes(digest[:2]) % 360
    squares = []
    for column in range((_CELLS + 1) // 2):
        for row in range(_CELLS):
            if digest[2 + column * _CELLS + row] % 2:
                for mirrored in {column, _CELLS - 1 - column}:
                    x, y = _MARGIN + mirrored * _UNIT, _MARGIN + row * _UNIT
                    squares.append(f"M{x} {y}h{_UNIT}v{_UNIT}h-{_UNIT}z")
    side = 2 * _MARGIN + _CELLS * _UNIT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}">'
        f'<rect width="{side}" height="{side}" fill="hsl({hue} 45% 90%)"/>'
        f'<path d="{"".join(sorted(squares))}" fill="hsl({hue} 55% 38%)"/></svg>'
    )
