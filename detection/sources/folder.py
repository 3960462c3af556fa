"""A folder of exported logs in the local engine, which answers KQL over it. For the keyboard, not deployed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import duckdb_kql

from detection.errors import ConfigurationError
from detection.events import Health, Rejected, Row
from detection.kql import COVERAGE_COLUMNS, HEALTH_COLUMNS, Bounds, unnamed, with_parameters
from detection.rule import Rule, Side, Table
from detection.sources.engine import Sql, cell, explained, translated
from detection.sources.loading import Loaded, files_of, load

CHUNK = 50_000  # rows fetched at a time

# Makes `<name>_rows` of a table's files.
Load = Callable[[duckdb.DuckDBPyConnection, str, Table, Sequence[Path]], Loaded]


class Folder:
    """The tables of a folder of exported logs, as `<name>_rows`. Whoever asks KQL of them makes views of their names."""

    def __init__(
        self,
        folder: Path,
        tables: Mapping[str, Table],
        load: Load = load,
        connection: duckdb.DuckDBPyConnection | None = None,
    ) -> None:
        """Loads the folder into the engine behind a connection, or into a new one.

        Raises ConfigurationError when the folder, a table's files or a required column is missing,
        DataError when a file is not what its ending says.
        """
        self.connection = connection or duckdb_kql.connect()
        self._load = load
        self._translated: dict[str, Sql] = {}
        self.loaded = {name: self._take(name, table, folder) for name, table in tables.items()}

    @property
    def present(self) -> list[str]:
        """The tables that there are files of."""
        return [name for name, loaded in self.loaded.items() if loaded.files]

    def rows(self, query: str, values: Bounds, side: Side) -> Iterator[Row]:
        """The rows that KQL returns, with the declared columns."""
        answer = self._answer(query, values, [cell(name, kind) for name, kind in side.columns.items()])
        while chunk := _fetched(answer):
            yield from chunk

    def health(self, query: str, values: Bounds) -> dict[str, Health]:
        """What the health query says."""
        with explained():
            rows = self._answer(query, values, HEALTH_COLUMNS).fetchall()
        return {side: Health(number, named, _utc(newest)) for side, number, named, newest in rows}

    def coverage(self, query: str, values: Bounds) -> list[Row]:
        """What the coverage query says."""
        with explained():
            return self._answer(query, values, COVERAGE_COLUMNS).fetchall()

    def rejected(self, rule: Rule, values: Bounds, health: Mapping[str, Health]) -> dict[str, Rejected]:
        """What loading left out, and the rows within the bounds that name no actor."""
        rejected = {
            f"{name}, {why}": one
            for name, loaded in self.loaded.items()
            for why, one in loaded.rejected.items()
        }
        for side, source in health.items():
            if source.named < source.rows:
                missing = source.rows - source.named
                rejected[f"{side}, no actor"] = Rejected(missing, self._first(unnamed(rule, side), values))
        return rejected

    def _take(self, name: str, table: Table, folder: Path) -> Loaded:
        files = files_of(folder, name)
        if files:
            return self._load(self.connection, name, table, files)
        if table.optional:
            return Loaded((), (), {})
        there = (
            "there is no such folder"
            if not folder.is_dir()
            else f"it has no file {name}*.jsonl, .csv or .parquet"
        )
        msg = f"{folder}: {there}"
        raise ConfigurationError(msg)

    def _answer(self, query: str, values: Bounds, wanted: Sequence[str]) -> duckdb.DuckDBPyConnection:
        """Runs KQL and selects columns of its answer; a text is translated once, only its bounds differ."""
        naive = {name: value.replace(tzinfo=None) for name, value in values.items()}
        with explained():
            if query not in self._translated:
                self._translated[query] = translated(with_parameters(query, naive), self.connection)
            sql = self._translated[query]
            slots = {slot: naive[name] for name, slot in sql.slots.items()}
            return self.connection.execute(f"SELECT {', '.join(wanted)} FROM ({sql.text})", slots)

    def _first(self, query: str, values: Bounds) -> str:
        found = self._answer(f"{query}\n| sort by _file asc, _line asc\n| take 1", values, ["_file", "_line"])
        return ":".join(map(str, found.fetchone() or ()))


def _fetched(answer: duckdb.DuckDBPyConnection) -> list[Row]:
    """The next rows of an answer, which is found while it is fetched."""
    with explained():
        return answer.fetchmany(CHUNK)


def _utc(value: datetime | None) -> datetime | None:
    """DuckDB's timestamps are UTC here, but do not say so."""
    return value.replace(tzinfo=UTC) if value is not None else None
