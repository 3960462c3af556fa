"""The source for exported logs on disk: DuckDB answers the rule's own KQL. For the keyboard; not deployed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from detection.logs.actors import ActorResolver
from detection.logs.events import Logs, to_events
from detection.logs.files.folder import LogFolder, timestamp_literal
from detection.logs.files.loading import ARRIVED
from detection.logs.kql import bounds, queries
from detection.logs.window import Windows
from detection.rules.model import LogTable, Rule

ArrivalBasis = Literal["ingested", "stamped"]


class FileSource:
    """A folder of exported logs, as it was at the moment of each run.

    A run does not see rows whose `_ingested` lies after its `now`. A row without `_ingested` is visible to
    every run (`arrival="ingested"`), or arrived when it was stamped ("stamped").
    """

    def __init__(
        self, folder: Path | LogFolder, tables: Mapping[str, LogTable], arrival: ArrivalBasis = "ingested"
    ) -> None:
        """Loads the folder, unless it is loaded already. Raises the errors of LogFolder."""
        self._folder = folder if isinstance(folder, LogFolder) else LogFolder(folder, tables)
        self._tables, self._arrival = tables, arrival
        self.loaded = self._folder.loaded

    def read(self, rule: Rule, windows: Windows) -> Logs:
        """Both sides and their health at `windows.now`."""
        for name in self._folder.present_tables:  # a view of the rows that had arrived by now
            stamped = self._tables[name].stamped
            arrival_sql = f"coalesce({ARRIVED}, {stamped})" if self._arrival == "stamped" else ARRIVED
            self._folder.connection.execute(
                f'CREATE OR REPLACE VIEW "{name}" AS SELECT * EXCLUDE {ARRIVED} FROM "{name}_rows" '
                f"WHERE {arrival_sql} IS NULL OR {arrival_sql} <= {timestamp_literal(windows.now)}"
            )
        parameters, query_texts = bounds(windows), queries(rule)
        sides, once = rule.sequence.sides, rule.sequence.duplicates == "once"
        change_rows = list(self._folder.rows(query_texts["changes"], parameters, sides["changes"]))
        changes = to_events(change_rows, sides["changes"], windows.changes, once=once)
        rows = self._folder.rows(query_texts["signals"], parameters, sides["signals"])
        if not rule.sequence.exact:
            resolver = ActorResolver(rule, change_rows)
            rows = (row for row in rows if resolver.resolve(row))
        signals = to_events(rows, sides["signals"], windows.signals, once=once)
        health, coverage = self._folder.health(rule, parameters), self._folder.coverage(rule, parameters)
        rejected = self._folder.rejected(rule, parameters, health)
        return Logs(changes, signals, rejected, health, coverage=coverage)
