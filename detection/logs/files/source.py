"""Exported logs on disk, answered by DuckDB through the rule's own KQL. For the keyboard, not deployed."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal

from detection.logs.actors import ActorResolver
from detection.logs.coverage_query import log_failed_coverage, query_coverage
from detection.logs.events import Logs, to_events
from detection.logs.files.folder import LogFolder, timestamp_literal
from detection.logs.files.loading import ARRIVED, LoadedFiles
from detection.logs.kql import bounds, queries
from detection.logs.window import Windows
from detection.rules.model import LogTable, Rule

ArrivalBasis = Literal["ingested", "stamped"]


class FileSource:
    """A folder of exported logs, as they stood at the moment of each run.

    Rows whose `_ingested` lies after a run's `now` are not there yet. A row that does not say when it
    arrived was always there (`arrival="ingested"`), or arrived when it was stamped ("stamped").
    """

    def __init__(
        self, folder: Path | LogFolder, tables: Mapping[str, LogTable], arrival: ArrivalBasis = "ingested"
    ) -> None:
        """Loads the folder, unless it is loaded already. Raises what Folder raises."""
        self._folder = folder if isinstance(folder, LogFolder) else LogFolder(folder, tables)
        self._tables, self._arrival = tables, arrival

    @property
    def loaded(self) -> Mapping[str, LoadedFiles]:
        """What became of each table's files."""
        return self._folder.loaded

    def read(self, rule: Rule, windows: Windows) -> Logs:
        """Both sides and their health at `windows.now`."""
        self._show_arrived(windows.now)
        parameters, query_texts = bounds(windows), queries(rule)
        sides, once = rule.sequence.sides, rule.sequence.duplicates == "once"
        change_rows = list(self._folder.rows(query_texts["changes"], parameters, sides["changes"]))
        changes = to_events(change_rows, sides["changes"], windows.changes, once=once)
        rows = self._folder.rows(query_texts["signals"], parameters, sides["signals"])
        if not rule.sequence.exact:
            resolver = ActorResolver(rule, change_rows)
            rows = (row for row in rows if resolver.resolve(row))
        signals = to_events(rows, sides["signals"], windows.signals, once=once)
        health = self._folder.health(query_texts["health"], parameters)
        coverage = (
            log_failed_coverage(
                query_coverage(lambda: self._folder.coverage(query_texts["coverage"], parameters), rule)
            )
            if "coverage" in query_texts
            else None
        )
        return Logs(
            changes, signals, self._folder.rejected(rule, parameters, health), health, coverage=coverage
        )

    def _show_arrived(self, now: datetime) -> None:
        """Shows the tables' rows that had arrived by a moment."""
        for name in self._folder.present_tables:
            stamped = self._tables[name].stamped
            arrival_sql = f"coalesce({ARRIVED}, {stamped})" if self._arrival == "stamped" else ARRIVED
            self._folder.connection.execute(
                f'CREATE OR REPLACE VIEW "{name}" AS SELECT * EXCLUDE {ARRIVED} FROM "{name}_rows" '
                f"WHERE {arrival_sql} IS NULL OR {arrival_sql} <= {timestamp_literal(now)}"
            )
