"""Exported logs on disk, answered by DuckDB through the rule's own KQL. For the keyboard, not deployed."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import duckdb
import duckdb_kql
from duckdb_kql import engine

from detection.bridges import Owners
from detection.coverage import Coverage, coverage
from detection.errors import ConfigurationError
from detection.events import Health, Logs, Rejected, Row, to_events
from detection.kql import COVERAGE_COLUMNS, HEALTH_COLUMNS, bounds, queries, unnamed, with_parameters
from detection.rule import Rule, Side, Table
from detection.sources.engine import cell, explained
from detection.sources.loading import ARRIVED, Loaded, files_of, load
from detection.window import Windows

Arrival = Literal["ingested", "stamped"]
CHUNK = 50_000  # rows fetched at a time


class Files:
    """A folder of exported logs, as they stood at the moment of each run.

    Rows whose `_ingested` lies after a run's `now` are not there yet. A row that does not say when it
    arrived was always there (`arrival="ingested"`), or arrived when it was stamped ("stamped").
    """

    def __init__(self, folder: Path, tables: Mapping[str, Table], arrival: Arrival = "ingested") -> None:
        """Loads the folder.

        Raises ConfigurationError when the folder, a table's files or a required column is missing,
        DataError when a file is not what its ending says.
        """
        self._connection = duckdb_kql.connect()
        self._translated: dict[str, duckdb_kql.TranslationResult] = {}
        self.loaded = {name: self._load(name, table, folder, arrival) for name, table in tables.items()}

    def read(self, rule: Rule, windows: Windows) -> Logs:
        """Both sides and their health at `windows.now`."""
        self._connection.execute("SET VARIABLE moment = ?::TIMESTAMP", [windows.now.replace(tzinfo=None)])
        asked = queries(rule)
        sides, once = rule.sequence.sides, rule.sequence.duplicates == "once"
        changers = list(self._rows(asked["changes"], windows, sides["changes"]))
        changes = to_events(changers, sides["changes"], windows.changes, once=once)
        rows = self._rows(asked["signals"], windows, sides["signals"])
        if not rule.sequence.exact:
            owners = Owners(rule, changers)
            rows = (row for row in rows if owners.of(row))
        signals = to_events(rows, sides["signals"], windows.signals, once=once)
        health = self._health(asked["health"], windows)
        covered = self._coverage(asked["coverage"], rule, windows) if "coverage" in asked else None
        return Logs(changes, signals, self._rejected(rule, windows, health), health, coverage=covered)

    def _load(self, name: str, table: Table, folder: Path, arrival: Arrival) -> Loaded:
        files = files_of(folder, name)
        if not files and not table.optional:
            there = (
                "there is no such folder"
                if not folder.is_dir()
                else f"it has no file {name}*.jsonl, .csv or .parquet"
            )
            msg = f"{folder}: {there}"
            raise ConfigurationError(msg)
        if not files:
            return Loaded((), (), {})
        loaded = load(self._connection, name, table, files)
        arrived = f"coalesce({ARRIVED}, {table.stamped})" if arrival == "stamped" else ARRIVED
        self._connection.execute(
            f'CREATE VIEW "{name}" AS SELECT * EXCLUDE {ARRIVED} FROM "{name}_rows" '
            f"WHERE {arrived} IS NULL OR {arrived} <= getvariable('moment')"
        )
        return loaded

    def _answer(self, query: str, windows: Windows, wanted: Sequence[str]) -> duckdb.DuckDBPyConnection:
        """Runs KQL and selects columns of its answer; a text is translated once, only its bounds differ by run."""
        values = {name: value.replace(tzinfo=None) for name, value in bounds(windows).items()}
        with explained():
            if query not in self._translated:
                text = with_parameters(query, values)
                schema = engine.schema(self._connection)
                self._translated[query] = duckdb_kql.to_sql(text, schema=schema, parameters=dict(values))
            sql = self._translated[query]
            slots = {one.slot: values[one.name] for one in sql.declarations if one.slot in sql.slots}
            return self._connection.execute(f"SELECT {', '.join(wanted)} FROM ({sql})", slots)

    def _rows(self, query: str, windows: Windows, side: Side) -> Iterator[Row]:
        """The answer's rows with the declared columns."""
        answer = self._answer(query, windows, [cell(name, kind) for name, kind in side.columns.items()])
        while chunk := answer.fetchmany(CHUNK):
            yield from chunk

    def _health(self, query: str, windows: Windows) -> dict[str, Health]:
        answer = self._answer(query, windows, HEALTH_COLUMNS)
        return {side: Health(rows, named, _utc(newest)) for side, rows, named, newest in answer.fetchall()}

    def _coverage(self, query: str, rule: Rule, windows: Windows) -> Coverage:
        return coverage(self._answer(query, windows, COVERAGE_COLUMNS).fetchall(), rule)

    def _rejected(self, rule: Rule, windows: Windows, health: Mapping[str, Health]) -> dict[str, Rejected]:
        """What loading left out, and the rows in the windows that name no actor."""
        rejected = {
            f"{name}, {why}": one
            for name, loaded in self.loaded.items()
            for why, one in loaded.rejected.items()
        }
        for side, source in health.items():
            if source.named < source.rows:
                missing = source.rows - source.named
                rejected[f"{side}, no actor"] = Rejected(missing, self._first(unnamed(rule, side), windows))
        return rejected

    def _first(self, query: str, windows: Windows) -> str:
        found = self._answer(
            f"{query}\n| sort by _file asc, _line asc\n| take 1", windows, ["_file", "_line"]
        )
        return ":".join(map(str, found.fetchone() or ()))


def _utc(value: datetime | None) -> datetime | None:
    """DuckDB's timestamps are UTC here, but do not say so."""
    return value.replace(tzinfo=UTC) if value is not None else None
