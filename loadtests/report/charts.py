"""Charts as SVG: lines over the number of users, bars around a ratio of one, and spans of time.

Colours come from the page's style sheet (`.s0` to `.s7`), so that one picture serves light and
dark. Positions are in the units of the picture's `viewBox`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 420, 250
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 14, 40
BAR_HEIGHT, BAR_GAP = 18, 10
BAR_LEFT, BAR_RIGHT = 150, 110
HATCH_GAP = 7
SPAN_HEIGHT, SPAN_GAP = 16, 8
COLOURS = 8
TIMES = "\N{MULTIPLICATION SIGN}"

DASHES = {"p50": "", "p95": "6 3", "p99": "1.5 3"}


@dataclass(frozen=True)
class Line:
    """Points (x, y, low, high) in ascending order of x; `series` chooses the colour."""

    label: str
    series: int
    points: Sequence[tuple[float, float, float, float]]
    dash: str = ""


@dataclass(frozen=True)
class Bar:
    """A value with its least and greatest; one that is `doubtful` is hatched."""

    label: str
    series: int
    value: float
    low: float
    high: float
    doubtful: bool = False


@dataclass(frozen=True)
class Span:
    """What half, 95 % and 99 % of all answers stay below, in ms."""

    label: str
    series: int
    p50: float
    p95: float
    p99: float


def lines(title: str, drawn: Sequence[Line], *, logarithmic: bool = False) -> str:
    """Return a chart of lines over the number of users; the bands are the rounds' ranges."""
    points = [point for line in drawn for point in line.points]
    xs = sorted({point[0] for point in points})
    top = max((point[3] for point in points), default=1.0) or 1.0
    bottom = min((point[2] for point in points if point[2] > 0), default=1.0)
    y_of, ticks = _logarithmic(bottom, top) if logarithmic else _linear(top)
    step = (WIDTH - LEFT - RIGHT) / max(len(xs) - 1, 1)

    def x_of(users: float) -> float:
        # Numbers of users are steps, not a scale: 1, 8 and 32 stand equally far apart.
        return LEFT + (xs.index(users) * step if len(xs) > 1 else step / 2)

    parts = [_open(title, HEIGHT)]
    for tick in ticks:
        y = y_of(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(_text(LEFT - 6, y + 4, short(tick), "end"))
    parts += [_text(x_of(x), HEIGHT - BOTTOM + 18, f"{x:g}", "middle") for x in xs]
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(_text(middle, HEIGHT - 6, "users", "middle", "axis"))
    for line in drawn:
        parts.append(_line(line, x_of, y_of))
    return "".join([*parts, "</svg>"])


def _line(line: Line, x_of: Callable[[float], float], y_of: Callable[[float], float]) -> str:
    colour = f"s{line.series % COLOURS}"
    places = [(x_of(x), y_of(y)) for x, y, _, _ in line.points]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    upper = [f"{x_of(x):.1f} {y_of(high):.1f}" for x, _, _, high in line.points]
    lower = [f"{x_of(x):.1f} {y_of(low):.1f}" for x, _, low, _ in reversed(line.points)]
    dash = f' stroke-dasharray="{line.dash}"' if line.dash else ""
    dots = "".join(
        f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3">'
        f"<title>{escape(line.label)}, {point[0]:g} users: {short(point[1])}</title></circle>"
        for (x, y), point in zip(places, line.points, strict=True)
    )
    band = f'<path class="band" d="M{"L".join([*upper, *lower])}Z"/>' if not line.dash else ""
    return f'<g class="{colour}">{band}<path class="line" d="{path}"{dash}/>{dots}</g>'


def bars(title: str, drawn: Sequence[Bar]) -> str:
    """Return bars from 1 to each ratio on a logarithmic scale, with the rounds' range."""
    low = min([bar.low for bar in drawn] + [0.5])
    high = max([bar.high for bar in drawn] + [2.0])
    height = TOP + len(drawn) * (BAR_HEIGHT + BAR_GAP) + 26
    span = math.log(high / low) or 1.0

    def x_of(ratio: float) -> float:
        share = math.log(max(ratio, low) / low) / span
        return BAR_LEFT + share * (WIDTH * 2 - BAR_LEFT - BAR_RIGHT)

    parts = [_open(title, height, WIDTH * 2)]
    bottom = height - 24
    for tick in (tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if low <= tick <= high):
        emphasis = "one" if tick == 1 else "grid"
        parts.append(f'<path class="{emphasis}" d="M{x_of(tick):.1f} {TOP - 6}V{bottom}"/>')
        parts.append(_text(x_of(tick), height - 6, f"{TIMES}{tick:g}", "middle"))
    for number, bar in enumerate(drawn):
        y = TOP + number * (BAR_HEIGHT + BAR_GAP)
        middle = y + BAR_HEIGHT / 2
        left, right = sorted((x_of(1), x_of(bar.value)))
        parts.append(_text(BAR_LEFT - 8, middle + 4, bar.label, "end", "name"))
        parts.append(
            f'<g class="s{bar.series % COLOURS}"><rect class="bar" x="{left:.1f}" y="{y:.1f}"'
            f' width="{max(right - left, 1):.1f}" height="{BAR_HEIGHT}" rx="2"/>'
            f"{_hatching(left, right, y) if bar.doubtful else ''}"
            f'<path class="range" d="M{x_of(bar.low):.1f} {middle:.1f}H{x_of(bar.high):.1f}"/></g>'
        )
        parts.append(
            _text(
                max(right, x_of(bar.high)) + 6,
                middle + 4,
                f"{TIMES}{bar.value:.2f}{' (no result)' if bar.doubtful else ''}",
                "start",
                "value",
            )
        )
    return "".join([*parts, "</svg>"])


def _hatching(left: float, right: float, top: float) -> str:
    """Return strokes across a bar: no pattern, which would have to be referred to by `url()`."""
    bottom = top + BAR_HEIGHT
    strokes: list[str] = []
    x = left - BAR_HEIGHT + HATCH_GAP
    while x < right:
        # From the lower left to the upper right, as far as the bar goes.
        begin, end = max(x, left), min(x + BAR_HEIGHT, right)
        strokes.append(f"M{begin:.1f} {bottom - begin + x:.1f}L{end:.1f} {bottom - end + x:.1f}")
        x += HATCH_GAP
    return f'<path class="hatch" d="{"".join(strokes)}"/>'


def spans(title: str, drawn: Sequence[Span]) -> str:
    """Return a line from p50 (a dot) over p95 (a stroke) to p99 for each; logarithmic."""
    values = [value for span in drawn for value in (span.p50, span.p95, span.p99)]
    first = math.floor(math.log10(min(values)))
    last = max(math.ceil(math.log10(max(values))), first + 1)
    labels = [span.label for span in drawn]
    gaps = [SPAN_GAP * len(set(labels[: number + 1])) for number in range(len(labels))]
    height = TOP + len(drawn) * SPAN_HEIGHT + gaps[-1] + 26

    def x_of(ms: float) -> float:
        share = (math.log10(ms) - first) / (last - first)
        return BAR_LEFT + share * (WIDTH * 2 - BAR_LEFT - BAR_RIGHT)

    parts = [_open(title, height, WIDTH * 2)]
    for tick in (10.0**power for power in range(first, last + 1)):
        parts.append(f'<path class="grid" d="M{x_of(tick):.1f} {TOP - 6}V{height - 24}"/>')
        parts.append(_text(x_of(tick), height - 6, f"{short(tick)} ms", "middle"))
    for number, span in enumerate(drawn):
        y = TOP + number * SPAN_HEIGHT + gaps[number]
        if span.label not in labels[:number]:
            parts.append(_text(BAR_LEFT - 8, y + 4, span.label, "end", "name"))
        left, middle, right = map(x_of, (span.p50, span.p95, span.p99))
        what = f"{span.label}: {short(span.p50)}, {short(span.p95)}, {short(span.p99)} ms"
        parts.append(
            f'<g class="s{span.series % COLOURS}"><title>{escape(what)}</title>'
            f'<path class="line" d="M{left:.1f} {y:.1f}H{right:.1f}M{middle:.1f} {y - 5:.1f}v10"/>'
            f'<circle class="dot" cx="{left:.1f}" cy="{y:.1f}" r="4"/></g>'
        )
        parts.append(_text(right + 8, y + 4, short(span.p99), "start", "value"))
    return "".join([*parts, "</svg>"])


def short(value: float) -> str:
    """Return a number with two or three digits, thousands as k."""
    if value >= 10_000:
        return f"{value / 1000:.0f}k"
    if value >= 1000:
        return f"{value / 1000:.1f}".removesuffix(".0") + "k"
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _linear(top: float) -> tuple[Callable[[float], float], list[float]]:
    size = 10 ** math.floor(math.log10(top))
    step = next(size * part for part in (0.1, 0.2, 0.5, 1, 2) if top <= size * part * 5.001)
    ticks = [step * count for count in range(math.ceil(top / step) + 1)]
    room = HEIGHT - TOP - BOTTOM
    return lambda value: HEIGHT - BOTTOM - value / ticks[-1] * room, ticks


def _logarithmic(bottom: float, top: float) -> tuple[Callable[[float], float], list[float]]:
    first, last = math.floor(math.log10(bottom)), math.ceil(math.log10(top))
    last = max(last, first + 1)
    ticks = [10.0**power for power in range(first, last + 1)]
    room = HEIGHT - TOP - BOTTOM

    def y_of(value: float) -> float:
        share = (math.log10(max(value, ticks[0])) - first) / (last - first)
        return HEIGHT - BOTTOM - share * room

    return y_of, ticks


def _open(title: str, height: float, width: float = WIDTH) -> str:
    label = escape(title, quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img"'
        f' aria-label="{label}">'
    )


def _text(x: float, y: float, text: str, anchor: str, kind: str = "tick") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
    )
