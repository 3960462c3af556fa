"""The logs of a range, read once and answered as each run of the range would have found them. Pure.

A run sees what had arrived by its moment, from the bounds of its windows on, and of the signals those of actors with a
change among what it sees: what the rule's queries say when they are asked anew. So a rule's query must look at every
row by itself; that is what reading in halves rests on, too.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import accumulate
from operator import itemgetter
from typing import NamedTuple, Protocol

from detection.events import Event, Health, Logs, Rejected, Row, events_of, placed
from detection.kql import bounds
from detection.rule import Rule, Side
from detection.uncollected import uncollected
from detection.window import Windows

MANY = 50_000  # values, among which those that stand in many rows come again and again


@dataclass(frozen=True, slots=True)
class Range:
    """The runs: at `begin`, then `every` so long, none after `end`. `first` is what the first of them reads."""

    begin: datetime
    end: datetime
    every: timedelta
    first: Windows

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
        self._signals = _by_actor(_ordered(arrivals["signals"], sides["signals"]))

    def read(self, rule: Rule, windows: Windows) -> Logs:
        """Both sides at `windows.now`."""
        after, now = bounds(windows), windows.now
        once = rule.sequence.duplicates == "once"
        changes = list(self._changes.seen(after["changes_after"], now))
        actors = dict.fromkeys(event.actor for event in changes)
        theirs = [self._signals[actor] for actor in actors if actor in self._signals]  # the semi-join
        signals = [event for one in theirs for event in one.seen(after["signals_after"], now)]
        return Logs(
            placed(changes, windows.changes, once=once),
            placed(signals, windows.signals, once=once),
        )

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
