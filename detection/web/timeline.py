"""An incident in time, as a drawing: changes above the line, signals below, the reach of each change shaded.

Everything is by quarters of an hour, as it is kept: thousands of events take no more room than a few.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from detection.incidents.evidence import QUARTER
from detection.messages.text import in_words
from detection.rules.model import Rule, Side
from detection.web.incident_view import IncidentView, Quarters

LEFT_MARGIN, RIGHT = 8, 8  # margins
LINE, FOOT = 74, 190  # where the line is, where signals end
HEIGHT = 226
WIDEST = 18  # of a bar
FULL = 6  # signals of a quarter of an hour, at least, that a bar of full height stands for
SHORTEST = 2 * 3600  # seconds that are shown
COLOURS = 5  # of kinds of signals; further ones share the last
SERIES = 96  # rows of the same as a table
HOUR, DAY = 3600, 86_400
STEPS = (QUARTER, 2 * QUARTER, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 14 * DAY)


@dataclass(frozen=True, slots=True)
class TimelineBar:
    """A bar or a mark: where it stands, of which kind it is (by number), and what it says."""

    x: float
    y: float
    width: float
    height: float
    kind: int
    text: str
    number: int


@dataclass(frozen=True, slots=True)
class Tick:
    """A time on the line; a day where one begins."""

    x: float
    time: str
    day: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """The drawing, in units of its own: `width` says for how much room. `spans` are (x, width)."""

    width: int
    spans: Sequence[tuple[float, float]]
    changes: Sequence[TimelineBar]
    signals: Sequence[TimelineBar]
    ticks: Sequence[Tick]
    kinds: Sequence[tuple[int, str, int]]
    busiest: int
    text: str


@dataclass(frozen=True, slots=True)
class Slot:
    """A row of the same as a table: a quarter of an hour, and what happened in it."""

    begin: str
    changes: str
    signals: str


@dataclass(frozen=True, slots=True)
class _Scale:
    """From seconds since 1970 to places."""

    begin: int
    end: int
    width: int

    def x(self, seconds: float) -> float:
        inner = self.width - LEFT_MARGIN - RIGHT
        return round(LEFT_MARGIN + inner * (seconds - self.begin) / (self.end - self.begin), 1)


def timeline(view: IncidentView, rule: Rule, width: int) -> Timeline | None:
    """The drawing for so much room; None where nothing is known of times."""
    if not view.changes or not view.signals:
        return None
    scale = _scale(view, width)
    within = int(rule.sequence.within.total_seconds())
    names = sorted(view.signals, key=lambda kind: -sum(view.signals[kind].values()))
    kinds = {kind: min(number, COLOURS - 1) for number, kind in enumerate(names)}
    busiest = max(_totals(view.signals).values())
    side = rule.sequence.signals
    return Timeline(
        width=width,
        spans=list(_spans(view, within, scale)),
        changes=list(_changes(view.changes, rule.sequence.changes, scale)),
        signals=list(_signals(view.signals, kinds, side, scale)),
        ticks=list(_ticks(scale)),
        kinds=[(kinds[kind], side.label(kind), sum(view.signals[kind].values())) for kind in names],
        busiest=busiest,
        text=_description(view, rule),
    )


def series(view: IncidentView, rule: Rule) -> tuple[list[Slot], int]:
    """The same as a table, the latest last, and how many earlier rows it leaves out."""
    quarters = sorted(
        {quarter for side in (view.changes, view.signals) for times in side.values() for quarter in times}
    )
    sides = ((view.changes, rule.sequence.changes), (view.signals, rule.sequence.signals))
    slots = [
        Slot(_time(quarter), *(_quarter_text(events, side, quarter) for events, side in sides))
        for quarter in quarters[-SERIES:]
    ]
    return slots, max(0, len(quarters) - SERIES)


def _scale(view: IncidentView, width: int) -> _Scale:
    """From before the first change to after the last event, wide enough to be read."""
    quarters = [
        quarter for side in (view.changes, view.signals) for times in side.values() for quarter in times
    ]
    begin, end = min(quarters), max(quarters) + QUARTER
    spare = max((end - begin) // 12, (SHORTEST - (end - begin)) // 2, QUARTER)
    return _Scale(begin - spare, end + spare, width)


def _spans(view: IncidentView, within: int, scale: _Scale) -> Iterator[tuple[float, float]]:
    """Where a signal would follow a change: the reaches of all changes, joined where they overlap."""
    starts = sorted({quarter for times in view.changes.values() for quarter in times})
    if view.began:  # known to the second
        starts[0] = max(starts[0], int(view.began.timestamp()))
    begin = end = starts[0]
    for start in starts:
        if start > end:
            yield _clipped(begin, end, scale)
            begin = start
        end = start + within
    yield _clipped(begin, end, scale)


def _clipped(begin: int, end: int, scale: _Scale) -> tuple[float, float]:
    x_begin, x_end = scale.x(begin), scale.x(min(end, scale.end))
    return x_begin, round(x_end - x_begin, 1)


def _changes(changes: Quarters, side: Side, scale: _Scale) -> Iterator[TimelineBar]:
    totals = _totals(changes)
    highest = max(totals.values())
    for quarter, number in sorted(totals.items()):
        height = 14 + 34 * number / highest
        text = f"{_time(quarter)}: {_quarter_text(changes, side, quarter)}"
        yield TimelineBar(
            scale.x(quarter + QUARTER / 2), round(LINE - height, 1), 0, round(height, 1), 0, text, number
        )


def _signals(signals: Quarters, kinds: dict[str, int], side: Side, scale: _Scale) -> Iterator[TimelineBar]:
    totals = _totals(signals)
    max_height, highest = FOOT - LINE - 4, max(FULL, *totals.values())
    width = min(WIDEST, max(2.5, scale.x(scale.begin + QUARTER) - scale.x(scale.begin) - 1))
    for quarter in sorted(totals):
        y = float(LINE + 1)
        for kind, number in kinds.items():
            if count := signals[kind].get(quarter, 0):
                height = max(3.0, max_height * count / highest)
                text = f"{_time(quarter)}: {in_words({kind: count}, side)}"
                x = scale.x(quarter + QUARTER / 2) - width / 2
                yield TimelineBar(
                    round(x, 1), round(y, 1), round(width, 1), round(height, 1), number, text, count
                )
                y += height


def _ticks(scale: _Scale) -> Iterator[Tick]:
    max_ticks = scale.width // 95
    length = scale.end - scale.begin
    step = next((seconds for seconds in STEPS if length / seconds <= max_ticks), STEPS[-1])
    day = ""
    for tick_time in range(-(-scale.begin // step) * step, scale.end + 1, step):
        x, moment = scale.x(tick_time), datetime.fromtimestamp(tick_time, UTC)
        if LEFT_MARGIN + 16 <= x <= scale.width - RIGHT - 16:
            today = f"{moment.day} {moment:%b}"
            yield Tick(x, f"{moment:%H:%M}", "" if today == day else today)
            day = today


def _description(view: IncidentView, rule: Rule) -> str:
    """The drawing in words."""
    parts = []
    for name, events in (("changes", view.changes), ("signals", view.signals)):
        totals = _totals(events)
        parts.append(
            f"{sum(totals.values()):,} {name} between {_time(min(totals))} and {_time(max(totals) + QUARTER)}"
        )
    reach = rule.sequence.within // timedelta(hours=1)
    return f"{'; '.join(parts)}, in UTC. The {reach} h after each change are shaded."


def _totals(events: Quarters) -> dict[int, int]:
    totals: dict[int, int] = {}
    for times in events.values():
        for quarter, number in times.items():
            totals[quarter] = totals.get(quarter, 0) + number
    return totals


def _quarter_text(events: Quarters, side: Side, quarter: int) -> str:
    counts = {kind: times[quarter] for kind, times in events.items() if quarter in times}
    return in_words(counts, side) if counts else ""


def _time(seconds: int) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment.day} {moment:%b %H:%M}"
