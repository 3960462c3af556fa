"""What many runs of many cases read, in a few queries: a rule's KQL takes DuckDB as long for one row as for many.

Runs that are answered together must not see each other's rows. Each gets a lane of its own: the same days, so many
years later that the calendar is the same, down to the weekday. The bounds of its windows stand in its rows, as
columns of the names by which the KQL speaks of them.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import duckdb_kql

from detection.bridges import Owners
from detection.errors import ConfigurationError
from detection.events import Logs, Row, to_events
from detection.kql import BOUNDS, bounds, queries
from detection.rule import Rule, Side, Table
from detection.ruletests.objects import Values
from detection.sources.cycles import Calendar, years_earlier
from detection.sources.engine import cell, explained, translated
from detection.sources.loading import ARRIVED, SQL_TYPES, load
from detection.timestamps import iso
from detection.window import Windows


class Arrival(NamedTuple):
    """A row of a table, the case it belongs to, and when it arrived."""

    case: str
    table: str
    row: Values
    received: datetime


class Reading(NamedTuple):
    """What a run of a case asks for."""

    case: str
    windows: Windows


class Lanes:
    """The rows of all cases of a rule, as they stood at the moment of each run."""

    def __init__(self, rule: Rule, arrivals: Iterable[Arrival]) -> None:
        """Loads the rows as exported ones are. Raises ConfigurationError, naming the case, for a value of a wrong type."""
        self._rule, self._connection = rule, duckdb_kql.connect()
        rows: dict[str, list[Arrival]] = defaultdict(list)
        for one in arrivals:
            rows[one.table].append(one)
        for name, table in rule.tables.items():
            self._load(name, table, rows[name])
        self._calendar = Calendar.of(
            int(str(one.row[rule.tables[table].stamped])[:4]) for table, some in rows.items() for one in some
        )
        self._connection.execute(
            'CREATE TABLE lanes (lane BIGINT, years INTEGER, "case" VARCHAR, now TIMESTAMP, bounds TIMESTAMP[])'
        )
        with explained():
            self._sql = {name: translated(kql, self._connection).text for name, kql in queries(rule).items()}

    def read(self, readings: Sequence[Reading]) -> Iterator[tuple[Reading, Logs]]:
        """Every reading, with its answer."""
        for start in range(0, len(readings), self._calendar.lanes):
            together = readings[start : start + self._calendar.lanes]
            self._fill(together)
            changes, signals = (
                self._by_lane(self._sql[name], side) for name, side in self._rule.sequence.sides.items()
            )
            with explained():
                for name in self._sql.keys() - self._rule.sequence.sides.keys():
                    self._connection.execute(self._sql[name])
            for lane, one in enumerate(together):
                yield one, self._logs(changes[lane], signals[lane], one.windows)

    def _load(self, name: str, table: Table, rows: Sequence[Arrival]) -> None:
        with TemporaryDirectory() as folder:
            file = Path(folder) / f"{name}.jsonl"
            lines = (json.dumps({**one.row, ARRIVED: iso(one.received)}) for one in rows)
            file.write_text("\n".join(lines), encoding="utf-8")
            loaded = load(self._connection, name, table.model_copy(update={"required": ()}), [file])
        for reason, rejected in loaded.rejected.items():
            case = rows[int(rejected.first.rpartition(":")[2]) - 1].case
            raise ConfigurationError(f"{case}: its row of {name} is no such row: {reason}")
        columns = [f'"{column}" {SQL_TYPES[kind]}' for column, kind in table.columns.items()]
        columns += [f"{bound} TIMESTAMP" for bound in BOUNDS]
        self._connection.execute(f'CREATE TABLE "{name}" ({", ".join(columns)})')
        self._connection.execute(f'ALTER TABLE "{name}_rows" ADD COLUMN "case" VARCHAR')
        self._connection.execute(f'UPDATE "{name}_rows" SET "case" = $1[_line]', [[one.case for one in rows]])

    def _fill(self, readings: Sequence[Reading]) -> None:
        """Puts into each lane what had arrived by the moment of its run."""
        self._connection.execute("DELETE FROM lanes")
        self._connection.executemany(
            "INSERT INTO lanes VALUES (?, ?, ?, ?, ?)",
            [
                (
                    lane,
                    self._calendar.shift(lane),
                    case,
                    _naive(asked.now),
                    [*map(_naive, bounds(asked).values())],
                )
                for lane, (case, asked) in enumerate(readings)
            ],
        )
        for name, table in self._rule.tables.items():
            columns = [
                _shifted(f'"{column}"') if kind == "datetime" else f'"{column}"'
                for column, kind in table.columns.items()
            ]
            columns += [_shifted(f"bounds[{place}]") for place, _ in enumerate(BOUNDS, 1)]
            self._connection.execute(
                f'DELETE FROM "{name}"; INSERT INTO "{name}" SELECT {", ".join(columns)} '
                f'FROM "{name}_rows" JOIN lanes USING ("case") WHERE {ARRIVED} <= now ORDER BY lane, _line'
            )

    def _by_lane(self, sql: str, side: Side) -> dict[int, list[Row]]:
        """The answer's rows, back in their own days, by the lane in which they are stamped."""
        cells = ", ".join(cell(name, kind) for name, kind in side.columns.items())
        times = [place for place, kind in enumerate(side.columns.values()) if kind == "datetime"]
        stamped = side.at(side.stamped)
        lanes: dict[int, list[Row]] = defaultdict(list)
        with explained():
            answer = self._connection.execute(f"SELECT {cells} FROM ({sql})").fetchall()
        for row in answer:
            lane = self._calendar.lane(int(row[stamped][:4]))
            own = list(row)
            for place in times:
                own[place] = own[place] and years_earlier(own[place], self._calendar.shift(lane))
            lanes[lane].append(tuple(own))
        return lanes

    def _logs(self, changes: Sequence[Row], signals: Sequence[Row], asked: Windows) -> Logs:
        sequence = self._rule.sequence
        once = sequence.duplicates == "once"
        # The semi-join went by the actors of all lanes.
        owners = Owners(self._rule, changes)
        of_theirs = [row for row in signals if owners.of(row)]
        return Logs(
            to_events(changes, sequence.changes, asked.changes, once=once),
            to_events(of_theirs, sequence.signals, asked.signals, once=once),
        )


def _shifted(column: str) -> str:
    return f"{column} + to_years(years)"


def _naive(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None)
