"""The logs of a range, read once and answered as each run of the range would have found them.

A run sees what had arrived by its moment, from the bounds of its windows on, and of the signals those of actors with a
change among what it sees: what the rule's queries say when they are asked anew. So a rule's query must look at every
row by itself; that is what reading in halves rests on, too. `across_rows` says of a rule whether it does.
"""

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import accumulate
from operator import itemgetter
from typing import NamedTuple, Protocol

from detection.base.gc_paused import gc_paused
from detection.logs.actors import ActorResolver
from detection.logs.events import Event, Logs, Rejected, Row, SideHealth, events_of, place_in_window
from detection.logs.kql import bounds
from detection.logs.window import Windows, plan_windows
from detection.rules.loading import without_comments
from detection.rules.model import Rule, Side

MAX_SHARED_VALUES = 50_000  # values, among which those that stand in many rows come again and again

# The operators that make of each row what it is by itself. Any other may look at several.
ROW_OPERATORS = {"where", "filter", "extend", "project", "parse", "parse-where", "mv-expand"} | {
    f"project-{suffix}" for suffix in ("away", "keep", "rename", "reorder")
}
_OPERATOR = re.compile(r"\|\s*([a-z][\w-]*)([^|;]*)")
# What looks at other rows within an expression, and what knows a day from its anniversary.
_BEYOND_THE_ROW = re.compile(
    r"\b(toscalar|materialize|prev|next|row_\w+|now|ago|make_datetime|getyear|datetime_part|datetime)\s*\((?!\s*null)"
)
_TEXT = re.compile(r"""@?"(?:\\.|[^"\\])*"|@?'(?:\\.|[^'\\])*'""")


@dataclass(frozen=True, slots=True)
class RunRange:
    """The runs: at `begin`, then `every` so long, none after `end`. `first` is what the first of them reads."""

    begin: datetime
    end: datetime
    interval: timedelta
    first_windows: Windows

    @classmethod
    def of_runs(cls, run_times: Sequence[datetime], interval: timedelta, rule: Rule) -> "RunRange":
        """The runs of a rule at some moments, `every` so long or a multiple of it apart, on a fresh memory."""
        return cls(run_times[0], run_times[-1], interval, plan_windows(run_times[0], None, rule))

    def run_after(self, moment: datetime) -> int:
        """The number of the first run that is not before a moment, counted from 0."""
        return max(0, -((self.begin - moment) // self.interval))

    def run_time(self, run_number: int) -> datetime:
        """When a run is."""
        return self.begin + run_number * self.interval


class ArrivedRow(NamedTuple):
    """A row of a side's answer, and from when on it could be read."""

    arrival_time: datetime
    row: Row


class Archive(Protocol):
    """Logs of the past."""

    def read(self, rule: Rule, runs: RunRange) -> "PastLogs":
        """All that the runs of a range read. Raises what Source.read raises."""
        ...


def cross_row_keyword(rule: Rule) -> str:
    """The first word of a rule's queries that may look across rows, or go by the date; "" if there is none.

    A `summarize` by the stamp is taken to put together what one row was expanded to.
    """
    tables = "|".join(map(re.escape, {*rule.tables, *rule.parsers}))
    for text in map(_without_literals, (rule.changes_kql, rule.signals_kql)):
        if repeated_tables := re.findall(rf"\b(?:{tables})\b", text)[1:]:
            return str(repeated_tables[0])
    stamps = "|".join(re.escape(table.stamped) for table in rule.tables.values())
    by_stamp = re.compile(rf"\bby\b(?:.*,)?\s*(?:{stamps})\s*(?:,|$)", re.DOTALL)
    for text in map(_without_literals, (rule.changes_kql, rule.signals_kql, *rule.parsers.values())):
        for operator, arguments in _OPERATOR.findall(text):
            if operator not in ROW_OPERATORS and not (operator == "summarize" and by_stamp.search(arguments)):
                return str(operator)
        if match := _BEYOND_THE_ROW.search(text):
            return match[1]
    return ""


def _without_literals(kql: str) -> str:
    return _TEXT.sub('""', without_comments(kql))


class PastLogs:
    """The port Source over what was read. `health` and `rejected` are of the whole range, and said of no single run."""

    def __init__(
        self,
        rule: Rule,
        rows_by_side: Mapping[str, Iterable[ArrivedRow]],
        health: Mapping[str, SideHealth],
        rejected: Mapping[str, Rejected],
    ) -> None:
        self.health, self.rejected = health, rejected
        sides = rule.sequence.sides
        self._changes = _Timeline.from_events(_in_stamp_order(rows_by_side["changes"], sides["changes"]))
        signals = _in_stamp_order(rows_by_side["signals"], sides["signals"])
        # Over bridges it takes a run's changes to say whose a signal is.
        self._signals = (
            _timelines_by_actor(signals) if rule.sequence.exact else {"": _Timeline.from_events(signals)}
        )

    def read(self, rule: Rule, windows: Windows) -> Logs:
        """Both sides at `windows.now`."""
        lower_bounds, now = bounds(windows), windows.now
        once = rule.sequence.duplicates == "once"
        changes = list(self._changes.visible(lower_bounds["changes_after"], now))
        signals = self._signals_of_changers(changes, rule, lower_bounds["signals_after"], now)
        return Logs(
            place_in_window(changes, windows.changes, once=once),
            place_in_window(list(signals), windows.signals, once=once),
        )

    def _signals_of_changers(
        self, changes: Sequence[Event], rule: Rule, after: datetime, now: datetime
    ) -> Iterator[Event]:
        """The semi-join."""
        if rule.sequence.exact:
            actors = dict.fromkeys(event.actor for event in changes)
            timelines = [self._signals[actor] for actor in actors if actor in self._signals]
            return (event for timeline in timelines for event in timeline.visible(after, now))
        resolver = ActorResolver(rule, (change.row for change in changes))
        return (event for event in self._signals[""].visible(after, now) if resolver.resolve(event.row))

    def row_counts(self) -> Mapping[str, int]:
        """How many rows of each side are held."""
        signals = sum(len(timeline.events) for timeline in self._signals.values())
        return {"changes": len(self._changes.events), "signals": signals}


class _ArrivedEvent(NamedTuple):
    """An event, when it was stamped, and from when on it could be read."""

    stamp: datetime
    arrival_time: datetime
    event: Event


@dataclass(frozen=True, slots=True)
class _Timeline:
    """Events in the order of their stamps. `soonest` is when the first of those from a place on arrived."""

    events: Sequence[Event]
    stamps: Sequence[datetime]
    arrival_times: Sequence[datetime]
    earliest_arrivals: Sequence[datetime]

    @classmethod
    def from_events(cls, arrived_events: Sequence[_ArrivedEvent]) -> "_Timeline":
        """Events in that order."""
        arrival_times = [arrived_event.arrival_time for arrived_event in arrived_events]
        earliest_arrivals = list(accumulate(reversed(arrival_times), min))[::-1]
        return cls(
            [arrived_event.event for arrived_event in arrived_events],
            [arrived_event.stamp for arrived_event in arrived_events],
            arrival_times,
            earliest_arrivals,
        )

    def visible(self, after: datetime, now: datetime) -> Iterator[Event]:
        """What is stamped after the one moment and had arrived by the other."""
        begin, end = bisect_right(self.stamps, after), bisect_right(self.earliest_arrivals, now)
        return (
            self.events[position] for position in range(begin, end) if self.arrival_times[position] <= now
        )


def _timelines_by_actor(arrived_events: Sequence[_ArrivedEvent]) -> dict[str, _Timeline]:
    events_by_actor: dict[str, list[_ArrivedEvent]] = defaultdict(list)
    for arrived_event in arrived_events:
        events_by_actor[arrived_event.event.actor].append(arrived_event)
    return {actor: _Timeline.from_events(actor_events) for actor, actor_events in events_by_actor.items()}


@gc_paused()
def _in_stamp_order(arrived_rows: Iterable[ArrivedRow], side: Side) -> list[_ArrivedEvent]:
    """The rows as events, in the order of their stamps; an engine promises none."""
    cache = _ValueCache()
    arrival_times: list[datetime] = []
    rows: list[Row] = []
    for arrival_time, row in arrived_rows:
        arrival_times.append(arrival_time)
        rows.append(cache.share_values(row))
    stamps = map(datetime.fromisoformat, map(itemgetter(side.place_of(side.stamped)), rows))
    arrived_events = map(_ArrivedEvent, stamps, arrival_times, events_of(rows, side))
    return sorted(
        arrived_events,
        key=lambda arrived_event: (arrived_event.stamp, arrived_event.arrival_time, arrived_event.event.id),
    )


@dataclass(slots=True)
class _ValueCache:
    """Values that stand in very many rows are kept once."""

    values: dict[object, object] = field(default_factory=dict)

    def share_values(self, row: Row) -> Row:
        """The row with such values shared, and with its own second time where that says the same."""
        if len(self.values) > MAX_SHARED_VALUES:
            self.values = {}
        return tuple(self.values.setdefault(value, value) for value in row)
