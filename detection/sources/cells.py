"""The cells of an answer, column by column, become rows as rule.yaml declares them; what says no time is left out."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic_core import from_json

from detection.errors import DataError
from detection.events import Rejected, Row
from detection.rule import KqlType, Side
from detection.sources.answer import Table
from detection.timestamps import FIRST_YEAR, LAST_YEAR
from detection.uncollected import uncollected

Cells = Sequence[Any]
_FIRST, _LAST = (datetime(year, 1, 1, tzinfo=UTC) for year in (FIRST_YEAR, LAST_YEAR))


@dataclass(slots=True)
class Rows:
    """Takes the rows of one side out of tables, and counts by reason those that do not say when they happened."""

    side: Side
    rejected: dict[str, Rejected] = field(default_factory=dict)

    def of(self, table: Table) -> Iterator[Row]:
        """The sound rows of a table, which is empty afterwards."""
        kinds = self.side.columns
        for sent in table.take(kinds):
            columns = [
                _cells(name, kind, cells) for (name, kind), cells in zip(kinds.items(), sent, strict=True)
            ]
            rows = zip(*columns, strict=True)
            times = [columns[self.side.at(name)] for name in (self.side.time, self.side.stamped)]
            yield from rows if _are_times(times) else self._sound(rows)

    @uncollected()
    def list_of(self, table: Table) -> list[Row]:
        """All of them."""
        return list(self.of(table))

    def _sound(self, rows: Iterable[Row]) -> Iterator[Row]:
        times = {column: self.side.at(column) for column in (self.side.time, self.side.stamped)}
        for row in rows:
            problems = (_problem(column, row[place]) for column, place in times.items())
            if problem := next(filter(None, problems), None):
                self._reject(problem, row[self.side.at(self.side.id)])
            else:
                yield row

    def _reject(self, problem: str, ident: str) -> None:
        known = self.rejected.get(problem, Rejected(0, ident or "a row without an id"))
        self.rejected[problem] = Rejected(known.count + 1, known.first)


def _cells(name: str, kind: KqlType, sent: Cells) -> Cells:
    if kind == "dynamic":
        return _dynamics(sent)
    return _strings(name, sent) if kind == "string" else sent


def _dynamics(sent: Cells) -> Cells:
    """JSON texts. Few different ones stand in very many rows, so each is looked at once."""
    if set(map(type, sent)) <= {str, type(None)}:
        known = {value: None if value is None else _json_text(value) for value in set(sent)}
        return list(map(known.__getitem__, sent))
    return [_json_text(cell) if isinstance(cell, str) else _dynamic(cell) for cell in sent]


def _strings(name: str, sent: Cells) -> Cells:
    """Texts; Kusto's strings have no null."""
    kinds = set(map(type, sent))
    if kinds <= {str}:
        return sent
    if kinds <= {str, type(None)}:
        return [cell or "" for cell in sent]
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


def _are_times(columns: Sequence[Cells]) -> bool:
    """Whether all cells are proper times, which is the usual case."""
    first, *others = columns
    try:
        return all(_proper(cells) for cells in (first, *(one for one in others if one != first)))
    except (TypeError, ValueError):  # no text, no time, or no zone to compare by
        return False


def _proper(cells: Cells) -> bool:
    moments = list(map(datetime.fromisoformat, cells))
    return min(moments) >= _FIRST and max(moments) < _LAST


def _problem(column: str, time: object) -> str:
    """What is wrong with a time, in the words that exported logs have for it."""
    if time in (None, ""):
        return f"{column}: no time"
    try:
        moment = datetime.fromisoformat(str(time))  # of seven digits the last is dropped
    except ValueError:
        return f"{column}: not a time"
    if moment.tzinfo is None:
        return f"{column}: time without a zone"
    return "" if _FIRST <= moment < _LAST else f"{column}: absurd time"
