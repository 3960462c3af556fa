"""Rows of a query's answer become events; what cannot become one is counted with its reason. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from itertools import repeat
from operator import itemgetter
from typing import Any, NamedTuple

from detection.rule import Side
from detection.uncollected import uncollected
from detection.window import Window

# A row of an answer as the query API sends it: dynamic columns are JSON text, datetimes ISO 8601 text in UTC.
Row = tuple[Any, ...]


class Event(NamedTuple):
    """A change or a signal.

    `id` is its natural key, `time` its own time (UTC), `kind` what happened; `row` holds the columns
    that rule.yaml declares for its side, in that order. `copies` are rows of the same event that differ
    from it: it may have been delivered again, and stamped anew.
    """

    id: str
    time: datetime
    actor: str
    kind: str
    row: Row
    copies: tuple[Row, ...] = ()

    def beside(self, other: "Event") -> "Event":
        """The event with the rows of another of the same id among its copies."""
        rows = (self.row, *self.copies)
        more = tuple(row for row in (other.row, *other.copies) if row not in rows)
        return self._replace(copies=(*self.copies, *more)) if more else self


@dataclass(frozen=True, slots=True)
class Rejected:
    """How many rows were left out for one reason, and where the first of them stands."""

    count: int
    first: str


@dataclass(frozen=True, slots=True)
class Health:
    """What one source holds in its window: silence is explained by it.

    `rows` read, `named` of them naming an actor, `newest` the latest time stamp (UTC) or None.
    """

    rows: int
    named: int
    newest: datetime | None


@dataclass(frozen=True, slots=True)
class Events:
    """The events of one side: those `inside` its window, and what lay outside by their own time."""

    inside: Sequence[Event]
    too_late: Sequence[Event] = ()
    waiting: Sequence[Event] = ()

    @property
    def read(self) -> Sequence[Event]:
        """Every event that was read."""
        return [*self.inside, *self.too_late, *self.waiting]


@dataclass(frozen=True, slots=True)
class Logs:
    """Everything one run read, complete. A source that cannot say so raises Incomplete instead.

    `rejected` is by reason; `health` is by side. What is too much for memory comes in slices: the signals are in
    `rest` then, each slice with all the signals of some actors and all their changes. A `piece` has only some
    signals of one actor, who has more of them than anybody can keep apart; more of his follow.
    """

    changes: Events
    signals: Events
    rejected: Mapping[str, Rejected] = field(default_factory=dict)
    health: Mapping[str, Health] = field(default_factory=dict)
    rest: Iterable["Logs"] = ()
    piece: bool = False


def to_events(rows: Iterable[Row], side: Side, window: Window, *, once: bool) -> Events:
    """The events among the rows of one side, in the order of the rows.

    With `once`, rows of equal id, actor and own time count as one event, the first.
    """
    return placed(events_of(list(rows), side), window, once=once)


@uncollected()
def placed(events: Collection[Event], window: Window, *, once: bool) -> Events:
    """The events by their place in a window. Their own time decides: older is too late, ahead of it waits for its time."""
    if once:
        events = unique(events)
    inside: list[Event] = []
    too_late: list[Event] = []
    waiting: list[Event] = []
    after, until = window.after, window.until
    for event in events:
        if event.time <= after:
            too_late.append(event)
        elif until and event.time > until:
            waiting.append(event)
        else:
            inside.append(event)
    return Events(inside, too_late, waiting)


def unique(events: Collection[Event]) -> Collection[Event]:
    """The events without duplicates; of equal id, own time and actor the first stays, with its copies."""
    if len({event.id for event in events}) == len(events):
        return events
    first: dict[tuple[str, datetime, str], Event] = {}
    for event in events:
        known = first.setdefault((event.id, event.time, event.actor), event)
        first[event.id, event.time, event.actor] = known.beside(event)
    return first.values()


@uncollected()
def events_of(rows: list[Row], side: Side) -> list[Event]:
    """The rows as events, one for each, column by column: there may be half a million."""
    ident, full = side.at(side.id), side.at(side.full_row)
    if not all(map(itemgetter(ident), rows)):
        rows = [row if row[ident] else (*row[:ident], _digest(row[full]), *row[ident + 1 :]) for row in rows]
    ids, times, actors, kinds = (
        map(itemgetter(side.at(name)), rows) for name in (side.id, side.time, side.actor, side.kind)
    )
    moments = map(datetime.fromisoformat, times)
    return list(map(Event._make, zip(ids, moments, actors, kinds, rows, repeat(()), strict=False)))


def _digest(full_row: str) -> str:
    """An id for a row that has none: rows equal in full have the same."""
    return "row_" + sha256(full_row.encode()).hexdigest()[:32]
