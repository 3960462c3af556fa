"""Exported logs of a range, asked once for all its runs. For the keyboard, not deployed.

The engine reads Parquet from disk, as much as a query needs, and each side's query runs once. A query says nothing of
when a row arrived. So rows that came later than they were stamped stand in lanes (cycles.py), one for every number of
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

from detection.events import Health, Logs, Rejected, Row
from detection.kql import bounds, queries
from detection.rule import KqlType, Rule, Side, Table
from detection.sources import Source
from detection.sources.coverage_query import counted, logged
from detection.sources.cycles import Calendar, years_earlier
from detection.sources.engine import explained, literal
from detection.sources.files import Files
from detection.sources.folder import Folder
from detection.sources.loading import ARRIVED, Loaded, look_at
from detection.sources.past import Arrival, Past, Range, across_rows
from detection.timestamps import FIRST_YEAR, LAST_YEAR
from detection.window import Windows

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MEMORY = "400MiB"  # of the engine; what is more it keeps on disk
ALWAYS = datetime(9999, 12, 31, tzinfo=UTC)  # no bound: each run has its own
WRITTEN_TIME = re.compile(r'"(\d{4}-\d\d-\d\dT[\d:.]+Z)"')

Lanes = Mapping[int, int]  # the rows so many runs late that a lane holds


@contextmanager
def past_files(folder: Path, tables: Mapping[str, Table]) -> Iterator["PastFiles"]:
    """A folder of exported logs, for as long as it is asked. Raises what Folder raises."""
    with TemporaryDirectory() as spilled, duckdb_kql.connect() as connection:
        connection.execute(
            f"SET memory_limit = '{MEMORY}'; SET preserve_insertion_order = false; "
            f"SET enable_progress_bar = false; SET temp_directory = '{spilled}'"
        )
        yield PastFiles(Folder(folder, tables, look_at, connection), tables)


class PastFiles:
    """A folder of exported logs. A row that does not say when it arrived arrived when it was stamped."""

    def __init__(self, folder: Folder, tables: Mapping[str, Table]) -> None:
        self._folder, self._tables = folder, tables

    @property
    def loaded(self) -> Mapping[str, Loaded]:
        """What became of each table's files."""
        return self._folder.loaded

    def read(self, rule: Rule, runs: Range) -> Past:
        """All that the runs of a range read."""
        health, rejected = self._held(rule, runs)
        return Past(rule, self._sides(rule, runs), health, rejected)

    def source(self, rule: Rule, runs: Range) -> Source:
        """The runs of a range, which read once together.

        Only the last also says what the logs hold, as it stood then: that takes as long as all runs. A rule that looks
        across rows is asked anew by each run.
        """
        if across_rows(rule):
            return Files(self._folder, self._tables, arrival="stamped")
        return _Runs(self, runs.end, Past(rule, self._sides(rule, runs), {}, {}))

    def described(self, logs: Logs, rule: Rule, windows: Windows) -> Logs:
        """The logs of a run, with what the folder held at its moment."""
        health, rejected = self._held(rule, Range(windows.now, windows.now, rule.query_frequency, windows))
        covered = None
        if asked := queries(rule).get("coverage"):
            covered = logged(counted(lambda: self._folder.coverage(asked, bounds(windows)), rule))
        return replace(logs, health=health, rejected=rejected, coverage=covered)

    def _held(self, rule: Rule, runs: Range) -> tuple[Mapping[str, Health], Mapping[str, Rejected]]:
        """What the folder holds for the runs of a range, and what was left out of it."""
        self._see(runs, {0: 0}, {})
        health = self._folder.health(queries(rule)["health"], bounds(runs.first))
        return health, self._folder.rejected(rule, bounds(runs.first), health)

    def _sides(self, rule: Rule, runs: Range) -> Mapping[str, Iterator[Arrival]]:
        """The rows of both sides."""
        delays = self._delays(runs)
        return {name: self._arrivals(rule, name, runs, delays) for name in rule.sequence.sides}

    def _arrivals(self, rule: Rule, name: str, runs: Range, delays: Sequence[int]) -> Iterator[Arrival]:
        """The rows of one side."""
        values = {**bounds(runs.first), "changes_until": ALWAYS, "signals_until": ALWAYS}
        side, query = rule.sequence.sides[name], queries(rule)[name]
        calendar = Calendar.of((_lower(runs).year, runs.end.year))
        for lanes in _lanes(delays, calendar.lanes):
            years = {lane: calendar.shift(lane) for lane in lanes}
            self._see(runs, lanes, years)
            for shifted in self._folder.rows(query, values, side):
                lane = calendar.lane(int(shifted[side.at(side.stamped)][:4]))
                if lane in lanes:
                    row = _back(shifted, side, years[lane]) if lane else shifted
                    run = runs.run_after(datetime.fromisoformat(row[side.at(side.stamped)])) + lanes[lane]
                    yield Arrival(runs.moment(run), row)

    def _delays(self, runs: Range) -> list[int]:
        """By how many runs rows came late, or early."""
        asked = (f"SELECT delay FROM ({self._in_range(name, runs)})" for name in self._folder.present)
        with explained("looking for late rows"):
            found = self._folder.connection.execute(
                f"SELECT DISTINCT delay FROM ({' UNION ALL '.join(asked)})"
            )
            return sorted(delay for (delay,) in found.fetchall())

    def _see(self, runs: Range, lanes: Lanes, years: Mapping[int, int]) -> None:
        """Shows the tables' rows of the range, each in its lane; what is in none stays in the first."""
        late = {delay: years[lane] for lane, delay in lanes.items() if lane}
        cases = " ".join(f"WHEN {delay} THEN {shift}" for delay, shift in late.items())
        for name in self._folder.present:
            times = [column for column, kind in self._tables[name].columns.items() if kind == "datetime"]
            shifted = ", ".join(
                f'"{column}" + to_years(CASE delay {cases} ELSE 0 END) AS "{column}"' for column in times
            )
            replaced = f" REPLACE ({shifted})" if late else ""
            self._folder.connection.execute(
                f'CREATE OR REPLACE VIEW "{name}" AS '
                f"SELECT * EXCLUDE ({ARRIVED}, arrived, delay){replaced} FROM ({self._in_range(name, runs)})"
            )

    def _in_range(self, name: str, runs: Range) -> str:
        """SQL for the rows that any of the runs can see, with `delay`: by how many runs they are late."""
        stamped = f'"{self._tables[name].stamped}"'
        rows = f'SELECT *, coalesce({ARRIVED}, {stamped}) AS arrived FROM "{name}_rows"'
        delay = f"{_run_after('arrived', runs)} - {_run_after(stamped, runs)}"
        return (
            f"SELECT *, {delay} AS delay FROM ({rows}) "
            f"WHERE {stamped} > {literal(_lower(runs))} AND arrived <= {literal(runs.end)}"
        )


@dataclass(frozen=True, slots=True)
class _Runs:
    """What was read for all runs, and the folder, which the last of them asks what it holds."""

    files: PastFiles
    last: datetime
    past: Past

    def read(self, rule: Rule, windows: Windows) -> Logs:
        """Both sides at `windows.now`."""
        logs = self.past.read(rule, windows)
        return self.files.described(logs, rule, windows) if windows.now >= self.last else logs


def _lower(runs: Range) -> datetime:
    """What is stamped up to here, no run sees."""
    return min(runs.first.changes.after, runs.first.signals.after)


def _lanes(delays: Sequence[int], most: int) -> Iterator[Lanes]:
    """All delays in as few times as there are lanes for. In several, the first lane is for those of the others."""
    if len(delays) <= most:
        # Nearly all rows are not late, and what stands in the first lane need not be shifted.
        yield dict(enumerate(sorted(delays, key=lambda delay: (delay != 0, delay))))
        return
    for at in range(0, len(delays), most - 1):
        yield dict(enumerate(delays[at : at + most - 1], 1))


def _back(row: Row, side: Side, years: int) -> Row:
    """A row of a lane with its own times; those within dynamic values were the row's as well."""

    def own(text: Any, kind: KqlType) -> Any:  # noqa: ANN401  # of whatever type the column is
        if not text or kind not in ("datetime", "dynamic"):
            return text
        if kind == "datetime":
            return years_earlier(text, years)
        return WRITTEN_TIME.sub(lambda found: _earlier_if_in_lane(found[1], years), text)

    return tuple(own(text, kind) for text, kind in zip(row, side.columns.values(), strict=True))


def _earlier_if_in_lane(text: str, years: int) -> str:
    own = int(text[:4]) - years
    return f'"{years_earlier(text, years) if FIRST_YEAR <= own <= LAST_YEAR else text}"'


def _run_after(time: str, runs: Range) -> str:
    """SQL for Range.run_after."""
    begin, every = (span // timedelta(microseconds=1) for span in (runs.begin - EPOCH, runs.every))
    return f"greatest(0, (epoch_us({time}) - {begin} + {every - 1}) // {every})"
