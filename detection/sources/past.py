"""The logs of a range, read once and answered as each run of the range would have found them. Pure.

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

from detection.bridges import Owners
from detection.events import Event, Health, Logs, Rejected, Row, events_of, placed
from detection.kql import bounds
from detection.rule import Rule, Side, without_comments
from detection.uncollected import uncollected
from detection.window import Windows, windows

MANY = 50_000  # values, among which those that stand in many rows come again and again

# The operators that make of each row what it is by itself. Any other may look at several.
BY_ROW = {"where", "filter", "extend", "project", "parse", "parse-where", "mv-expand"} | {
    f"project-{how}" for how in ("away", "keep", "rename", "reorder")
}
_OPERATOR = re.compile(r"\|\s*([a-z][\w-]*)([^|;]*)")
# What looks at other rows within an expression, and what knows a day from its anniversary.
_BEYOND_THE_ROW = re.compile(
    r"\b(toscalar|materialize|prev|next|row_\w+|now|ago|make_datetime|getyear|datetime_part|datetime)\s*\((?!\s*null)"
)
_TEXT = re.compile(r"""@?"(?:\\.|[^"\\])*"|@?'(?:\\.|[^'\\])*'""")


@dataclass(frozen=True, slots=True)
class Range:
    """The runs: at `begin`, then `every` so long, none after `end`. `first` is what the first of them reads."""

    begin: datetime
    end: datetime
    every: timedelta
    first: Windows

    @classmethod
    def over(cls, at: Sequence[datetime], every: timedelta, rule: Rule) -> "Range":
        """The runs of a rule at some moments, `every` so long or a multiple of it apart, on a fresh memory."""
        return cls(at[0], at[-1], every, windows(at[0], None, rule))

    def run_after(self, moment: datetime) -> int:
        """The number of the first run that is not before a moment, counted from 0."""
        return max(0, -((self.begin - moment) // self.every))

    def moment(self, run: int) -> datetime:
        """When a run is."""
        return self.begin + run * self.every


class Arrival(NamedTuple):
    """A row of a side's answer, and from when on it could be read."""

    arrived: datetime
    row: Row


class Archive(Protocol):
    """Logs of the past."""

    def read(self, rule: Rule, runs: Range) -> "Past":
        """All that the runs of a range read. Raises what Source.read raises."""
        ...


def across_rows(rule: Rule) -> str:
    """The first word of a rule's queries that may look across rows, or go by the date; "" if there is none.

    A `summarize` by the stamp is taken to put together what one row was expanded to.
    """
    tables = "|".join(map(re.escape, {*rule.tables, *rule.parsers}))
    for text in map(_bare, (rule.changes_kql, rule.signals_kql)):
        if again := re.findall(rf"\b(?:{tables})\b", text)[1:]:
            return str(again[0])
    stamps = "|".join(re.escape(table.stamped) for table in rule.tables.values())
    by_stamp = re.compile(rf"\bby\b(?:.*,)?\s*(?:{stamps})\s*(?:,|$)", re.DOTALL)
    for text in map(_bare, (rule.changes_kql, rule.signals_kql, *rule.parsers.values())):
        for operator, rest in _OPERATOR.findall(text):
            if operator not in BY_ROW and not (operator == "summarize" and by_stamp.search(rest)):
                return str(operator)
        if beyond := _BEYOND_THE_ROW.search(text):
            return beyond[1]
    return ""


def _bare(kql: str) -> str:
    return _TEXT.sub('""', without_comments(kql))


class Past:
    """The port Source over what was read. `health` and `rejected` are of the whole range, and said of no single run."""

    def __init__(
        self,
        rule: Rule,
        arrivals: Mapping[str, Iterable[Arrival]],
        health: Mapping[str, Health],
        rejected: Mapping[str, Rejected],
    ) -> None:
        self.health, self.rejected = health, rejected
        sides = rule.sequence.sides
        self._changes = _Stamped.of(_ordered(arrivals["changes"], sides["changes"]))
        signals = _ordered(arrivals["signals"], sides["signals"])
        # Over bridges it takes a run's changes to say whose a signal is.
        self._signals = _by_actor(signals) if rule.sequence.exact else {"": _Stamped.of(signals)}

    def read(self, rule: Rule, windows: Windows) -> Logs:
        """Both sides at `windows.now`."""
        after, now = bounds(windows), windows.now
        once = rule.sequence.duplicates == "once"
        changes = list(self._changes.seen(after["changes_after"], now))
        signals = self._of_changers(changes, rule, after["signals_after"], now)
        return Logs(
            placed(changes, windows.changes, once=once),
            placed(list(signals), windows.signals, once=once),
        )

    def _of_changers(
        self, changes: Sequence[Event], rule: Rule, after: datetime, now: datetime
    ) -> Iterator[Event]:
        """The semi-join."""
        if rule.sequence.exact:
            actors = dict.fromkeys(event.actor for event in changes)
            theirs = [self._signals[actor] for actor in actors if actor in self._signals]
            return (event for one in theirs for event in one.seen(after, now))
        owners = Owners(rule, (change.row for change in changes))
        return (event for event in self._signals[""].seen(after, now) if owners.of(event.row))

    def size(self) -> Mapping[str, int]:
        """How many rows of each side are held."""
        signals = sum(len(one.events) for one in self._signals.values())
        return {"changes": len(self._changes.events), "signals": signals}


class _Arrived(NamedTuple):
    """An event, when it was stamped, and from when on it could be read."""

    stamp: datetime
    arrived: datetime
    event: Event


@dataclass(frozen=True, slots=True)
class _Stamped:
    """Events in the order of their stamps. `soonest` is when the first of those from a place on arrived."""

    events: Sequence[Event]
    stamps: Sequence[datetime]
    arrived: Sequence[datetime]
    soonest: Sequence[datetime]

    @classmethod
    def of(cls, ordered: Sequence[_Arrived]) -> "_Stamped":
        """Events in that order."""
        arrived = [one.arrived for one in ordered]
        soonest = list(accumulate(reversed(arrived), min))[::-1]
        return cls([one.event for one in ordered], [one.stamp for one in ordered], arrived, soonest)

    def seen(self, after: datetime, now: datetime) -> Iterator[Event]:
        """What is stamped after the one moment and had arrived by the other."""
        first, last = bisect_right(self.stamps, after), bisect_right(self.soonest, now)
        return (self.events[at] for at in range(first, last) if self.arrived[at] <= now)


def _by_actor(ordered: Sequence[_Arrived]) -> dict[str, _Stamped]:
    by_actor: dict[str, list[_Arrived]] = defaultdict(list)
    for one in ordered:
        by_actor[one.event.actor].append(one)
    return {actor: _Stamped.of(some) for actor, some in by_actor.items()}


@uncollected()
def _ordered(arrivals: Iterable[Arrival], side: Side) -> list[_Arrived]:
    """The rows as events, in the order of their stamps; an engine promises none."""
    shared = _Shared()
    arrived: list[datetime] = []
    rows: list[Row] = []
    for at, row in arrivals:
        arrived.append(at)
        rows.append(shared.row(row))
    stamps = map(datetime.fromisoformat, map(itemgetter(side.at(side.stamped)), rows))
    found = map(_Arrived, stamps, arrived, events_of(rows, side))
    return sorted(found, key=lambda one: (one.stamp, one.arrived, one.event.id))


@dataclass(slots=True)
class _Shared:
    """Values that stand in very many rows are kept once."""

    known: dict[object, object] = field(default_factory=dict)

    def row(self, row: Row) -> Row:
        """The row with such values shared, and with its own second time where that says the same."""
        if len(self.known) > MANY:
            self.known = {}
        return tuple(self.known.setdefault(value, value) for value in row)
