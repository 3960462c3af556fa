"""Which pairs a reading of the logs saw: a nested loop over all events, by the model's own reading of the rule.

It shares no code with the product's windows, correlation, identity matching and thresholds.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from detection.incidents.keys import Key
from detection.logs.window import Window, Windows
from tests.support.world.identity import belongs
from tests.support.world.scenario import THRESHOLD_KIND, Arrival, Configuration, PairIds, Plan

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
EVER = datetime(2000, 1, 1, tzinfo=UTC)
END = datetime(2100, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Reading:
    """What a run asked the log store: the product's windows, and the moments up to which it read each side."""

    windows: Windows
    changes_at: datetime
    signals_at: datetime
    is_sliced: bool


@dataclass(frozen=True, slots=True)
class Part:
    """A part (after, until] of the gap `gap`, whose marks are whole from `marks_from` on."""

    gap: str
    after: datetime
    until: datetime
    marks_from: datetime


@dataclass(slots=True)
class Execution:
    """A run as it was executed, or the reading of a `part` of a gap. `watermark` is the latest before it,
    `marks_from` the start of whole marks, `service_time` the time by the table's clock when it began, and
    `open_gaps` are the ranges that were left to other readings then.

    `begun` and `ended` are numbers that grow with all that happens: a race lies between the two. `finished`
    says that the table took the watermark or the part, `complete` that the run returned. `commits` counts
    those that the table took.
    """

    plan: Plan
    configuration: Configuration
    begun: int
    ended: int = 0
    watermark: datetime | None = None
    marks_from: datetime = EVER
    service_time: datetime = EVER
    open_gaps: Sequence[Window] = ()
    readings: list[Reading] = field(default_factory=list)
    finished: bool = False
    complete: bool = False
    part: Part | None = None
    commits: int = 0


class Bounds(NamedTuple):
    """Rows stamped after `changes` and `signals` are read; changes up to `until` and signals up to
    `signals_until` are in the windows. Pairs whose signal lies in `own` are for this reading to alert.
    """

    changes: datetime
    signals: datetime
    until: datetime
    signals_until: datetime
    own: Window = Window(EVER, END)


class Occurrence(NamedTuple):
    """An event with all its rows: a change or a signal."""

    arrival: Arrival
    rows: Sequence[Arrival]

    def time(self, after: datetime, until: datetime, arrived_by: datetime) -> datetime | None:
        """Its time in a window: the earliest of its rows that were read. None outside the window."""
        times = [row.time for row in self.rows if row.stamped > after and row.arrived <= arrived_by]
        time = min(times, default=None)
        return time if time and after < time <= until else None

    @property
    def times(self) -> list[datetime]:
        """The own times of its rows."""
        return [row.time for row in self.rows]

    def has_arrived(self, moment: datetime) -> bool:
        """Whether one of its rows can be read at a moment."""
        return any(row.arrived <= moment for row in self.rows)


class Candidate(NamedTuple):
    """A change and a signal that could be a pair under some configuration of the world."""

    change: Occurrence
    signal: Occurrence
    ids: PairIds


View = Mapping[PairIds, datetime]  # the pairs, each with the time of its signal
# A change and a kind of signal for a grouping key: once marked, the change stays past the kind's threshold.
Past = tuple[str, str, Key]


def candidates_of(rows: Iterable[Arrival], configurations: Collection[Configuration]) -> list[Candidate]:
    """All changes with all signals that could pair under one of the configurations."""
    rows_by_event: dict[tuple[str, str], list[Arrival]] = {}
    for row in rows:
        rows_by_event.setdefault((row.side, row.id), []).append(row)
    events = [Occurrence(rows[0], rows) for rows in rows_by_event.values()]
    within = max(configuration.within for configuration in configurations)
    return [
        Candidate(change, signal, (change.arrival.id, signal.arrival.id))
        for change in events
        for signal in events
        if (change.arrival.side, signal.arrival.side) == ("changes", "signals")
        and min(change.times) <= max(signal.times)
        and min(signal.times) <= max(change.times) + within
        and any(belongs(signal.arrival, change.arrival.actor, setting) for setting in configurations)
    ]


def bounds_by_design(execution: Execution, *, catches_up: bool = True) -> Bounds:
    """The windows that a run must read at least: from the watermark less the allowed lateness on.

    An outage cuts them, and so does the start of whole marks. Without `catches_up` an outage does not.
    """
    configuration, now, part = execution.configuration, execution.plan.now, execution.part
    if part:
        changes = max(part.after - configuration.within, part.marks_from)
        signals = changes if configuration.threshold > 1 else part.after
        signals_until = min(part.until + configuration.within, now)
        return Bounds(changes, signals, part.until, signals_until, Window(part.after, part.until))
    watermark = execution.watermark or now - HOUR
    until = max(now, watermark)
    earliest = until - configuration.max_catch_up if catches_up else watermark
    caught_up = max(watermark, earliest) - configuration.lateness
    signals = max(caught_up, execution.marks_from)
    changes = max(signals - configuration.within, execution.marks_from)
    own = Window(signals if earliest > watermark else EVER, END)
    return Bounds(changes, changes if configuration.threshold > 1 else signals, until, until, own)


def signals_since(execution: Execution) -> datetime:
    """The time from which on no earlier run has read the signals completely."""
    watermark = execution.watermark or execution.plan.now - HOUR
    return max(watermark - execution.configuration.lateness, execution.marks_from)


def marks_from_after(execution: Execution) -> datetime:
    """The start of whole marks after a complete run: the first run of a day removes what no run can read, and
    so does a run that commits.
    """
    watermark, configuration = execution.watermark, execution.configuration
    if watermark is None:
        return execution.marks_from
    is_first_of_day = watermark.date() < max(execution.plan.now, watermark).date()
    if not is_first_of_day and not execution.commits:
        return execution.marks_from
    oldest = watermark - HOUR - configuration.lateness - configuration.within
    purged_to = (oldest - DAY).astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return max(purged_to, execution.marks_from)


def bounds_as_read(reading: Reading) -> Bounds:
    """The windows that the product planned."""
    windows = reading.windows
    until, signals_until = windows.changes.until or END, windows.signals.until or END
    return Bounds(windows.changes.after, windows.signals.after, until, signals_until)


def is_own(execution: Execution, reading: Reading, time: datetime) -> bool:
    """Whether a reading alerts signals of a time, marked or not: those of its part of a gap, or those outside
    every gap.
    """
    part, gap = execution.part, reading.windows.gap
    if part:
        return part.after < time <= part.until
    return not any(holds(window, time) for window in (*execution.open_gaps, *([gap] if gap else [])))


def pairs_in(
    candidates: Iterable[Candidate],
    configuration: Configuration,
    bounds: Bounds,
    reading: Reading,
    is_past: Callable[[Candidate], bool] = lambda _: False,
) -> View:
    """The pairs in windows of a reading, of candidates whose signal belongs to the change's actor.

    The threshold does not apply to a pair whose change `is_past` it.
    """
    pairs: dict[PairIds, tuple[Candidate, datetime]] = {}
    change_times: dict[int, datetime | None] = {}
    signal_times: dict[int, datetime | None] = {}
    for candidate in candidates:
        change, signal, ids = candidate
        if (key := id(change)) not in change_times:
            change_times[key] = change.time(bounds.changes, bounds.until, reading.changes_at)
        if (changed := change_times[key]) is None:
            continue
        if (key := id(signal)) not in signal_times:
            signal_times[key] = signal.time(bounds.signals, bounds.signals_until, reading.signals_at)
        signalled = signal_times[key]
        if signalled and changed <= signalled <= changed + configuration.within:
            pairs[ids] = candidate, signalled
    own = {ids: signalled for ids, (_, signalled) in pairs.items() if holds(bounds.own, signalled)}
    if configuration.threshold == 1:
        return own
    reached = Counter(
        change for (change, _), (pair, _) in pairs.items() if pair.signal.arrival.kind == THRESHOLD_KIND
    )
    return {
        ids: signalled
        for ids, signalled in own.items()
        if pairs[ids][0].signal.arrival.kind != THRESHOLD_KIND
        or reached[ids[0]] >= configuration.threshold
        or is_past(pairs[ids][0])
    }


def past_of(candidate: Candidate, configuration: Configuration) -> Past:
    """The change and the kind of signal of a pair, for its grouping key."""
    change, signal = candidate.change.arrival, candidate.signal.arrival
    return change.id, signal.kind, key_of(candidate, configuration)


def holds(window: Window, time: datetime) -> bool:
    """Whether a time lies in a window of the model."""
    return window.after < time <= (window.until or END)


def key_of(candidate: Candidate, configuration: Configuration) -> Key:
    """The values that alerts of one incident share: of all entities, of the selected, or of none."""
    change, signal = candidate.change.arrival, candidate.signal.arrival
    values = {"Account": change.actor, "IP": change.ip, "CloudApplication": signal.model}
    if configuration.method == "AnyAlert":
        return ()
    chosen = values if configuration.method == "AllEntities" else configuration.entities
    return tuple((entity, values[entity]) for entity in sorted(chosen))
