"""Exported logs of a range, asked once for all its runs. For the keyboard, not deployed.

The engine reads Parquet from disk, as much as a query needs, and each side's query runs once. A query says nothing of
when a row arrived. So rows that came later than they were stamped stand in lanes (calendar_shift.py), one for every number of
runs by which they were late, and the year that comes out says it.
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
from detection.logs.coverage_query import log_failed_coverage, query_coverage
from detection.logs.events import Logs, Rejected, Row, SideHealth
from detection.logs.files.folder import LogFolder, explain_errors, timestamp_literal
from detection.logs.files.loading import ARRIVED, LoadedFiles, view_table
from detection.logs.files.source import FileSource
from detection.logs.history.calendar_shift import CalendarShift, years_earlier
from detection.logs.history.past import ArrivedRow, PastLogs, RunRange, cross_row_keyword
from detection.logs.kql import bounds, queries
from detection.logs.source import Source
from detection.logs.window import Windows
from detection.rules.model import KqlType, LogTable, Rule, Side

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MEMORY = "400MiB"  # of the engine; what is more it keeps on disk
ALWAYS = datetime(9999, 12, 31, tzinfo=UTC)  # no bound: each run has its own
WRITTEN_TIME = re.compile(r'"(\d{4}-\d\d-\d\dT[\d:.]+Z)"')

DelayByLane = Mapping[int, int]  # the rows so many runs late that a lane holds


@contextmanager
def open_file_archive(folder: Path, tables: Mapping[str, LogTable]) -> Iterator["FileArchive"]:
    """A folder of exported logs, for as long as it is asked. Raises what Folder raises."""
    with TemporaryDirectory() as spill_folder, duckdb_kql.connect() as connection:
        connection.execute(
            f"SET memory_limit = '{MEMORY}'; SET preserve_insertion_order = false; "
            f"SET enable_progress_bar = false; SET temp_directory = '{spill_folder}'"
        )
        yield FileArchive(LogFolder(folder, tables, view_table, connection), tables)


class FileArchive:
    """A folder of exported logs. A row that does not say when it arrived arrived when it was stamped."""

    def __init__(self, folder: LogFolder, tables: Mapping[str, LogTable]) -> None:
        self._folder, self._tables = folder, tables

    @property
    def loaded(self) -> Mapping[str, LoadedFiles]:
        """What became of each table's files."""
        return self._folder.loaded

    def read(self, rule: Rule, runs: RunRange) -> PastLogs:
        """All that the runs of a range read."""
        health, rejected = self._health_and_rejected(rule, runs)
        return PastLogs(rule, self._rows_by_side(rule, runs), health, rejected)

    def source(self, rule: Rule, runs: RunRange) -> Source:
        """The runs of a range, which read once together.

        Only the last also says what the logs hold, as it stood then: that takes as long as all runs. A rule that looks
        across rows is asked anew by each run.
        """
        if cross_row_keyword(rule):
            return FileSource(self._folder, self._tables, arrival="stamped")
        return _ArchiveSource(self, runs.end, PastLogs(rule, self._rows_by_side(rule, runs), {}, {}))

    def with_health(self, logs: Logs, rule: Rule, windows: Windows) -> Logs:
        """The logs of a run, with what the folder held at its moment."""
        health, rejected = self._health_and_rejected(
            rule, RunRange(windows.now, windows.now, rule.query_frequency, windows)
        )
        coverage = None
        if coverage_query := queries(rule).get("coverage"):
            coverage = log_failed_coverage(
                query_coverage(lambda: self._folder.coverage(coverage_query, bounds(windows)), rule)
            )
        return replace(logs, health=health, rejected=rejected, coverage=coverage)

    def _health_and_rejected(
        self, rule: Rule, runs: RunRange
    ) -> tuple[Mapping[str, SideHealth], Mapping[str, Rejected]]:
        """What the folder holds for the runs of a range, and what was left out of it."""
        self._show_lanes(runs, {0: 0}, {})
        health = self._folder.health(queries(rule)["health"], bounds(runs.first_windows))
        return health, self._folder.rejected(rule, bounds(runs.first_windows), health)

    def _rows_by_side(self, rule: Rule, runs: RunRange) -> Mapping[str, Iterator[ArrivedRow]]:
        """The rows of both sides."""
        delays = self._delays(runs)
        return {name: self._arrived_rows(rule, name, runs, delays) for name in rule.sequence.sides}

    def _arrived_rows(
        self, rule: Rule, name: str, runs: RunRange, delays: Sequence[int]
    ) -> Iterator[ArrivedRow]:
        """The rows of one side."""
        parameters = {**bounds(runs.first_windows), "changes_until": ALWAYS, "signals_until": ALWAYS}
        side, query = rule.sequence.sides[name], queries(rule)[name]
        calendar = CalendarShift.for_years((_earliest_stamp(runs).year, runs.end.year))
        for delay_by_lane in _lane_batches(delays, calendar.lane_count):
            years_by_lane = {lane: calendar.offset_years(lane) for lane in delay_by_lane}
            self._show_lanes(runs, delay_by_lane, years_by_lane)
            for shifted_row in self._folder.rows(query, parameters, side):
                lane = calendar.lane_of(int(shifted_row[side.place_of(side.stamped)][:4]))
                if lane in delay_by_lane:
                    row = _unshift_row(shifted_row, side, years_by_lane[lane]) if lane else shifted_row
                    run_number = (
                        runs.run_after(datetime.fromisoformat(row[side.place_of(side.stamped)]))
                        + delay_by_lane[lane]
                    )
                    yield ArrivedRow(runs.run_time(run_number), row)

    def _delays(self, runs: RunRange) -> list[int]:
        """By how many runs rows came late, or early."""
        delay_queries = (
            f"SELECT delay FROM ({self._in_range(name, runs)})" for name in self._folder.present_tables
        )
        with explain_errors("looking for late rows"):
            answer = self._folder.connection.execute(
                f"SELECT DISTINCT delay FROM ({' UNION ALL '.join(delay_queries)})"
            )
            return sorted(delay for (delay,) in answer.fetchall())

    def _show_lanes(
        self, runs: RunRange, delay_by_lane: DelayByLane, years_by_lane: Mapping[int, int]
    ) -> None:
        """Shows the tables' rows of the range, each in its lane; what is in none stays in the first."""
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
                f"SELECT * EXCLUDE ({ARRIVED}, arrived, delay){replacement} FROM ({self._in_range(name, runs)})"
            )

    def _in_range(self, name: str, runs: RunRange) -> str:
        """SQL for the rows that any of the runs can see, with `delay`: by how many runs they are late."""
        stamped = f'"{self._tables[name].stamped}"'
        rows = f'SELECT *, coalesce({ARRIVED}, {stamped}) AS arrived FROM "{name}_rows"'
        delay = f"{_run_after_sql('arrived', runs)} - {_run_after_sql(stamped, runs)}"
        return (
            f"SELECT *, {delay} AS delay FROM ({rows}) "
            f"WHERE {stamped} > {timestamp_literal(_earliest_stamp(runs))} AND arrived <= {timestamp_literal(runs.end)}"
        )


@dataclass(frozen=True, slots=True)
class _ArchiveSource:
    """What was read for all runs, and the folder, which the last of them asks what it holds."""

    archive: FileArchive
    last_run: datetime
    past_logs: PastLogs

    def read(self, rule: Rule, windows: Windows) -> Logs:
        """Both sides at `windows.now`."""
        logs = self.past_logs.read(rule, windows)
        return self.archive.with_health(logs, rule, windows) if windows.now >= self.last_run else logs


def _earliest_stamp(runs: RunRange) -> datetime:
    """What is stamped up to here, no run sees."""
    return min(runs.first_windows.changes.after, runs.first_windows.signals.after)


def _lane_batches(delays: Sequence[int], lane_count: int) -> Iterator[DelayByLane]:
    """All delays in as few times as there are lanes for. In several, the first lane is for those of the others."""
    if len(delays) <= lane_count:
        # Nearly all rows are not late, and what stands in the first lane need not be shifted.
        yield dict(enumerate(sorted(delays, key=lambda delay: (delay != 0, delay))))
        return
    for start in range(0, len(delays), lane_count - 1):
        yield dict(enumerate(delays[start : start + lane_count - 1], 1))


def _unshift_row(row: Row, side: Side, years: int) -> Row:
    """A row of a lane with its own times; those within dynamic values were the row's as well."""

    def unshift(text: Any, kind: KqlType) -> Any:  # noqa: ANN401  # of whatever type the column is
        if not text or kind not in ("datetime", "dynamic"):
            return text
        if kind == "datetime":
            return years_earlier(text, years)
        return WRITTEN_TIME.sub(lambda match: _earlier_if_in_lane(match[1], years), text)

    return tuple(unshift(text, kind) for text, kind in zip(row, side.columns.values(), strict=True))


def _earlier_if_in_lane(text: str, years: int) -> str:
    own_year = int(text[:4]) - years
    return f'"{years_earlier(text, years) if FIRST_YEAR <= own_year <= LAST_YEAR else text}"'


def _run_after_sql(time: str, runs: RunRange) -> str:
    """SQL for Range.run_after."""
    begin, interval = (span // timedelta(microseconds=1) for span in (runs.begin - EPOCH, runs.interval))
    return f"greatest(0, (epoch_us({time}) - {begin} + {interval - 1}) // {interval})"
