"""The logs of a range, read once and answered as each run of the range would have read them.

A run sees the rows that had arrived by its moment, from the lower bounds of its windows on. Of the signals it
sees those of actors with a change that it sees. This equals a new query by each run only if the rule's
queries look at every row by itself, which splitting a query rests on too. `cross_row_keyword` says whether
they do.
"""

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from operator import itemgetter
from typing import NamedTuple, Protocol

from detection.logs.actors import ActorResolver
from detection.logs.events import Event, Logs, Rejected, Row, SideHealth, events_of, place_in_window
from detection.logs.kql import bounds
from detection.logs.window import Windows, plan_windows
from detection.rules.loading import without_comments
from detection.rules.model import Rule, Side

# Distinct values that are shared. Those of many rows come back after all are forgotten.
MAX_SHARED_VALUES = 50_000

# The operators that look at each row by itself. Any other operator may look at several rows.
ROW_OPERATORS = {"where", "filter", "extend", "project", "parse", "parse-where", "mv-expand"} | {
    f"project-{suffix}" for suffix in ("away", "keep", "rename", "reorder")
}
_OPERATOR = re.compile(r"\|\s*([a-z][\w-]*)([^|;]*)")
# Functions that look at other rows, and functions whose result differs between a day and its anniversary.
_BEYOND_THE_ROW = re.compile(
    r"\b(toscalar|materialize|prev|next|row_\w+|now|ago|make_datetime|getyear|datetime_part|datetime)\s*\((?!\s*null)"
)
_TEXT = re.compile(r"""@?"(?:\\.|[^"\\])*"|@?'(?:\\.|[^'\\])*'""")


@dataclass(frozen=True, slots=True)
class RunRange:
    """The runs from `begin` to `end`, `interval` apart. `first_windows` are the windows of the first run."""

    begin: datetime
    end: datetime
    interval: timedelta
    first_windows: Windows

    @classmethod
    def of_runs(cls, run_times: Sequence[datetime], interval: timedelta, rule: Rule) -> "RunRange":
        """The runs of a rule at moments that are multiples of `interval` apart, without a watermark."""
        return cls(run_times[0], run_times[-1], interval, plan_windows(run_times[0], None, rule))

    def run_after(self, moment: datetime) -> int:
        """The number of the first run at or after a moment, counted from 0."""
        return max(0, -((self.begin - moment) // self.interval))

    def run_time(self, run_number: int) -> datetime:
        return self.begin + run_number * self.interval


class ArrivedRow(NamedTuple):
    """A row of a side's answer, and the moment from which it could be read."""

    arrival_time: datetime
    row: Row


class Archive(Protocol):
    """Logs of the past."""

    def read(self, rule: Rule, runs: RunRange) -> "PastLogs":
        """Everything that the runs of a range read. Raises the errors of Source.read."""
        ...


def cross_row_keyword(rule: Rule) -> str:
    """The first word of a rule's queries that may look across rows or depend on the date; "" if there is
    none.

    A `summarize` by the stamp does not count: it joins the rows that a single row was expanded to.
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
    """The query without comments and with empty text literals."""
    return _TEXT.sub('""', without_comments(kql))


class PastLogs:
    """A source over the logs of a range. `health` and `rejected` are of the whole range, not of a run."""

    def __init__(
        self,
        rule: Rule,
        rows_by_side: Mapping[str, Iterable[ArrivedRow]],
        health: Mapping[str, SideHealth],
        rejected: Mapping[str, Rejected],
    ) -> None:
        self.health, self.rejected = health, rejected
        sides = rule.sequence.sides
        changes = _in_stamp_order(rows_by_side["changes"], sides["changes"])
        signals = _in_stamp_order(rows_by_side["signals"], sides["signals"])
        self._changes = _Timeline.from_events(changes)
        signals_by_actor: dict[str, list[_ArrivedEvent]] = defaultdict(list)
        for signal in signals:
            # Without exact identity matching, a run needs its changes to find the actors of a signal.
            signals_by_actor[signal.event.actor if rule.sequence.exact else ""].append(signal)
        self._signals = {actor: _Timeline.from_events(events) for actor, events in signals_by_actor.items()}

    def read(self, rule: Rule, windows: Windows) -> Logs:
        """Both sides at `windows.now`."""
        lower_bounds, now = bounds(windows), windows.now
        once = rule.sequence.duplicates == "once"
        changes = list(self._changes.visible(lower_bounds["changes_after"], now))
        signals_after = lower_bounds["signals_after"]
        # The semi-join of the signals query.
        actors = dict.fromkeys(change.actor for change in changes) if rule.sequence.exact else {"": None}
        timelines = [self._signals[actor] for actor in actors if actor in self._signals]
        signals = [event for timeline in timelines for event in timeline.visible(signals_after, now)]
        if not rule.sequence.exact:
            resolver = ActorResolver(rule, (change.row for change in changes))
            signals = [signal for signal in signals if resolver.resolve(signal.row)]
        return Logs(
            place_in_window(changes, windows.changes, once=once),
            place_in_window(signals, windows.signals, once=once),
        )

    def row_counts(self) -> Mapping[str, int]:
        signals = sum(len(timeline.events) for timeline in self._signals.values())
        return {"changes": len(self._changes.events), "signals": signals}


class _ArrivedEvent(NamedTuple):
    """An event, its stamp, and the moment from which it could be read."""

    stamp: datetime
    arrival_time: datetime
    event: Event


@dataclass(frozen=True, slots=True)
class _Timeline:
    """Events by stamp. `earliest_arrivals` has the earliest arrival from each position on."""

    events: Sequence[Event]
    stamps: Sequence[datetime]
    arrival_times: Sequence[datetime]
    earliest_arrivals: Sequence[datetime]

    @classmethod
    def from_events(cls, arrived_events: Sequence[_ArrivedEvent]) -> "_Timeline":
        """The timeline of events that are in the order of their stamps."""
        arrival_times = [arrived_event.arrival_time for arrived_event in arrived_events]
        earliest_arrivals = list(accumulate(reversed(arrival_times), min))[::-1]
        return cls(
            [arrived_event.event for arrived_event in arrived_events],
            [arrived_event.stamp for arrived_event in arrived_events],
            arrival_times,
            earliest_arrivals,
        )

    def visible(self, after: datetime, now: datetime) -> Iterator[Event]:
        """The events that are stamped after `after` and had arrived by `now`."""
        begin, end = bisect_right(self.stamps, after), bisect_right(self.earliest_arrivals, now)
        return (
            self.events[position] for position in range(begin, end) if self.arrival_times[position] <= now
        )


def _in_stamp_order(arrived_rows: Iterable[ArrivedRow], side: Side) -> list[_ArrivedEvent]:
    """The rows as events, in the order of their stamps. A query engine promises no order."""
    shared_values: dict[object, object] = {}  # a value of many rows is in memory once
    arrival_times: list[datetime] = []
    rows: list[Row] = []
    for arrival_time, row in arrived_rows:
        arrival_times.append(arrival_time)
        if len(shared_values) > MAX_SHARED_VALUES:
            shared_values.clear()
        rows.append(tuple(shared_values.setdefault(value, value) for value in row))
    stamps = map(datetime.fromisoformat, map(itemgetter(side.place_of(side.stamped)), rows))
    arrived_events = map(_ArrivedEvent, stamps, arrival_times, events_of(rows, side))
    return sorted(
        arrived_events,
        key=lambda arrived_event: (arrived_event.stamp, arrived_event.arrival_time, arrived_event.event.id),
    )
