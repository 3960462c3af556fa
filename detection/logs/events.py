"""Rows of a query's answer become events; what cannot become one is counted with its reason."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from itertools import repeat
from operator import itemgetter
from typing import Any, NamedTuple

from detection.base.gc_paused import gc_paused
from detection.logs.coverage import Coverage
from detection.logs.window import Window
from detection.rules.model import Side

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

    def with_copies_of(self, duplicate: "Event") -> "Event":
        """The event with the rows of another of the same id among its copies."""
        rows = (self.row, *self.copies)
        new_rows = tuple(row for row in (duplicate.row, *duplicate.copies) if row not in rows)
        return self._replace(copies=(*self.copies, *new_rows)) if new_rows else self


@dataclass(frozen=True, slots=True)
class Rejected:
    """How many rows were left out for one reason, and where the first of them stands."""

    count: int
    first_location: str


@dataclass(frozen=True, slots=True)
class SideHealth:
    """What one source holds in its window: silence is explained by it.

    `rows` read, `named` of them naming an actor, `newest` the latest time stamp (UTC) or None.
    """

    rows: int
    named: int
    newest: datetime | None


@dataclass(frozen=True, slots=True)
class Events:
    """The events of one side: those `inside` its window, and what lay outside by their own time."""

    in_window: Sequence[Event]
    too_late: Sequence[Event] = ()
    in_future: Sequence[Event] = ()

    @property
    def all_events(self) -> Sequence[Event]:
        """Every event that was read."""
        return [*self.in_window, *self.too_late, *self.in_future]


@dataclass(frozen=True, slots=True)
class Logs:
    """Everything one run read, complete. A source that cannot say so raises Incomplete instead.

    `rejected` is by reason; `health` is by side; `coverage` is None where it could not be counted. What is too much for memory comes in slices: the signals are in
    `slices` then, each slice with all the signals of some actors and all their changes. A chunk (`is_chunk`) has only some
    signals of one actor, who has more of them than anybody can keep apart; more of his follow.
    """

    changes: Events
    signals: Events
    rejected: Mapping[str, Rejected] = field(default_factory=dict)
    health: Mapping[str, SideHealth] = field(default_factory=dict)
    slices: Iterable["Logs"] = ()
    is_chunk: bool = False
    is_slice: bool = False
    coverage: Coverage | None = None


def to_events(rows: Iterable[Row], side: Side, window: Window, *, once: bool) -> Events:
    """The events among the rows of one side, in the order of the rows.

    With `once`, rows of equal id, actor and own time count as one event, the first.
    """
    return place_in_window(events_of(list(rows), side), window, once=once)


@gc_paused()
def place_in_window(events: Collection[Event], window: Window, *, once: bool) -> Events:
    """The events by their place in a window. Their own time decides: older is too late, ahead of it waits for its time."""
    if once:
        events = without_duplicates(events)
    in_window: list[Event] = []
    too_late: list[Event] = []
    in_future: list[Event] = []
    after, until = window.after, window.until
    for event in events:
        if event.time <= after:
            too_late.append(event)
        elif until and event.time > until:
            in_future.append(event)
        else:
            in_window.append(event)
    return Events(in_window, too_late, in_future)


def without_duplicates(events: Collection[Event]) -> Collection[Event]:
    """The events without duplicates; of equal id, own time and actor the first stays, with its copies."""
    if len({event.id for event in events}) == len(events):
        return events
    event_by_identity: dict[tuple[str, datetime, str], Event] = {}
    for event in events:
        original = event_by_identity.setdefault((event.id, event.time, event.actor), event)
        event_by_identity[event.id, event.time, event.actor] = original.with_copies_of(event)
    return event_by_identity.values()


@gc_paused()
def events_of(rows: list[Row], side: Side) -> list[Event]:
    """The rows as events, one for each, column by column: there may be half a million."""
    id_place, full_row_place = side.place_of(side.id), side.place_of(side.full_row)
    if not all(map(itemgetter(id_place), rows)):
        rows = [
            row if row[id_place] else (*row[:id_place], _digest(row[full_row_place]), *row[id_place + 1 :])
            for row in rows
        ]
    ids, times, actors, kinds = (
        map(itemgetter(side.place_of(name)), rows) for name in (side.id, side.time, side.actor, side.kind)
    )
    parsed_times = map(datetime.fromisoformat, times)
    return list(map(Event._make, zip(ids, parsed_times, actors, kinds, rows, repeat(()), strict=False)))


def _digest(full_row: str) -> str:
    """An id for a row that has none: rows equal in full have the same."""
    return "row_" + sha256(full_row.encode()).hexdigest()[:32]
