"""Bar charts as shapes with places and sizes, for the page to draw as SVG. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 440, 150  # of a chart by day, in its own units
LEFT, BOTTOM, TOP = 44, 18, 8  # room for the numbers at the lines, for the days, and above the highest bar
LABELS = 6  # days that are named
EDGE = 18  # half of what a day's name takes
LINES = 4  # at most, above the ground line


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its place, its size, and what it says when one points at it."""

    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A text at a place of an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars by day, with lines to read them by."""

    bars: Sequence[Bar]
    lines: Sequence[Mark]
    labels: Sequence[Mark]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT


def by_day(values: Sequence[tuple[str, int]], unit: str) -> Chart:
    """A bar for each day; `unit` is what is counted, in the plural."""
    most = max((value for _, value in values), default=0)
    step = _step(most)
    top = max(1, -(-most // step)) * step
    room, scale = (WIDTH - LEFT) / max(1, len(values)), (HEIGHT - TOP - BOTTOM) / top
    ground = HEIGHT - BOTTOM
    bars = [
        Bar(
            x=round(LEFT + at * room + room * 0.1, 2),
            y=round(ground - value * scale, 2),
            width=round(room * 0.8, 2),
            height=round(value * scale, 2),
            title=f"{day}: {value:,} {unit}",
        )
        for at, (day, value) in enumerate(values)
    ]
    every = max(1, -(-len(values) // LABELS))
    labels = [
        Mark(round(LEFT + (at + 0.5) * room, 2), day[5:])
        for at, (day, _) in enumerate(values)
        if at % every == 0 and LEFT + (at + 0.5) * room < WIDTH - EDGE
    ]
    lines = [Mark(round(ground - value * scale, 2), _short(value)) for value in range(0, top + 1, step)]
    return Chart(bars, lines, labels)


def share(value: int, most: int) -> float:
    """How long a bar is beside the longest one, in percent; what is there can be seen."""
    return 0.0 if not value else round(max(0.5, 100 * value / most), 2)


def _step(most: int) -> int:
    """The round number between two lines: 1, 2 or 5 with as many noughts as it takes."""
    size = 1
    while True:
        for factor in (1, 2, 5):
            if factor * size * LINES >= most:
                return factor * size
        size *= 10


def _short(value: int) -> str:
    """A number that fits beside a line."""
    for size, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= size:
            return f"{value / size:g}{name}"
    return str(value)
