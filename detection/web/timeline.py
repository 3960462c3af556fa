"""An incident in time, as a drawing: changes above the line, signals below, the reach of each change shaded. Pure.

Everything is by quarters of an hour, as it is kept: thousands of events take no more room than a few.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from detection.incidents.evidence import QUARTER
from detection.messages.text import in_words
from detection.rule import Rule, Side
from detection.web.story import Quarters, Story

LEFT, RIGHT = 8, 8  # margins
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
class Bar:
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
    changes: Sequence[Bar]
    signals: Sequence[Bar]
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

    first: int
    last: int
    width: int

    def x(self, at: float) -> float:
        inner = self.width - LEFT - RIGHT
        return round(LEFT + inner * (at - self.first) / (self.last - self.first), 1)


def timeline(told: Story, rule: Rule, width: int) -> Timeline | None:
    """The drawing for so much room; None where nothing is known of times."""
    if not told.changes or not told.signals:
        return None
    scale = _scale(told, width)
    within = int(rule.sequence.within.total_seconds())
    names = sorted(told.signals, key=lambda kind: -sum(told.signals[kind].values()))
    kinds = {kind: min(number, COLOURS - 1) for number, kind in enumerate(names)}
    busiest = max(_totals(told.signals).values())
    side = rule.sequence.signals
    return Timeline(
        width=width,
        spans=list(_spans(told, within, scale)),
        changes=list(_changes(told.changes, rule.sequence.changes, scale)),
        signals=list(_signals(told.signals, kinds, side, scale)),
        ticks=list(_ticks(scale)),
        kinds=[(kinds[kind], side.label(kind), sum(told.signals[kind].values())) for kind in names],
        busiest=busiest,
        text=_text(told, rule),
    )


def series(told: Story, rule: Rule) -> tuple[list[Slot], int]:
    """The same as a table, the latest last, and how many earlier rows it leaves out."""
    moments = sorted({at for side in (told.changes, told.signals) for times in side.values() for at in times})
    sides = ((told.changes, rule.sequence.changes), (told.signals, rule.sequence.signals))
    slots = [
        Slot(_time(at), *(_happened(events, side, at) for events, side in sides)) for at in moments[-SERIES:]
    ]
    return slots, max(0, len(moments) - SERIES)


def _scale(told: Story, width: int) -> _Scale:
    """From before the first change to after the last event, wide enough to be read."""
    moments = [at for side in (told.changes, told.signals) for times in side.values() for at in times]
    first, last = min(moments), max(moments) + QUARTER
    spare = max((last - first) // 12, (SHORTEST - (last - first)) // 2, QUARTER)
    return _Scale(first - spare, last + spare, width)


def _spans(told: Story, within: int, scale: _Scale) -> Iterator[tuple[float, float]]:
    """Where a signal would follow a change: the reaches of all changes, joined where they overlap."""
    starts = sorted({at for times in told.changes.values() for at in times})
    if told.began:  # known to the second
        starts[0] = max(starts[0], int(told.began.timestamp()))
    begin = end = starts[0]
    for start in starts:
        if start > end:
            yield _clipped(begin, end, scale)
            begin = start
        end = start + within
    yield _clipped(begin, end, scale)


def _clipped(begin: int, end: int, scale: _Scale) -> tuple[float, float]:
    left, right = scale.x(begin), scale.x(min(end, scale.last))
    return left, round(right - left, 1)


def _changes(changes: Quarters, side: Side, scale: _Scale) -> Iterator[Bar]:
    totals = _totals(changes)
    most = max(totals.values())
    for at, number in sorted(totals.items()):
        tall = 14 + 34 * number / most
        text = f"{_time(at)}: {_happened(changes, side, at)}"
        yield Bar(scale.x(at + QUARTER / 2), round(LINE - tall, 1), 0, round(tall, 1), 0, text, number)


def _signals(signals: Quarters, kinds: dict[str, int], side: Side, scale: _Scale) -> Iterator[Bar]:
    totals = _totals(signals)
    room, most = FOOT - LINE - 4, max(FULL, *totals.values())
    width = min(WIDEST, max(2.5, scale.x(scale.first + QUARTER) - scale.x(scale.first) - 1))
    for at in sorted(totals):
        y = float(LINE + 1)
        for kind, number in kinds.items():
            if counted := signals[kind].get(at, 0):
                tall = max(3.0, room * counted / most)
                text = f"{_time(at)}: {in_words({kind: counted}, side)}"
                x = scale.x(at + QUARTER / 2) - width / 2
                yield Bar(round(x, 1), round(y, 1), round(width, 1), round(tall, 1), number, text, counted)
                y += tall


def _ticks(scale: _Scale) -> Iterator[Tick]:
    most = scale.width // 95
    length = scale.last - scale.first
    step = next((one for one in STEPS if length / one <= most), STEPS[-1])
    day = ""
    for at in range(-(-scale.first // step) * step, scale.last + 1, step):
        x, moment = scale.x(at), datetime.fromtimestamp(at, UTC)
        if LEFT + 16 <= x <= scale.width - RIGHT - 16:
            today = f"{moment.day} {moment:%b}"
            yield Tick(x, f"{moment:%H:%M}", "" if today == day else today)
            day = today


def _text(told: Story, rule: Rule) -> str:
    """The drawing in words."""
    parts = []
    for name, events in (("changes", told.changes), ("signals", told.signals)):
        totals = _totals(events)
        parts.append(
            f"{sum(totals.values()):,} {name} between {_time(min(totals))} and {_time(max(totals) + QUARTER)}"
        )
    reach = rule.sequence.within // timedelta(hours=1)
    return f"{'; '.join(parts)}, in UTC. The {reach} h after each change are shaded."


def _totals(events: Quarters) -> dict[int, int]:
    totals: dict[int, int] = {}
    for times in events.values():
        for at, number in times.items():
            totals[at] = totals.get(at, 0) + number
    return totals


def _happened(events: Quarters, side: Side, at: int) -> str:
    counted = {kind: times[at] for kind, times in events.items() if at in times}
    return in_words(counted, side) if counted else ""


def _time(at: int) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment.day} {moment:%b %H:%M}"
