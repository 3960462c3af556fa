"""Exported logs on disk, answered by DuckDB through the rule's own KQL. For the keyboard, not deployed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from detection.events import Events, Logs, to_events
from detection.kql import bounds, queries
from detection.rule import Rule, Table
from detection.sources.folder import Folder
from detection.sources.loading import ARRIVED, Loaded
from detection.window import Windows

Arrival = Literal["ingested", "stamped"]


class Files:
    """A folder of exported logs, as they stood at the moment of each run.

    Rows whose `_ingested` lies after a run's `now` are not there yet. A row that does not say when it
    arrived was always there (`arrival="ingested"`), or arrived when it was stamped ("stamped").
    """

    def __init__(self, folder: Path, tables: Mapping[str, Table], arrival: Arrival = "ingested") -> None:
        """Loads the folder. Raises what Folder raises."""
        self._folder = Folder(folder, tables)
        for name in self._folder.present:
            stamped = tables[name].stamped
            arrived = f"coalesce({ARRIVED}, {stamped})" if arrival == "stamped" else ARRIVED
            self._folder.connection.execute(
                f'CREATE VIEW "{name}" AS SELECT * EXCLUDE {ARRIVED} FROM "{name}_rows" '
                f"WHERE {arrived} IS NULL OR {arrived} <= getvariable('moment')"
            )

    @property
    def loaded(self) -> Mapping[str, Loaded]:
        """What became of each table's files."""
        return self._folder.loaded

    def read(self, rule: Rule, windows: Windows) -> Logs:
        """Both sides and their health at `windows.now`."""
        moment, values = windows.now.replace(tzinfo=None), bounds(windows)
        self._folder.connection.execute("SET VARIABLE moment = ?::TIMESTAMP", [moment])
        asked = queries(rule)
        changes, signals = (self._events(name, asked[name], rule, windows) for name in ("changes", "signals"))
        health = self._folder.health(asked["health"], values)
        return Logs(changes, signals, self._folder.rejected(rule, values, health), health)

    def _events(self, name: str, query: str, rule: Rule, windows: Windows) -> Events:
        side, once = rule.sequence.sides[name], rule.sequence.duplicates == "once"
        window = windows.changes if name == "changes" else windows.signals
        return to_events(self._folder.rows(query, bounds(windows), side), side, window, once=once)
