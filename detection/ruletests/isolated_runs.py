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

from detection.base.errors import ConfigurationError
from detection.base.timestamps import iso
from detection.logs.actors import ActorResolver
from detection.logs.events import Logs, Row, to_events
from detection.logs.files.folder import column_sql, explain_errors, translate
from detection.logs.files.loading import ARRIVED, SQL_TYPES, load_table
from detection.logs.history.calendar_shift import CalendarShift, years_earlier
from detection.logs.kql import BOUNDS, bounds, queries
from detection.logs.window import Windows
from detection.rules.model import LogTable, Rule, Side
from detection.ruletests.objects import Values


class Arrival(NamedTuple):
    """A row of a table, the case it belongs to, and when it arrived."""

    case: str
    table: str
    row: Values
    received: datetime


class CaseRun(NamedTuple):
    """What a run of a case asks for."""

    case: str
    windows: Windows


class IsolatedRuns:
    """The rows of all cases of a rule, as they stood at the moment of each run."""

    def __init__(self, rule: Rule, arrivals: Iterable[Arrival]) -> None:
        """Loads the rows as exported ones are. Raises ConfigurationError, naming the case, for a value of a wrong type."""
        self._rule, self._connection = rule, duckdb_kql.connect()
        arrivals_by_table: dict[str, list[Arrival]] = defaultdict(list)
        for arrival in arrivals:
            arrivals_by_table[arrival.table].append(arrival)
        for name, table in rule.tables.items():
            self._load(name, table, arrivals_by_table[name])
        self._calendar = CalendarShift.for_years(
            int(str(arrival.row[rule.tables[table].stamped])[:4])
            for table, table_arrivals in arrivals_by_table.items()
            for arrival in table_arrivals
        )
        self._connection.execute(
            'CREATE TABLE lanes (lane BIGINT, years INTEGER, "case" VARCHAR, now TIMESTAMP, bounds TIMESTAMP[])'
        )
        with explain_errors():
            self._sql = {name: translate(kql, self._connection).text for name, kql in queries(rule).items()}

    def read(self, runs: Sequence[CaseRun]) -> Iterator[tuple[CaseRun, Logs]]:
        """Every reading, with its answer."""
        for start in range(0, len(runs), self._calendar.lane_count):
            batch = runs[start : start + self._calendar.lane_count]
            self._fill_lanes(batch)
            changes, signals = (
                self._rows_by_lane(self._sql[name], side) for name, side in self._rule.sequence.sides.items()
            )
            with explain_errors():
                for name in self._sql.keys() - self._rule.sequence.sides.keys():
                    self._connection.execute(self._sql[name])
            for lane, run in enumerate(batch):
                yield run, self._logs(changes[lane], signals[lane], run.windows)

    def _load(self, name: str, table: LogTable, arrivals: Sequence[Arrival]) -> None:
        with TemporaryDirectory() as folder:
            file = Path(folder) / f"{name}.jsonl"
            lines = (json.dumps({**arrival.row, ARRIVED: iso(arrival.received)}) for arrival in arrivals)
            file.write_text("\n".join(lines), encoding="utf-8")
            loaded = load_table(self._connection, name, table.model_copy(update={"required": ()}), [file])
        for reason, rejected in loaded.rejected.items():
            case = arrivals[int(rejected.first_location.rpartition(":")[2]) - 1].case
            raise ConfigurationError(f"{case}: its row of {name} is no such row: {reason}")
        columns = [f'"{column}" {SQL_TYPES[kind]}' for column, kind in table.columns.items()]
        columns += [f"{bound} TIMESTAMP" for bound in BOUNDS]
        self._connection.execute(f'CREATE TABLE "{name}" ({", ".join(columns)})')
        self._connection.execute(f'ALTER TABLE "{name}_rows" ADD COLUMN "case" VARCHAR')
        self._connection.execute(
            f'UPDATE "{name}_rows" SET "case" = $1[_line]', [[arrival.case for arrival in arrivals]]
        )

    def _fill_lanes(self, runs: Sequence[CaseRun]) -> None:
        """Puts into each lane what had arrived by the moment of its run."""
        self._connection.execute("DELETE FROM lanes")
        self._connection.executemany(
            "INSERT INTO lanes VALUES (?, ?, ?, ?, ?)",
            [
                (
                    lane,
                    self._calendar.offset_years(lane),
                    case,
                    _naive(windows.now),
                    [*map(_naive, bounds(windows).values())],
                )
                for lane, (case, windows) in enumerate(runs)
            ],
        )
        for name, table in self._rule.tables.items():
            columns = [
                _shift_years(f'"{column}"') if kind == "datetime" else f'"{column}"'
                for column, kind in table.columns.items()
            ]
            columns += [_shift_years(f"bounds[{place}]") for place, _ in enumerate(BOUNDS, 1)]
            self._connection.execute(
                f'DELETE FROM "{name}"; INSERT INTO "{name}" SELECT {", ".join(columns)} '
                f'FROM "{name}_rows" JOIN lanes USING ("case") WHERE {ARRIVED} <= now ORDER BY lane, _line'
            )

    def _rows_by_lane(self, sql: str, side: Side) -> dict[int, list[Row]]:
        """The answer's rows, back in their own days, by the lane in which they are stamped."""
        cells = ", ".join(column_sql(name, kind) for name, kind in side.columns.items())
        times = [place for place, kind in enumerate(side.columns.values()) if kind == "datetime"]
        stamped = side.place_of(side.stamped)
        lanes: dict[int, list[Row]] = defaultdict(list)
        with explain_errors():
            answer = self._connection.execute(f"SELECT {cells} FROM ({sql})").fetchall()
        for row in answer:
            lane = self._calendar.lane_of(int(row[stamped][:4]))
            shifted_row = list(row)
            for place in times:
                shifted_row[place] = shifted_row[place] and years_earlier(
                    shifted_row[place], self._calendar.offset_years(lane)
                )
            lanes[lane].append(tuple(shifted_row))
        return lanes

    def _logs(self, changes: Sequence[Row], signals: Sequence[Row], windows: Windows) -> Logs:
        sequence = self._rule.sequence
        once = sequence.duplicates == "once"
        # The semi-join went by the actors of all lanes.
        resolver = ActorResolver(self._rule, changes)
        actor_signals = [row for row in signals if resolver.resolve(row)]
        return Logs(
            to_events(changes, sequence.changes, windows.changes, once=once),
            to_events(actor_signals, sequence.signals, windows.signals, once=once),
        )


def _shift_years(column: str) -> str:
    return f"{column} + to_years(years)"


def _naive(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None)
