"""Exported logs on disk, answered by DuckDB through the rule's own KQL. For the keyboard, not deployed."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal

from detection.bridges import Owners
from detection.events import Logs, to_events
from detection.kql import bounds, queries
from detection.rule import Rule, Table
from detection.sources.coverage_query import counted, logged
from detection.sources.engine import literal
from detection.sources.folder import Folder
from detection.sources.loading import ARRIVED, Loaded
from detection.window import Windows

Arrival = Literal["ingested", "stamped"]


class Files:
    """A folder of exported logs, as they stood at the moment of each run.

    Rows whose `_ingested` lies after a run's `now` are not there yet. A row that does not say when it
    arrived was always there (`arrival="ingested"`), or arrived when it was stamped ("stamped").
    """

    def __init__(
        self, folder: Path | Folder, tables: Mapping[str, Table], arrival: Arrival = "ingested"
    ) -> None:
        """Loads the folder, unless it is loaded already. Raises what Folder raises."""
        self._folder = folder if isinstance(folder, Folder) else Folder(folder, tables)
        self._tables, self._arrival = tables, arrival

    @property
    def loaded(self) -> Mapping[str, Loaded]:
        """What became of each table's files."""
        return self._folder.loaded

    def read(self, rule: Rule, windows: Windows) -> Logs:
        """Both sides and their health at `windows.now`."""
        self._see(windows.now)
        values, asked = bounds(windows), queries(rule)
        sides, once = rule.sequence.sides, rule.sequence.duplicates == "once"
        changers = list(self._folder.rows(asked["changes"], values, sides["changes"]))
        changes = to_events(changers, sides["changes"], windows.changes, once=once)
        rows = self._folder.rows(asked["signals"], values, sides["signals"])
        if not rule.sequence.exact:
            owners = Owners(rule, changers)
            rows = (row for row in rows if owners.of(row))
        signals = to_events(rows, sides["signals"], windows.signals, once=once)
        health = self._folder.health(asked["health"], values)
        covered = (
            logged(counted(lambda: self._folder.coverage(asked["coverage"], values), rule))
            if "coverage" in asked
            else None
        )
        return Logs(changes, signals, self._folder.rejected(rule, values, health), health, coverage=covered)

    def _see(self, now: datetime) -> None:
        """Shows the tables' rows that had arrived by a moment."""
        for name in self._folder.present:
            stamped = self._tables[name].stamped
            arrived = f"coalesce({ARRIVED}, {stamped})" if self._arrival == "stamped" else ARRIVED
            self._folder.connection.execute(
                f'CREATE OR REPLACE VIEW "{name}" AS SELECT * EXCLUDE {ARRIVED} FROM "{name}_rows" '
                f"WHERE {arrived} IS NULL OR {arrived} <= {literal(now)}"
            )
