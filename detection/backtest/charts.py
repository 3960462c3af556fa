"""Bar charts as shapes with places and sizes, for the page to draw as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 440, 150  # of a chart by day, in its own units
LEFT_MARGIN, BOTTOM, TOP = (
    44,
    18,
    8,
)  # room for the numbers at the lines, for the days, and above the highest bar
LABELS = 6  # days that are named
EDGE = 18  # half of what a day's name takes
LINES = 4  # at most, above the ground line


@dataclass(frozen=True, slots=True)
class ChartBar:
    """One bar: its place, its size, and what it says when one points at it."""

    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True, slots=True)
class AxisLabel:
    """A text at a place of an axis."""

    position: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars by day, with lines to read them by."""

    bars: Sequence[ChartBar]
    lines: Sequence[AxisLabel]
    labels: Sequence[AxisLabel]
    width: int = WIDTH
    height: int = HEIGHT
    left_margin: int = LEFT_MARGIN


def chart_by_day(values: Sequence[tuple[str, int]], unit: str) -> Chart:
    """A bar for each day; `unit` is what is counted, in the plural."""
    maximum = max((value for _, value in values), default=0)
    step = _line_step(maximum)
    top = max(1, -(-maximum // step)) * step
    day_width, scale = (WIDTH - LEFT_MARGIN) / max(1, len(values)), (HEIGHT - TOP - BOTTOM) / top
    baseline = HEIGHT - BOTTOM
    bars = [
        ChartBar(
            x=round(LEFT_MARGIN + index * day_width + day_width * 0.1, 2),
            y=round(baseline - value * scale, 2),
            width=round(day_width * 0.8, 2),
            height=round(value * scale, 2),
            title=f"{day}: {value:,} {unit}",
        )
        for index, (day, value) in enumerate(values)
    ]
    label_interval = max(1, -(-len(values) // LABELS))
    labels = [
        AxisLabel(round(LEFT_MARGIN + (index + 0.5) * day_width, 2), day[5:])
        for index, (day, _) in enumerate(values)
        if index % label_interval == 0 and LEFT_MARGIN + (index + 0.5) * day_width < WIDTH - EDGE
    ]
    lines = [
        AxisLabel(round(baseline - value * scale, 2), _short_number(value))
        for value in range(0, top + 1, step)
    ]
    return Chart(bars, lines, labels)


def bar_percent(value: int, maximum: int) -> float:
    """How long a bar is beside the longest one, in percent; what is there can be seen."""
    return 0.0 if not value else round(max(0.5, 100 * value / maximum), 2)


def _line_step(maximum: int) -> int:
    """The round number between two lines: 1, 2 or 5 with as many noughts as it takes."""
    size = 1
    while True:
        for factor in (1, 2, 5):
            if factor * size * LINES >= maximum:
                return factor * size
        size *= 10


def _short_number(value: int) -> str:
    """A number that fits beside a line."""
    for size, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= size:
            return f"{value / size:g}{name}"
    return str(value)
