"""Converts the cells of an answer, column by column, into rows as rule.yaml declares them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import NoneType
from typing import Any

from pydantic_core import from_json

from detection.base.errors import DataError
from detection.base.gc_paused import gc_paused
from detection.base.timestamps import FIRST_YEAR, LAST_YEAR
from detection.logs.events import Rejected, Row
from detection.logs.log_analytics.answers import AnswerTable
from detection.rules.model import KqlType, Side

Cells = Sequence[Any]
_EARLIEST_TIME, _END_TIME = (datetime(year, 1, 1, tzinfo=UTC) for year in (FIRST_YEAR, LAST_YEAR))


@dataclass(slots=True)
class RowReader:
    """Reads the rows of one side out of tables. Rejects rows without a valid time and counts them."""

    side: Side
    rejected: dict[str, Rejected] = field(default_factory=dict)

    def read(self, table: AnswerTable) -> Iterator[Row]:
        """The valid rows of a table, which is empty afterwards.

        Raises DataError if a column that rule.yaml declares a string has another type.
        """
        column_types, place_of = self.side.columns, self.side.place_of
        time_places = {name: place_of(name) for name in (self.side.time, self.side.stamped)}
        for cell_columns in table.take_columns(column_types):
            columns = [
                _convert_cells(name, column_type, cells)
                for (name, column_type), cells in zip(column_types.items(), cell_columns, strict=True)
            ]
            rows = zip(*columns, strict=True)
            if _are_all_times([columns[place] for place in time_places.values()]):
                yield from rows
                continue
            for row in rows:
                problems = (_time_problem(name, row[place]) for name, place in time_places.items())
                if problem := next(filter(None, problems), None):
                    row_id = row[place_of(self.side.id)] or "a row without an id"
                    previous = self.rejected.get(problem, Rejected(0, row_id))
                    self.rejected[problem] = Rejected(previous.count + 1, previous.first_location)
                else:
                    yield row

    @gc_paused()
    def read_all(self, table: AnswerTable) -> list[Row]:
        """The valid rows of a table as a list."""
        return list(self.read(table))


def _convert_cells(name: str, kind: KqlType, cells: Cells) -> Cells:
    """The cells of one column: a dynamic cell becomes JSON text, a null string becomes ""."""
    if kind not in ("dynamic", "string"):
        return cells
    cell_types = set(map(type, cells))
    if kind == "string":
        if cell_types - {str, NoneType}:
            raise DataError(
                f"{name}: the answer has a value that is not text; rule.yaml declares a string: "
                "use tostring() in the rule's query"
            )
        return cells if cell_types <= {str} else [cell or "" for cell in cells]
    if cell_types - {str, NoneType}:
        return [_json_text(cell) if isinstance(cell, str) else _dump_json(cell) for cell in cells]
    # Few different texts are in very many rows, so each is parsed once.
    json_by_value = {value: None if value is None else _json_text(value) for value in set(cells)}
    return list(map(json_by_value.__getitem__, cells))


def _json_text(text: str) -> str | None:
    """JSON text as the API sends it. Text that is not valid JSON becomes a JSON string."""
    if not text:
        return None
    try:
        return None if from_json(text, allow_inf_nan=False) is None else text
    except ValueError:
        return _dump_json(text)


def _dump_json(value: object) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _are_all_times(columns: Sequence[Cells]) -> bool:
    """Whether all cells are valid times, which is the usual case. Equal columns are parsed once."""
    try:
        for number, cells in enumerate(columns):
            if cells not in columns[:number]:
                times = list(map(datetime.fromisoformat, cells))
                if min(times) < _EARLIEST_TIME or max(times) >= _END_TIME:
                    return False
    except (TypeError, ValueError):  # not text, not a time, or without a zone
        return False
    return True


def _time_problem(column: str, time: object) -> str:
    """The problem of a time, or "". The texts are those of exported logs (files/columns.py)."""
    if time in (None, ""):
        return f"{column}: no time"
    try:
        moment = datetime.fromisoformat(str(time))  # drops the last of seven digits
    except ValueError:
        return f"{column}: not a time"
    if moment.tzinfo is None:
        return f"{column}: time without a zone"
    return "" if _EARLIEST_TIME <= moment < _END_TIME else f"{column}: absurd time"
