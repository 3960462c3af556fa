"""Exported logs of a range, read once for all runs of the range. For the keyboard; not deployed.

DuckDB reads Parquet from disk, as much as a query needs, and each side's query runs once. A query does not
return when a row arrived. So rows that arrived later than they were stamped are moved into lanes
(calendar_shift.py), one lane for each number of runs by which rows were late. The year of a returned row
names its lane.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb_kql

from detection.base.timestamps import FIRST_YEAR, LAST_YEAR
from detection.logs.events import Logs, Rejected, Row, SideHealth
from detection.logs.files.folder import LogFolder, explain_errors, timestamp_literal
from detection.logs.files.loading import ARRIVED, view_table
from detection.logs.files.source import FileSource
from detection.logs.history.calendar_shift import CalendarShift, years_earlier
from detection.logs.history.past import ArrivedRow, PastLogs, RunRange, cross_row_keyword
from detection.logs.kql import bounds, queries
from detection.logs.source import Source
from detection.logs.window import Windows
from detection.rules.model import KqlType, LogTable, Rule, Side

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MEMORY = "400MiB"  # DuckDB's limit; it spills the rest to disk
ALWAYS = datetime(9999, 12, 31, tzinfo=UTC)  # no upper bound: each run has its own
WRITTEN_TIME = re.compile(r'"(\d{4}-\d\d-\d\dT[\d:.]+Z)"')

DelayByLane = Mapping[int, int]  # the number of runs by which the rows of a lane are late


@contextmanager
def open_file_archive(folder: Path, tables: Mapping[str, LogTable]) -> Iterator["FileArchive"]:
    """Opens a folder of exported logs. Raises the errors of LogFolder."""
    with TemporaryDirectory() as spill_folder, duckdb_kql.connect() as connection:
        connection.execute(
            f"SET memory_limit = '{MEMORY}'; SET preserve_insertion_order = false; "
            f"SET enable_progress_bar = false; SET temp_directory = '{spill_folder}'"
        )
        yield FileArchive(LogFolder(folder, tables, view_table, connection), tables)


class FileArchive:
    """A folder of exported logs. A row without `_ingested` arrived when it was stamped."""

    def __init__(self, folder: LogFolder, tables: Mapping[str, LogTable]) -> None:
        self._folder, self._tables = folder, tables
        self.loaded = folder.loaded

    def read(self, rule: Rule, runs: RunRange) -> PastLogs:
        """Everything that the runs of a range read."""
        health, rejected = self._health_and_rejected(rule, runs)
        return PastLogs(rule, self._rows_by_side(rule, runs), health, rejected)

    def source(self, rule: Rule, runs: RunRange) -> Source:
        """A source for the runs of a range that reads once for all of them.

        Only the last run also has the health and the coverage of the logs, because that takes as long as all
        runs together. For a rule that looks across rows, each run reads anew.
        """
        if cross_row_keyword(rule):
            return FileSource(self._folder, self._tables, arrival="stamped")
        return _ArchiveSource(self, runs.end, PastLogs(rule, self._rows_by_side(rule, runs), {}, {}))

    def with_health(self, logs: Logs, rule: Rule, windows: Windows) -> Logs:
        """The logs of a run with the health, rejected rows and coverage of the folder at its moment."""
        health, rejected = self._health_and_rejected(
            rule, RunRange(windows.now, windows.now, rule.query_frequency, windows)
        )
        coverage = self._folder.coverage(rule, bounds(windows))
        return replace(logs, health=health, rejected=rejected, coverage=coverage)

    def _health_and_rejected(
        self, rule: Rule, runs: RunRange
    ) -> tuple[Mapping[str, SideHealth], Mapping[str, Rejected]]:
        self._show_lanes(runs, {0: 0}, {})
        health = self._folder.health(rule, bounds(runs.first_windows))
        return health, self._folder.rejected(rule, bounds(runs.first_windows), health)

    def _rows_by_side(self, rule: Rule, runs: RunRange) -> Mapping[str, Iterator[ArrivedRow]]:
        ranges = " UNION ALL ".join(
            f"SELECT delay FROM ({self._in_range(name, runs)})" for name in self._folder.present_tables
        )
        with explain_errors("the search for late rows"):
            answer = self._folder.connection.execute(f"SELECT DISTINCT delay FROM ({ranges})").fetchall()
        delays = sorted(delay for (delay,) in answer)
        return {name: self._arrived_rows(rule, name, runs, delays) for name in rule.sequence.sides}

    def _arrived_rows(
        self, rule: Rule, name: str, runs: RunRange, delays: Sequence[int]
    ) -> Iterator[ArrivedRow]:
        """The rows of one side. `delays` are all numbers of runs by which rows are late."""
        parameters = {**bounds(runs.first_windows), "changes_until": ALWAYS, "signals_until": ALWAYS}
        side, query = rule.sequence.sides[name], queries(rule)[name]
        calendar = CalendarShift.for_years((_earliest_stamp(runs).year, runs.end.year))
        for delay_by_lane in _lane_batches(delays, calendar.lane_count):
            years_by_lane = {lane: calendar.offset_years(lane) for lane in delay_by_lane}
            self._show_lanes(runs, delay_by_lane, years_by_lane)
            for shifted_row in self._folder.rows(query, parameters, side):
                lane = calendar.lane_of(int(shifted_row[side.place_of(side.stamped)][:4]))
                if lane in delay_by_lane:
                    row = unshift_row(shifted_row, side, years_by_lane[lane]) if lane else shifted_row
                    stamp = datetime.fromisoformat(row[side.place_of(side.stamped)])
                    yield ArrivedRow(runs.run_time(runs.run_after(stamp) + delay_by_lane[lane]), row)

    def _show_lanes(
        self, runs: RunRange, delay_by_lane: DelayByLane, years_by_lane: Mapping[int, int]
    ) -> None:
        """Creates views of the tables' rows in the range, each row in its lane; the first takes the rest."""
        years_by_delay = {delay: years_by_lane[lane] for lane, delay in delay_by_lane.items() if lane}
        cases = " ".join(f"WHEN {delay} THEN {shift}" for delay, shift in years_by_delay.items())
        for name in self._folder.present_tables:
            times = [column for column, kind in self._tables[name].columns.items() if kind == "datetime"]
            shifted_columns = ", ".join(
                f'"{column}" + to_years(CASE delay {cases} ELSE 0 END) AS "{column}"' for column in times
            )
            replacement = f" REPLACE ({shifted_columns})" if years_by_delay else ""
            self._folder.connection.execute(
                f'CREATE OR REPLACE VIEW "{name}" AS '
                f"SELECT * EXCLUDE ({ARRIVED}, arrived, delay){replacement} "
                f"FROM ({self._in_range(name, runs)})"
            )

    def _in_range(self, name: str, runs: RunRange) -> str:
        """SQL for the rows that any run can see, with `delay`: the number of runs by which they are late."""
        stamped = f'"{self._tables[name].stamped}"'
        rows = f'SELECT *, coalesce({ARRIVED}, {stamped}) AS arrived FROM "{name}_rows"'
        delay = f"{_run_after_sql('arrived', runs)} - {_run_after_sql(stamped, runs)}"
        after, until = timestamp_literal(_earliest_stamp(runs)), timestamp_literal(runs.end)
        return f"SELECT *, {delay} AS delay FROM ({rows}) WHERE {stamped} > {after} AND arrived <= {until}"


@dataclass(frozen=True, slots=True)
class _ArchiveSource:
    """A source over the logs of all runs. For the last run it asks the folder for the health too."""

    archive: FileArchive
    last_run: datetime
    past_logs: PastLogs

    def read(self, rule: Rule, windows: Windows) -> Logs:
        """Both sides at `windows.now`."""
        logs = self.past_logs.read(rule, windows)
        return self.archive.with_health(logs, rule, windows) if windows.now >= self.last_run else logs


def _earliest_stamp(runs: RunRange) -> datetime:
    """The moment after which a row must be stamped for any run to see it."""
    return min(runs.first_windows.changes.after, runs.first_windows.signals.after)


def _lane_batches(delays: Sequence[int], lane_count: int) -> Iterator[DelayByLane]:
    """All delays in as few batches as possible. If there are several, the first lane is for the rest."""
    if len(delays) <= lane_count:
        # Nearly all rows are not late, and the rows of the first lane need no shift.
        yield dict(enumerate(sorted(delays, key=lambda delay: (delay != 0, delay))))
        return
    for start in range(0, len(delays), lane_count - 1):
        yield dict(enumerate(delays[start : start + lane_count - 1], 1))


def unshift_row(row: Row, side: Side, years: int) -> Row:
    """The row of a lane with its own times, in datetime columns and in dynamic values.

    A time in a dynamic value is moved back only if that gives a year of the logs: otherwise it was not in a
    lane.
    """

    def unshift_text(match: re.Match[str]) -> str:
        in_lane = FIRST_YEAR <= int(match[1][:4]) - years <= LAST_YEAR
        return f'"{years_earlier(match[1], years)}"' if in_lane else match[0]

    def unshift(text: Any, kind: KqlType) -> Any:  # noqa: ANN401  # of whatever type the column is
        if text and kind == "datetime":
            return years_earlier(text, years)
        return WRITTEN_TIME.sub(unshift_text, text) if text and kind == "dynamic" else text

    return tuple(unshift(text, kind) for text, kind in zip(row, side.columns.values(), strict=True))


def _run_after_sql(time: str, runs: RunRange) -> str:
    """SQL for RunRange.run_after."""
    begin, interval = (span // timedelta(microseconds=1) for span in (runs.begin - EPOCH, runs.interval))
    return f"greatest(0, (epoch_us({time}) - {begin} + {interval - 1}) // {interval})"
