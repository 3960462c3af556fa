"""The drawings of the report: a chart by day, and the bars in a row of a table."""

from collections.abc import Sequence
from datetime import date
from itertools import count

from markupsafe import Markup

from detection.backtest.figures import NamedCount, TopCounts
from detection.base.svg import Scale, drawing, label, line, rectangle

WIDTH, HEIGHT = 440, 150
ORIGIN, TOP, BOTTOM = 44, 8, 132  # the edges of the bars; the numbers are left of them, the days below
GRID_LINES = 4  # at most, above the base line
DAY_LABELS = 6  # at most
DAY_LABEL_WIDTH = 36
NUMBER_SUFFIXES = ((10**9, "G"), (10**6, "M"), (10**3, "k"))  # 2500 is 2.5k


def chart_by_day(counts: Sequence[tuple[date, int]], unit: str) -> Markup:
    """Bars by day, with grid lines at round numbers. `unit` is a noun in the plural, and the bars' class."""
    maximum = max((number for _, number in counts), default=0)
    sizes = (factor * 10**power for power in count() for factor in (1, 2, 5))
    step = next(size for size in sizes if size * GRID_LINES >= maximum)
    top = max(step, -(-maximum // step) * step)
    x, y = Scale(0, max(1, len(counts)), ORIGIN, WIDTH), Scale(0, top, BOTTOM, TOP)
    shapes = []
    for amount in range(0, top + 1, step):
        height = y.position(amount)
        shapes.append(line(ORIGIN, height, WIDTH, height, "grid"))
        size, suffix = next((entry for entry in NUMBER_SUFFIXES if amount >= entry[0]), (1, ""))
        shapes.append(label(ORIGIN - 6, height + 4, f"{amount / size:g}{suffix}", "amount"))
    label_interval = -(-len(counts) // DAY_LABELS)
    for index, (day, number) in enumerate(counts):
        begin, end, height = x.position(index + 0.1), x.position(index + 0.9), y.position(number)
        tooltip = f"{day}: {number:,} {unit}"
        shapes.append(rectangle(begin, height, end - begin, BOTTOM - height, unit, tooltip))
        middle = x.position(index + 0.5)
        if index % label_interval == 0 and middle < WIDTH - DAY_LABEL_WIDTH / 2:
            shapes.append(label(middle, HEIGHT - 4, f"{day:%m-%d}", "day"))
    return drawing(shapes, WIDTH, HEIGHT, "chart", role="img", aria_label=f"{unit.capitalize()} by day")


def count_bars(counts: NamedCount, table: TopCounts) -> Markup:
    """The alerts and pairs of a row as bars, relative to the largest row. Only a zero has no visible bar."""
    bars = [
        ("alerts", 0, counts.alerts, max(row.alerts for row in table.top)),
        ("pairs", 55, counts.pairs, max(row.pairs for row in table.top)),
    ]
    shapes = [
        rectangle(0, y, max(0.5, 100 * number / maximum) if number else 0, 45, unit)
        for unit, y, number, maximum in bars
    ]
    return drawing(shapes, 100, 100, "row", preserveAspectRatio="none", role="presentation")
