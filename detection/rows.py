"""A pair as the row that the rule's query returns: the columns of `output`, in their order. Pure."""

import json
from datetime import datetime
from functools import lru_cache
from operator import itemgetter

from detection.correlate import Pair
from detection.events import Event
from detection.rule import Rule, Side
from detection.timestamps import iso

BEYOND = "Beyond"
OutputRow = dict[str, object]


def columns(rule: Rule) -> list[str]:
    """The names of an output row's columns; a derived rule says last why a row goes beyond the published one."""
    return [*rule.sequence.output, *([BEYOND] if rule.sequence.published else [])]


class Output:
    """Writes the pairs of one rule as rows: times as ISO 8601 text, dynamic columns as JSON values."""

    def __init__(self, rule: Rule) -> None:
        sequence = rule.sequence
        places = {name: place for place, name in enumerate(sequence.columns)}  # in both rows, end to end
        self._names = sequence.output
        self._values = itemgetter(*(places[name] for name in sequence.output))
        self._times = [name for name in sequence.output if sequence.columns[name] == "datetime"]
        self._dynamic = [name for name in sequence.output if sequence.columns[name] == "dynamic"]
        self._beyond = Beyond(rule) if sequence.published else None

    def row(self, pair: Pair, now: datetime) -> OutputRow:
        """The row of a pair at the moment `now`."""
        change, signal = pair
        row = dict(zip(self._names, self._values(change.row + signal.row), strict=True))
        for name in self._times:
            row[name] = _plain_time(row[name])
        for name in self._dynamic:
            row[name] = _parsed(row[name])
        if self._beyond:
            row[BEYOND] = self._beyond.reasons(pair, now)
        return row


class Beyond:
    """Says why a pair goes further than the published rule, which goes by stamps and by its own window."""

    def __init__(self, rule: Rule) -> None:
        changes, signals = rule.sequence.changes, rule.sequence.signals
        self._changes, self._signals = Stamps(changes), Stamps(signals)
        self._outside = rule.sequence.published.beyond if rule.sequence.published else ""
        self._period, self._within = rule.query_period, rule.sequence.within

    def reasons(self, pair: Pair, now: datetime) -> list[str]:
        """The reasons; [] for a pair that the published query, run at `now`, returns."""
        change, signal = pair
        reasons = [*self._changes.flags(change), *self._signals.flags(signal)]
        return reasons if self.in_published_window(pair, now) else [*reasons, self._outside]

    def in_published_window(self, pair: Pair, now: datetime) -> bool:
        """Whether the published query, run at `now`, would see a row of both and find them in order."""
        since = now - self._period
        return any(
            since < change <= signal <= change + self._within
            for change in self._changes.of(pair[0])
            for signal in self._signals.of(pair[1])
        )


class Stamps:
    """What a side's rows say beside their event: when they were stamped, and how they go beyond."""

    def __init__(self, side: Side) -> None:
        self._time, self._stamped = side.at(side.time), side.at(side.stamped)
        self._beyond = side.at(side.beyond) if side.beyond else None

    def of(self, event: Event) -> list[datetime]:
        """When Log Analytics says the event's rows were generated; its own time unless one was re-stamped."""
        if not event.copies and not self.moved(event):
            return [event.time]
        return [datetime.fromisoformat(row[self._stamped]) for row in (event.row, *event.copies)]

    def moved(self, event: Event) -> bool:
        """Whether a row of the event was re-stamped."""
        return any(row[self._stamped] != row[self._time] for row in (event.row, *event.copies))

    def flags(self, event: Event) -> tuple[str, ...]:
        """What the side's query itself says goes beyond the published one."""
        return _reasons(event.row[self._beyond]) if self._beyond is not None else ()


@lru_cache(maxsize=65_536)  # seconds are shared by many rows
def _plain_time(text: str) -> str:
    return iso(datetime.fromisoformat(text))


@lru_cache(maxsize=4096)  # few different values stand in very many rows
def _parsed(text: str | None) -> object:
    return None if text is None else json.loads(text)


@lru_cache(maxsize=4096)  # as above
def _reasons(text: str) -> tuple[str, ...]:
    return tuple(reason for reason in json.loads(text) if reason)
