"""A pair as the row that the rule's query returns: the columns of `output`, in their order. Pure."""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import lru_cache
from itertools import groupby
from typing import Any, NamedTuple

from pydantic_core import to_json

from detection.correlate import Pair
from detection.events import Event
from detection.rule import KqlType, Rule, Side
from detection.timestamps import iso

BEYOND = "Beyond"
SHOWN = 1_024  # characters shown of one value from the logs; keys and ids rest on the full value
OutputRow = dict[str, object]


def columns(rule: Rule) -> list[str]:
    """The names of an output row's columns; a derived rule says last why a row goes beyond the published one."""
    return [*rule.sequence.output, *([BEYOND] if rule.sequence.published else [])]


class Output:
    """Writes the pairs of one rule as rows: times as ISO 8601 text, dynamic columns as JSON values."""

    def __init__(self, rule: Rule) -> None:
        sequence = rule.sequence
        sides = (sequence.changes, sequence.signals)
        # Neighbouring columns of one side are written together: (side, [(name, place, type)]).
        self._groups = [
            (number, [(name, sides[number].at(name), sequence.columns[name]) for name in names])
            for number, names in groupby(
                sequence.output, key=lambda name: int(name in sequence.signals.columns)
            )
        ]
        # A line's parts: the change's and the signal's end to end, put into the order of `output`.
        numbers = [number for number, _ in self._groups]
        firsts = (0, numbers.count(0))
        self._in_order = [firsts[number] + numbers[:at].count(number) for at, number in enumerate(numbers)]
        self._beyond = Beyond(rule) if sequence.published else None
        self._written: dict[int, _Written] = {}

    def row(self, pair: Pair, now: datetime) -> OutputRow:
        """The row of a pair at the moment `now`."""
        row = {
            name: _shown(pair[number].row[place], kind)
            for number, columns in self._groups
            for name, place, kind in columns
        }
        return row | ({BEYOND: list(self._beyond.reasons(pair, now))} if self._beyond else {})

    def lines(self, pairs: Iterable[Pair], now: datetime) -> Iterator[str]:
        """The same rows, each as a line of JSON. An event is written once, however many pairs it is in."""
        written, order = self._written, self._in_order
        for change, signal in pairs:
            left = written.get(id(change)) or self._write(change, 0)
            right = written.get(id(signal)) or self._write(signal, 1)
            beyond = _beyond_part(self._beyond, left, right, now) if self._beyond else ""
            parts = left.parts + right.parts
            yield "{" + ",".join([parts[at] for at in order]) + beyond + "}"

    def _write(self, event: Event, number: int) -> "_Written":
        """The event's share of a line, a part for each group of its side's columns."""
        parts = [
            to_json({name: _shown(event.row[at], kind) for name, at, kind in columns}, ensure_ascii=True)[
                1:-1
            ].decode()
            for side, columns in self._groups
            if side == number
        ]
        stamps = self._beyond.stamps[number] if self._beyond else None
        self._written[id(event)] = one = _Written(
            event, parts, stamps.flags(event) if stamps else (), bool(stamps and stamps.moved(event))
        )
        return one


class _Written(NamedTuple):
    """An event as it is written into lines; it is held too, so that its id stays its own."""

    event: Event
    parts: list[str]
    flags: tuple[str, ...]
    moved: bool


def _beyond_part(beyond: "Beyond", left: _Written, right: _Written, now: datetime) -> str:
    """As Beyond.reasons says it, from what is known of both events already: this runs for every pair."""
    if left.moved or right.moved:
        return _beyond_text(beyond.reasons((left.event, right.event), now))
    flags = left.flags + right.flags
    return _beyond_text(flags if beyond.sees(left.event.time, now) else (*flags, beyond.outside))


class Beyond:
    """Says why a pair goes further than the published rule, which goes by stamps and by its own window."""

    def __init__(self, rule: Rule) -> None:
        self.stamps = (Stamps(rule.sequence.changes), Stamps(rule.sequence.signals))
        self.outside = rule.sequence.published.beyond if rule.sequence.published else ""
        self._period, self._within = rule.query_period, rule.sequence.within

    def reasons(self, pair: Pair, now: datetime) -> tuple[str, ...]:
        """The reasons; none for a pair that the published query, run at `now`, returns."""
        change, signal = pair
        changes, signals = self.stamps
        reasons = changes.flags(change) + signals.flags(signal)
        if changes.moved(change) or signals.moved(signal):
            inside = any(
                self.sees(changed, now) and changed <= signalled <= changed + self._within
                for changed in changes.of(change)
                for signalled in signals.of(signal)
            )
        else:  # in order by their own times, and stamped with them
            inside = self.sees(change.time, now)
        return reasons if inside else (*reasons, self.outside)

    def sees(self, stamp: datetime, now: datetime) -> bool:
        """Whether a row of this stamp is in the window of the published query, run at `now`."""
        return now - self._period < stamp


class Stamps:
    """What a side's rows say beside their event: when they were stamped, and how they go beyond."""

    def __init__(self, side: Side) -> None:
        self._time, self._stamped = side.at(side.time), side.at(side.stamped)
        self._beyond = side.at(side.beyond) if side.beyond else None

    def of(self, event: Event) -> list[datetime]:
        """When Log Analytics says the event's rows were generated."""
        return [datetime.fromisoformat(row[self._stamped]) for row in (event.row, *event.copies)]

    def moved(self, event: Event) -> bool:
        """Whether a row of the event was re-stamped: otherwise all are stamped with its own time."""
        if event.row[self._stamped] != event.row[self._time]:
            return True
        return bool(event.copies) and any(row[self._stamped] != row[self._time] for row in event.copies)

    def flags(self, event: Event) -> tuple[str, ...]:
        """What the side's query itself says goes beyond the published one."""
        return _reasons(event.row[self._beyond]) if self._beyond is not None else ()


def shown(text: str) -> str:
    """A value from the logs, cut to what anybody reads of it."""
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def shown_row(row: OutputRow, limit: int) -> OutputRow:
    """The row with its long values cut: who writes the logs does not decide how long an alert is."""
    return {
        name: value if len(str(value)) <= limit else f"{value}"[:limit] + "…" for name, value in row.items()
    }


def _shown(value: Any, kind: KqlType) -> object:  # noqa: ANN401  # of whatever type the column is
    if kind == "datetime":
        return _plain_time(value)
    return _parsed(value) if kind == "dynamic" else value


@lru_cache(maxsize=65_536)  # seconds are shared by many rows
def _plain_time(text: str) -> str:
    return iso(datetime.fromisoformat(text))


@lru_cache(maxsize=4096)  # few different values stand in very many rows
def _parsed(text: str | None) -> object:
    return None if text is None else json.loads(text)


@lru_cache(maxsize=4096)  # as above
def _reasons(text: str) -> tuple[str, ...]:
    return tuple(reason for reason in json.loads(text) if reason)


@lru_cache(maxsize=4096)  # as above
def _beyond_text(reasons: tuple[str, ...]) -> str:
    return "," + to_json({BEYOND: reasons})[1:-1].decode()
