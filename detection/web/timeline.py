"""The timeline of an incident: changes above the axis, signals below it, and the time after a change shaded.

Its resolution is a quarter of an hour, as in the evidence: thousands of events need no more room than a few.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup

from detection.base.svg import Scale, drawing, element, label, line, rectangle
from detection.incidents.evidence import QUARTER
from detection.incidents.extent import Quarters
from detection.messages.text import in_words, plural
from detection.rules.model import Rule, Side
from detection.web.incident_view import IncidentView

HEIGHT, MARGIN = 226, 8
TOP, AXIS, BOTTOM = 2, 74, 198  # of the grid; bars end above its bottom, the times are below it
MAX_BAR_HEIGHT, MAX_BAR_WIDTH = 112, 18
FULL_BAR = 6  # signals, at least: a single signal is a low bar
SHORTEST = 2 * 3600  # seconds on the axis
COLOURS = 5  # of kinds of signals; further kinds share the last
NUMBERED_MARKS = 24  # with more, the numbers next to the marks overlap
TABLE_ROWS = 96
TICK_WIDTH = 95
HOUR, DAY = 3600, 86_400
STEPS = (QUARTER, 2 * QUARTER, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 14 * DAY)


@dataclass(frozen=True, slots=True)
class SignalKind:
    """An entry of the legend: the number of its colour, the label and the number of signals."""

    colour: int
    label: str
    signals: int


@dataclass(frozen=True, slots=True)
class Slot:
    """A row of the table: the beginning of a quarter of an hour (UTC), and its events in words."""

    begin: str
    changes: str
    signals: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """The timeline as drawings and as a table of the newest quarters of an hour, the oldest first.

    The style sheet shows the drawing that fits the window.
    `busiest` is the largest number of signals in a quarter of an hour.
    """

    drawings: Sequence[Markup]
    kinds: Sequence[SignalKind]
    busiest: int
    slots: Sequence[Slot]
    older_slots: int


def timeline(view: IncidentView, rule: Rule) -> Timeline | None:
    """The timeline of an incident. None if its alerts have expired."""
    if not view.changes or not view.signals:
        return None
    sides = ((view.changes, rule.sequence.changes), (view.signals, rule.sequence.signals))
    changes, signals = _totals(view.changes), _totals(view.signals)
    quarters = sorted({*changes, *signals})
    totals_by_kind = {kind: sum(numbers.values()) for kind, numbers in view.signals.items()}
    kinds = sorted(totals_by_kind, key=totals_by_kind.__getitem__, reverse=True)
    colours = {kind: min(index, COLOURS - 1) for index, kind in enumerate(kinds)}
    label_of = rule.sequence.signals.label
    return Timeline(
        drawings=[
            _drawing(view, rule, colours, "wide", 1000),
            _drawing(view, rule, colours, "narrow", 360),
        ],
        kinds=[SignalKind(colours[kind], label_of(kind), totals_by_kind[kind]) for kind in kinds],
        busiest=max(signals.values()),
        slots=[
            Slot(_time(quarter), *(_in_words(events, side, quarter) for events, side in sides))
            for quarter in quarters[-TABLE_ROWS:]
        ],
        older_slots=max(0, len(quarters) - TABLE_ROWS),
    )


def _drawing(view: IncidentView, rule: Rule, colours: Mapping[str, int], name: str, width: int) -> Markup:
    """The background first, then the signals by kind from the axis down, then the changes."""
    sequence = rule.sequence
    changes, signals = _totals(view.changes), _totals(view.signals)
    begin, end = min(*changes, *signals), max(*changes, *signals) + QUARTER
    spare = max((end - begin) // 12, (SHORTEST - (end - begin)) // 2, QUARTER)
    x = Scale(begin - spare, end + spare, MARGIN, width - MARGIN)
    within = int(sequence.within.total_seconds())
    periods = "; ".join(
        f"{plural(totals.total(), noun)} between {_time(min(totals))} and {_time(max(totals) + QUARTER)}"
        for noun, totals in (("change", changes), ("signal", signals))
    )
    shapes = [
        element("desc", f"{periods}, in UTC. The {within // HOUR} h after each change are shaded."),
        *_shades(view, within, x),
        *_ticks(x),
        line(0, AXIS, width, AXIS, "axis"),
    ]
    bar_width = min(MAX_BAR_WIDTH, max(2.5, x.position(QUARTER) - x.position(0) - 1))
    unit_height = MAX_BAR_HEIGHT / max(FULL_BAR, *signals.values())
    for quarter in sorted(signals):
        x_begin, y = x.position(quarter + QUARTER / 2) - bar_width / 2, AXIS + 1.0
        for kind, colour in colours.items():
            if number := view.signals[kind].get(quarter):
                height = max(3.0, number * unit_height)
                tooltip = f"{_time(quarter)}: {in_words({kind: number}, sequence.signals)}"
                shapes.append(rectangle(x_begin, y, bar_width, height, f"signal k{colour}", tooltip))
                y += height
    most_changes = max(changes.values())
    for quarter, number in sorted(changes.items()):
        middle, y = x.position(quarter + QUARTER / 2), AXIS - 14 - 34 * number / most_changes
        mark = [
            element("title", f"{_time(quarter)}: {_in_words(view.changes, sequence.changes, quarter)}"),
            line(middle, y, middle, AXIS, "stem"),
            element("path", d=f"M{middle:.1f} {y - 6:.1f}l6 6l-6 6l-6-6z"),
        ]
        if number > 1 and len(changes) < NUMBERED_MARKS:
            mark.append(label(middle + 9, y + 4, str(number), "count"))
        shapes.append(element("g", *mark, class_="change"))
    return drawing(
        shapes, width, HEIGHT, f"timeline {name}", role="img", aria_label="Changes and signals over time"
    )


def _shades(view: IncidentView, within: int, x: Scale) -> Iterator[Markup]:
    """Shades the time after each change in which a signal makes a pair. Overlapping shades are joined."""
    starts = sorted({quarter for numbers in view.changes.values() for quarter in numbers})
    if view.began:  # the time of the first change, to the second
        starts[0] = max(starts[0], int(view.began.timestamp()))
    spans: list[tuple[int, int]] = []
    for start in starts:
        begin = spans.pop()[0] if spans and start <= spans[-1][1] else start
        spans.append((begin, start + within))
    for begin, end in spans:
        x_begin, x_end = x.position(begin), x.position(min(end, x.end))
        yield rectangle(x_begin, TOP, x_end - x_begin, BOTTOM - TOP, "span")
        yield line(x_begin, TOP, x_begin, BOTTOM, "edge")


def _ticks(x: Scale) -> Iterator[Markup]:
    """Grid lines at round times, as many as fit, with the time and, at the first of a day, the day."""
    max_ticks = (x.end_position + MARGIN) // TICK_WIDTH
    step = next((seconds for seconds in STEPS if (x.end - x.begin) / seconds <= max_ticks), STEPS[-1])
    labelled_day = ""
    for tick in range(-(-int(x.begin) // step) * step, int(x.end) + 1, step):
        position, moment = x.position(tick), datetime.fromtimestamp(tick, UTC)
        if not x.begin_position + 16 <= position <= x.end_position - 16:
            continue
        yield line(position, TOP, position, BOTTOM, "grid")
        yield label(position, HEIGHT - 15, f"{moment:%H:%M}", "tick")
        day = f"{moment.day} {moment:%b}"
        if day != labelled_day:
            yield label(position, HEIGHT - 2, day, "tick day")
        labelled_day = day


def _totals(events: Quarters) -> Counter[int]:
    totals: Counter[int] = Counter()
    for numbers in events.values():
        totals.update(numbers)
    return totals


def _in_words(events: Quarters, side: Side, quarter: int) -> str:
    numbers = {kind: times[quarter] for kind, times in events.items() if quarter in times}
    return in_words(numbers, side) if numbers else ""


def _time(seconds: int) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment.day} {moment:%b %H:%M}"
