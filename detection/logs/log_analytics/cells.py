"""Converts the cells of an answer, column by column, into rows as rule.yaml declares them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import NoneType
from typing import Any

from pydantic_core import from_json

from detection.base.errors import DataError
from detection.base.surrogates import replace_lone_surrogates
from detection.base.timestamps import FIRST_YEAR, LAST_YEAR
from detection.logs.events import Rejected, Row
from detection.logs.log_analytics.answers import AnswerTable
from detection.rules.model import KqlType, Side

Cells = Sequence[Any]
_EARLIEST_TIME, _END_TIME = (datetime(year, 1, 1, tzinfo=UTC) for year in (FIRST_YEAR, LAST_YEAR))


# Python types of the cells of a column by its KQL type. A real may be text: JSON has no infinity.
_SCALARS: Mapping[KqlType, set[type]] = {
    "string": {str, NoneType},
    "bool": {bool, int, NoneType},
    "int": {int, NoneType},
    "long": {int, NoneType},
    "real": {int, float, str, NoneType},
}


@dataclass(slots=True)
class RowReader:
    """Reads the rows of one side out of tables. Rejects and counts rows with a cell that cannot be read."""

    side: Side
    rejected: dict[str, Rejected] = field(default_factory=dict)

    def read(self, table: AnswerTable) -> Iterator[Row]:
        """The valid rows of a table, which is empty afterwards.

        Raises DataError if the answer declares another type for a column that rule.yaml declares a string.
        """
        column_types, id_place = self.side.columns, self.side.place_of(self.side.id)
        for cell_columns in table.take_columns(column_types):
            problems: dict[int, str] = {}  # the first problem of a row, by the row's position
            columns = [
                _convert_cells(name, column_type, cells, table, problems)
                for (name, column_type), cells in zip(column_types.items(), cell_columns, strict=True)
            ]
            self._check_times(columns, problems)
            rows = zip(*columns, strict=True)
            if not problems:
                yield from rows
                continue
            for position, row in enumerate(rows):
                if problem := problems.get(position):
                    self.reject(problem, str(row[id_place] or "a row without an id"))
                else:
                    yield row

    def read_all(self, table: AnswerTable) -> list[Row]:
        return list(self.read(table))

    def reject(self, reason: str, location: str) -> None:
        """Counts a row that cannot be read."""
        previous = self.rejected.get(reason, Rejected(0, location))
        self.rejected[reason] = Rejected(previous.count + 1, previous.first_location)

    def _check_times(self, columns: Sequence[Cells], problems: dict[int, str]) -> None:
        """Adds the problems of times. Only an event's own time and its stamp must be there."""
        required = (self.side.time, self.side.stamped)
        time_columns = {
            name: cells
            for (name, column_type), cells in zip(self.side.columns.items(), columns, strict=True)
            if column_type == "datetime"
        }
        written = [
            cells if name in required else list(filter(None, cells)) for name, cells in time_columns.items()
        ]
        if _are_all_times(written):
            return
        for name, cells in time_columns.items():
            for position, time in enumerate(cells):
                if (name in required or time not in (None, "")) and (problem := _time_problem(name, time)):
                    problems.setdefault(position, problem)


def _convert_cells(
    name: str, kind: KqlType, cells: Cells, table: AnswerTable, problems: dict[int, str]
) -> Cells:
    """The cells of one column: a dynamic cell becomes JSON text, a null string becomes "".

    Adds the problems of cells that cannot be read.
    """
    if kind == "datetime":
        return cells
    cell_types = set(map(type, cells))
    if kind == "dynamic":
        if cell_types - {str, NoneType}:
            return [_json_text(cell) if isinstance(cell, str) else _dump_json(cell) for cell in cells]
        # Few different texts are in very many rows, so each is parsed once.
        json_by_value = {value: None if value is None else _json_text(value) for value in set(cells)}
        return list(map(json_by_value.__getitem__, cells))
    if cell_types - _SCALARS[kind]:
        if kind == "string" and table.types.get(name, kind) != kind:
            raise DataError(
                f"{name}: the answer has the type {table.types[name]}; rule.yaml declares a string: "
                "use tostring() in the rule's query"
            )
        reason = f"{name}: not text" if kind == "string" else f"{name}: not of type {kind}"
        for position, cell in enumerate(cells):
            if type(cell) not in _SCALARS[kind]:
                problems.setdefault(position, reason)
    return [cell or "" for cell in cells] if kind == "string" and NoneType in cell_types else cells


def _json_text(text: str) -> str | None:
    """JSON text as the API sends it; other text as a JSON string. U+FFFD replaces lone surrogates."""
    if not text:
        return None
    try:
        return None if from_json(text, allow_inf_nan=False) is None else text
    except ValueError:
        repaired = replace_lone_surrogates(text.encode())
    try:
        from_json(repaired, allow_inf_nan=False)
    except ValueError:
        return _dump_json(text)
    return repaired.decode()


def _dump_json(value: object) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _are_all_times(columns: Sequence[Cells]) -> bool:
    """Whether all cells are valid times, which is the usual case. Equal columns are parsed once."""
    try:
        for number, cells in enumerate(columns):
            if cells and cells not in columns[:number]:
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
