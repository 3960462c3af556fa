"""The cells of an answer, column by column, become rows as rule.yaml declares them; what says no time is left out."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic_core import from_json

from detection.base.errors import DataError
from detection.base.gc_paused import gc_paused
from detection.base.timestamps import FIRST_YEAR, LAST_YEAR
from detection.logs.events import Rejected, Row
from detection.logs.log_analytics.answers import AnswerTable
from detection.rules.model import KqlType, Side

Cells = Sequence[Any]
_EARLIEST_TIME, _LAST = (datetime(year, 1, 1, tzinfo=UTC) for year in (FIRST_YEAR, LAST_YEAR))


@dataclass(slots=True)
class RowReader:
    """Takes the rows of one side out of tables, and counts by reason those that do not say when they happened."""

    side: Side
    rejected: dict[str, Rejected] = field(default_factory=dict)

    def read(self, table: AnswerTable) -> Iterator[Row]:
        """The sound rows of a table, which is empty afterwards."""
        column_types = self.side.columns
        for cell_columns in table.take_columns(column_types):
            columns = [
                _convert_cells(name, column_type, cells)
                for (name, column_type), cells in zip(column_types.items(), cell_columns, strict=True)
            ]
            rows = zip(*columns, strict=True)
            time_columns = [columns[self.side.place_of(name)] for name in (self.side.time, self.side.stamped)]
            yield from rows if _are_all_times(time_columns) else self._valid_rows(rows)

    @gc_paused()
    def read_all(self, table: AnswerTable) -> list[Row]:
        """All of them."""
        return list(self.read(table))

    def _valid_rows(self, rows: Iterable[Row]) -> Iterator[Row]:
        positions = {column: self.side.place_of(column) for column in (self.side.time, self.side.stamped)}
        for row in rows:
            problems = (_time_problem(column, row[position]) for column, position in positions.items())
            if problem := next(filter(None, problems), None):
                self._reject(problem, row[self.side.place_of(self.side.id)])
            else:
                yield row

    def _reject(self, problem: str, row_id: str) -> None:
        rejected = self.rejected.get(problem, Rejected(0, row_id or "a row without an id"))
        self.rejected[problem] = Rejected(rejected.count + 1, rejected.first_location)


def _convert_cells(name: str, kind: KqlType, cells: Cells) -> Cells:
    if kind == "dynamic":
        return _dynamic_cells(cells)
    return _string_cells(name, cells) if kind == "string" else cells


def _dynamic_cells(cells: Cells) -> Cells:
    """JSON texts. Few different ones stand in very many rows, so each is looked at once."""
    if set(map(type, cells)) <= {str, type(None)}:
        json_by_value = {value: None if value is None else _json_text(value) for value in set(cells)}
        return list(map(json_by_value.__getitem__, cells))
    return [_json_text(cell) if isinstance(cell, str) else _dynamic(cell) for cell in cells]


def _string_cells(name: str, cells: Cells) -> Cells:
    """Texts; Kusto's strings have no null."""
    cell_types = set(map(type, cells))
    if cell_types <= {str}:
        return cells
    if cell_types <= {str, type(None)}:
        return [cell or "" for cell in cells]
    msg = f"{name}: the answer has a value that is no text where rule.yaml declares a string"
    raise DataError(msg)


def _json_text(text: str) -> str | None:
    """JSON text as the API sends it; text that is none becomes a JSON string."""
    if not text:
        return None
    try:
        return None if from_json(text, allow_inf_nan=False) is None else text
    except ValueError:
        return _dynamic(text)


def _dynamic(value: object) -> str | None:
    """The JSON text of a value that was sent as such."""
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _are_all_times(columns: Sequence[Cells]) -> bool:
    """Whether all cells are proper times, which is the usual case."""
    first_column, *other_columns = columns
    try:
        return all(
            _are_valid_times(cells)
            for cells in (first_column, *(column for column in other_columns if column != first_column))
        )
    except (TypeError, ValueError):  # no text, no time, or no zone to compare by
        return False


def _are_valid_times(cells: Cells) -> bool:
    times = list(map(datetime.fromisoformat, cells))
    return min(times) >= _EARLIEST_TIME and max(times) < _LAST


def _time_problem(column: str, time: object) -> str:
    """What is wrong with a time, in the words that exported logs have for it."""
    if time in (None, ""):
        return f"{column}: no time"
    try:
        moment = datetime.fromisoformat(str(time))  # of seven digits the last is dropped
    except ValueError:
        return f"{column}: not a time"
    if moment.tzinfo is None:
        return f"{column}: time without a zone"
    return "" if _EARLIEST_TIME <= moment < _LAST else f"{column}: absurd time"
