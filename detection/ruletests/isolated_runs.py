"""Read the logs of many runs together, because DuckDB takes as long to run a query over one row as over many.

Each run gets a lane: its rows move by a number of years after which the calendar repeats, so weekdays and
leap days stay the same but no run sees the rows of another. The bounds of its windows are columns of its
rows, under the names that the KQL uses. The rows of the answer move back by the years of their lane.
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
from detection.logs.files.columns import SQL_TYPES
from detection.logs.files.folder import column_sql, explain_errors, translate
from detection.logs.files.loading import ARRIVED, load_table
from detection.logs.history.calendar_shift import CalendarShift
from detection.logs.history.files import unshift_row
from detection.logs.kql import BOUNDS, bounds, queries
from detection.logs.window import Windows
from detection.rules.model import Rule
from detection.ruletests.objects import Values


class Arrival(NamedTuple):
    """A row of a table, the case it belongs to, and its time of arrival."""

    case: str
    table: str
    row: Values
    received: datetime


class CaseRun(NamedTuple):
    """A run of a case, with its windows."""

    case: str
    windows: Windows


class IsolatedRuns:
    """The rows of all cases of a rule. Each run sees the rows of its case that have arrived by its time."""

    def __init__(self, rule: Rule, arrivals: Iterable[Arrival]) -> None:
        """Load the rows as of an export. Raises ConfigurationError, naming the case, for a wrong type."""
        self._rule, self._connection = rule, duckdb_kql.connect()
        arrivals_by_table: dict[str, list[Arrival]] = defaultdict(list)
        for arrival in arrivals:
            arrivals_by_table[arrival.table].append(arrival)
        years = []
        for name, table in rule.tables.items():
            table_arrivals = arrivals_by_table[name]
            years += [int(str(arrival.row[table.stamped])[:4]) for arrival in table_arrivals]
            with TemporaryDirectory() as folder:
                file = Path(folder) / f"{name}.jsonl"
                rows = ({**arrival.row, ARRIVED: iso(arrival.received)} for arrival in table_arrivals)
                file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
                loaded = load_table(self._connection, name, table.model_copy(update={"required": ()}), [file])
            for reason, rejected in loaded.rejected.items():
                case = table_arrivals[int(rejected.first_location.rpartition(":")[2]) - 1].case
                raise ConfigurationError(f"{case}: a row of {name} is invalid; correct its event: {reason}")
            columns = [f'"{column}" {SQL_TYPES[kind]}' for column, kind in table.columns.items()]
            columns += [f"{bound} TIMESTAMP" for bound in BOUNDS]
            self._connection.execute(f'CREATE TABLE "{name}" ({", ".join(columns)})')
            self._connection.execute(f'ALTER TABLE "{name}_rows" ADD COLUMN "case" VARCHAR')
            self._connection.execute(
                f'UPDATE "{name}_rows" SET "case" = $1[_line]', [[arrival.case for arrival in table_arrivals]]
            )
        self._calendar = CalendarShift.for_years(years)
        self._connection.execute(
            "CREATE TABLE lanes "
            '(lane BIGINT, years INTEGER, "case" VARCHAR, now TIMESTAMP, bounds TIMESTAMP[])'
        )
        with explain_errors():
            self._sql = {name: translate(kql, self._connection).text for name, kql in queries(rule).items()}

    def read(self, runs: Sequence[CaseRun]) -> Iterator[tuple[CaseRun, Logs]]:
        sequence = self._rule.sequence
        once = sequence.duplicates == "once"
        for start in range(0, len(runs), self._calendar.lane_count):
            lanes = runs[start : start + self._calendar.lane_count]
            self._fill_lanes(lanes)
            changes_by_lane = self._rows_by_lane("changes")
            signals_by_lane = self._rows_by_lane("signals")
            with explain_errors():
                for name in self._sql.keys() - sequence.sides.keys():
                    self._connection.execute(self._sql[name])
            for lane, run in enumerate(lanes):
                # The semi-join in the query let through the actors of all lanes.
                resolver = ActorResolver(self._rule, changes_by_lane[lane])
                signals = [row for row in signals_by_lane[lane] if resolver.resolve(row)]
                windows = run.windows
                yield (
                    run,
                    Logs(
                        to_events(changes_by_lane[lane], sequence.changes, windows.changes, once=once),
                        to_events(signals, sequence.signals, windows.signals, once=once),
                    ),
                )

    def _fill_lanes(self, runs: Sequence[CaseRun]) -> None:
        """Fill each lane with the rows that have arrived by the time of its run."""
        self._connection.execute("DELETE FROM lanes")
        rows = [
            (
                lane,
                self._calendar.offset_years(lane),
                case,
                windows.now.replace(tzinfo=None),
                [bound.replace(tzinfo=None) for bound in bounds(windows).values()],
            )
            for lane, (case, windows) in enumerate(runs)
        ]
        self._connection.executemany("INSERT INTO lanes VALUES (?, ?, ?, ?, ?)", rows)
        for name, table in self._rule.tables.items():
            columns = [
                f'"{column}" + to_years(years)' if kind == "datetime" else f'"{column}"'
                for column, kind in table.columns.items()
            ]
            columns += [f"bounds[{place}] + to_years(years)" for place, _ in enumerate(BOUNDS, 1)]
            self._connection.execute(
                f'DELETE FROM "{name}"; INSERT INTO "{name}" SELECT {", ".join(columns)} '
                f'FROM "{name}_rows" JOIN lanes USING ("case") WHERE {ARRIVED} <= now ORDER BY lane, _line'
            )

    def _rows_by_lane(self, side_name: str) -> dict[int, list[Row]]:
        """The rows of a side's query by lane, moved back to their own years. The stamp shows the lane."""
        side = self._rule.sequence.sides[side_name]
        cells = ", ".join(column_sql(name, kind) for name, kind in side.columns.items())
        stamped = side.place_of(side.stamped)
        rows_by_lane: dict[int, list[Row]] = defaultdict(list)
        with explain_errors():
            answer = self._connection.execute(f"SELECT {cells} FROM ({self._sql[side_name]})").fetchall()
        for row in answer:
            lane = self._calendar.lane_of(int(row[stamped][:4]))
            rows_by_lane[lane].append(unshift_row(row, side, self._calendar.offset_years(lane)))
        return rows_by_lane
