"""A pair as the row that the rule's query returns: the columns of `output`, in their order."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import lru_cache
from itertools import groupby
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from detection.base.timestamps import iso
from detection.correlation.correlate import Pair
from detection.logs.events import Event
from detection.rules.model import KqlType, Rule, Side

BEYOND = "Beyond"
MAX_VALUE_LENGTH = 1_024  # characters of a value from the logs; keys and ids use the full value
OutputRow = dict[str, object]


def output_columns(rule: Rule) -> list[str]:
    """The columns of an output row. A derived rule has `Beyond` as the last column."""
    return [*rule.sequence.output, *([BEYOND] if rule.sequence.published else [])]


def row_time(row: OutputRow, side: Side) -> datetime:
    """The time (UTC) of a side's event in a row as the rule's query returns it."""
    return datetime.fromisoformat(str(row[side.time]))


class RowWriter:
    """Writes the pairs of one rule as rows: times as ISO 8601 text, dynamic columns as JSON values."""

    def __init__(self, rule: Rule) -> None:
        sequence = rule.sequence
        sides = (sequence.changes, sequence.signals)
        # Neighbouring columns of a side are written together: (side, [(name, place, type)]).
        self._groups = [
            (number, [(name, sides[number].place_of(name), sequence.columns[name]) for name in names])
            for number, names in groupby(
                sequence.output, key=lambda name: int(name in sequence.signals.columns)
            )
        ]
        # The parts of a line: those of the change followed by those of the signal, in the order of `output`.
        side_numbers = [number for number, _ in self._groups]
        offsets = (0, side_numbers.count(0))
        self._part_order = [
            offsets[number] + side_numbers[:position].count(number)
            for position, number in enumerate(side_numbers)
        ]
        self._beyond = BeyondReasons(rule) if sequence.published else None
        self._written_events: dict[int, _WrittenEvent] = {}

    def row(self, pair: Pair, now: datetime) -> OutputRow:
        """The row of a pair at the moment `now`."""
        row = {
            name: _cell_value(pair[number].row[place], kql_type)
            for number, group_columns in self._groups
            for name, place, kql_type in group_columns
        }
        return row | ({BEYOND: list(self._beyond.reasons(pair, now))} if self._beyond else {})

    def lines(self, pairs: Iterable[Pair], now: datetime) -> Iterator[str]:
        """The rows as lines of JSON. Serializes an event once, however many pairs it is in."""
        written, part_order = self._written_events, self._part_order
        for change, signal in pairs:
            written_change = written.get(id(change)) or self._write(change, 0)
            written_signal = written.get(id(signal)) or self._write(signal, 1)
            beyond_part = ""
            if self._beyond:
                if written_change.restamped or written_signal.restamped:
                    reasons = self._beyond.reasons((change, signal), now)
                else:  # as BeyondReasons.reasons, from cached values: this runs for every pair
                    reasons = written_change.query_reasons + written_signal.query_reasons
                    if not self._beyond.in_published_window(change.time, now):
                        reasons = (*reasons, self._beyond.window_reason)
                beyond_part = _beyond_text(reasons)
            parts = written_change.parts + written_signal.parts
            yield "{" + ",".join([parts[position] for position in part_order]) + beyond_part + "}"

    def _write(self, event: Event, side_number: int) -> "_WrittenEvent":
        """Serializes an event: a part of the line for each group of its side's columns."""
        parts = [
            to_json(
                {name: _cell_value(event.row[place], kql_type) for name, place, kql_type in group_columns},
                ensure_ascii=True,
            )[1:-1].decode()
            for side, group_columns in self._groups
            if side == side_number
        ]
        stamps = self._beyond.stamps[side_number] if self._beyond else None
        self._written_events[id(event)] = written = _WrittenEvent(
            event,
            parts,
            stamps.query_reasons(event) if stamps else (),
            bool(stamps and stamps.is_restamped(event)),
        )
        return written


class _WrittenEvent(NamedTuple):
    """A serialized event. It holds the event, so that no other object gets the same id()."""

    event: Event
    parts: list[str]
    query_reasons: tuple[str, ...]
    restamped: bool


class BeyondReasons:
    """The reasons why a pair goes beyond the published rule, which uses stamps and its own window."""

    def __init__(self, rule: Rule) -> None:
        self.stamps = (StampReader(rule.sequence.changes), StampReader(rule.sequence.signals))
        self.window_reason = rule.sequence.published.beyond if rule.sequence.published else ""
        self._period, self._within = rule.query_period, rule.sequence.within

    def reasons(self, pair: Pair, now: datetime) -> tuple[str, ...]:
        """The reasons for a pair; () if the published query, run at `now`, returns the pair."""
        change, signal = pair
        change_stamps, signal_stamps = self.stamps
        reasons = change_stamps.query_reasons(change) + signal_stamps.query_reasons(signal)
        if change_stamps.is_restamped(change) or signal_stamps.is_restamped(signal):
            in_window = any(
                self.in_published_window(change_time, now)
                and change_time <= signal_time <= change_time + self._within
                for change_time in change_stamps.stamps_of(change)
                for signal_time in signal_stamps.stamps_of(signal)
            )
        else:  # stamped with their own times, which are in order
            in_window = self.in_published_window(change.time, now)
        return reasons if in_window else (*reasons, self.window_reason)

    def in_published_window(self, stamp: datetime, now: datetime) -> bool:
        """Whether a row with this stamp is in the window of the published query, run at `now`."""
        return now - self._period < stamp


class StampReader:
    """Reads the stamps of a side's rows, and the reasons why they go beyond the published rule."""

    def __init__(self, side: Side) -> None:
        self._time, self._stamped = side.place_of(side.time), side.place_of(side.stamped)
        self._beyond = side.place_of(side.beyond) if side.beyond else None

    def stamps_of(self, event: Event) -> list[datetime]:
        """The times at which, by Log Analytics, the event's rows were generated."""
        return [datetime.fromisoformat(row[self._stamped]) for row in (event.row, *event.copies)]

    def is_restamped(self, event: Event) -> bool:
        """Whether a row of the event was re-stamped: its stamp is not the event's own time."""
        own_time = event.row[self._time]
        if event.row[self._stamped] != own_time:
            return True
        return bool(event.copies) and any(row[self._stamped] != own_time for row in event.copies)

    def query_reasons(self, event: Event) -> tuple[str, ...]:
        """The reasons that the side's query itself returns."""
        return _reasons_in(event.row[self._beyond]) if self._beyond is not None else ()


def truncate(text: str) -> str:
    """A value from the logs, cut to MAX_VALUE_LENGTH characters."""
    return text if len(text) <= MAX_VALUE_LENGTH else text[:MAX_VALUE_LENGTH] + "…"


def truncate_row(row: OutputRow, limit: int) -> OutputRow:
    """The row with its long values cut: the author of a log row must not decide how long an alert is."""
    return {
        name: value if len(str(value)) <= limit else f"{value}"[:limit] + "…" for name, value in row.items()
    }


def _cell_value(value: Any, kql_type: KqlType) -> object:  # noqa: ANN401  # of whatever type the column is
    if kql_type == "datetime":
        return _iso_time(value) if value else None
    return _parsed_json(value) if kql_type == "dynamic" else value


@lru_cache(maxsize=65_536)  # seconds are shared by many rows
def _iso_time(text: str) -> str:
    return iso(datetime.fromisoformat(text))


@lru_cache(maxsize=4096)  # very many rows share few values
def _parsed_json(text: str | None) -> Any:  # noqa: ANN401  # JSON has no narrower type
    """The value of JSON text. Numbers and nesting that only DuckDB takes stay text."""
    try:
        return None if text is None else from_json(text)
    except ValueError:
        return text


@lru_cache(maxsize=4096)  # as above
def _reasons_in(text: str | None) -> tuple[str, ...]:
    reasons = _parsed_json(text)
    return tuple(filter(None, reasons)) if isinstance(reasons, list) else ()


@lru_cache(maxsize=4096)  # as above
def _beyond_text(reasons: tuple[str, ...]) -> str:
    return "," + to_json({BEYOND: reasons})[1:-1].decode()
