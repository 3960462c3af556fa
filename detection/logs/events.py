"""Turns the rows of a query's answer into events."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from itertools import repeat
from operator import itemgetter
from typing import Any, NamedTuple

from detection.logs.coverage import Coverage
from detection.logs.window import Window
from detection.rules.model import Side

# A row of an answer as the query API sends it: dynamic columns are JSON text, datetimes are ISO 8601 text in
# UTC.
Row = tuple[Any, ...]


class Event(NamedTuple):
    """A change or a signal.

    `id` is its natural key, `time` its own time (UTC), `kind` what happened. `row` holds the columns that
    rule.yaml declares for its side, in that order. `copies` are other rows of the same event: the log may
    have delivered the event again under a new stamp.
    """

    id: str
    time: datetime
    actor: str
    kind: str
    row: Row
    copies: tuple[Row, ...] = ()

    def with_copies_of(self, duplicate: "Event") -> "Event":
        """The event with the rows of a duplicate among its copies."""
        rows = (self.row, *self.copies)
        new_rows = tuple(row for row in (duplicate.row, *duplicate.copies) if row not in rows)
        return self._replace(copies=(*self.copies, *new_rows)) if new_rows else self


@dataclass(frozen=True, slots=True)
class Rejected:
    """The number of rows that were rejected for one reason, and the location of the first of them."""

    count: int
    first_location: str


@dataclass(frozen=True, slots=True)
class SideHealth:
    """The state of one source in its window. It explains why a run found nothing.

    `rows` is the number of rows, `named` the number of rows that name an actor, `newest` the latest stamp
    (UTC) or None. `cut` is the number of rows that name no actor because Log Analytics cut the field.
    """

    rows: int
    named: int
    newest: datetime | None
    cut: int = 0

    def unnamed(self) -> dict[str, int]:
        """The number of rows that name no actor, by reason."""
        counts = {"no actor": self.rows - self.named - self.cut, "cut": self.cut}
        return {reason: count for reason, count in counts.items() if count > 0}


@dataclass(frozen=True, slots=True)
class Events:
    """The events of one side: those in its window, and those outside it by their own time."""

    in_window: Sequence[Event]
    too_late: Sequence[Event] = ()
    in_future: Sequence[Event] = ()

    @property
    def all_events(self) -> Sequence[Event]:
        return [*self.in_window, *self.too_late, *self.in_future]


@dataclass(frozen=True, slots=True)
class Logs:
    """Everything that a run read, complete. A source that cannot read everything raises Incomplete instead.

    `rejected` is by reason, `health` by side; `coverage` is None if it could not be counted.

    If there are too many signals for memory, they are in `slices`: each slice has all signals of some actors,
    and all changes of those actors. A chunk (`is_chunk`) has only a part of the signals of one actor who has
    too many even for a slice; more chunks of the same actor follow.
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
    """The events of a side, in the order of the rows; with `once` the earliest of equal id and actor."""
    return place_in_window(events_of(list(rows), side), window, once=once)


def place_in_window(events: Collection[Event], window: Window, *, once: bool) -> Events:
    """Sorts the events into those in the window, those before it (too late) and those after it (in the
    future).

    The event's own time decides, not its stamp. An event in the future is read again by a later run.
    """
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
    """The events without duplicates. Of equal id and actor the earliest stays, with the others as copies.

    A row that is delivered again may have a later time: without the vendor's own time, its time is a new
    stamp.
    """
    if len({event.id for event in events}) == len(events):
        return events
    event_by_identity: dict[tuple[str, str], Event] = {}
    for event in events:
        identity = event.id, event.actor
        original = event_by_identity.setdefault(identity, event)
        earlier, later = (event, original) if event.time < original.time else (original, event)
        event_by_identity[identity] = earlier.with_copies_of(later)
    return event_by_identity.values()


def events_of(rows: list[Row], side: Side) -> list[Event]:
    """The rows as events, one for each row. Works column by column: there may be half a million rows.

    A row without an id gets the digest of its full row as its id, so identical rows have the same id. Of a
    row whose full row is missing too, the columns that were read are the full row.
    """
    id_place, full_row_place = side.place_of(side.id), side.place_of(side.full_row)
    if not all(map(itemgetter(id_place), rows)):
        rows = [
            row
            if row[id_place]
            else (
                *row[:id_place],
                "row_" + sha256((row[full_row_place] or repr(row)).encode()).hexdigest()[:32],
                *row[id_place + 1 :],
            )
            for row in rows
        ]
    ids, times, actors, kinds = (
        map(itemgetter(side.place_of(name)), rows) for name in (side.id, side.time, side.actor, side.kind)
    )
    parsed_times = map(datetime.fromisoformat, times)
    return list(map(Event._make, zip(ids, parsed_times, actors, kinds, rows, repeat(()), strict=False)))
