"""A folder of exported logs in the local engine, which answers KQL over it. For the keyboard, not deployed."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import duckdb
import duckdb_kql
from duckdb_kql import engine

from detection.base.errors import ConfigurationError, DataError
from detection.logs.events import Rejected, Row, SideHealth
from detection.logs.files.loading import LoadedFiles, files_of, load_table
from detection.logs.kql import COVERAGE_COLUMNS, HEALTH_COLUMNS, Bounds, unnamed_rows, with_parameters
from detection.rules.model import KqlType, LogTable, Rule, Side

# The SQL of `has_any`, which tests for each of its terms. A regular expression with the classes of Unicode takes DuckDB
# five milliseconds to compile, and a rule has dozens: they were more than half of the time of a query over few rows.
_BEFORE, _AFTER = r"'(?i)(?:^|[^\pL\pN])' || ", r" || '(?:$|[^\pL\pN])')"


_TERM = r"regexp_escape\('(?:[^']|'')*'\)"


_HAS_TERM = rf", {re.escape(_BEFORE)}{_TERM}{re.escape(_AFTER)}"


_HAS_ANY = re.compile(
    rf"\(regexp_matches\(((?:(?!regexp_matches).)+?){_HAS_TERM}(?: OR regexp_matches\(\1{_HAS_TERM})+\)"
)


@contextmanager
def explain_errors(subject: str = "the rule's query") -> Iterator[None]:
    """Raises ConfigurationError for KQL that cannot run here, DataError for rows that it cannot take."""
    try:
        yield
    except duckdb_kql.KqlError as error:
        msg = f"the local engine cannot run {subject}: {error}"
        raise ConfigurationError(msg) from error
    except duckdb.BinderException as error:
        msg = f"{subject} asks for a column that is not there: {str(error).splitlines()[0]}"
        raise ConfigurationError(msg) from error
    except duckdb.Error as error:
        msg = f"{subject} failed on these logs: {str(error).splitlines()[0]}"
        raise DataError(msg) from error


class SqlQuery(NamedTuple):
    """A query in SQL, and how it calls each declared parameter that it mentions."""

    text: str
    slots: Mapping[str, str]


def translate(kql: str, connection: duckdb.DuckDBPyConnection) -> SqlQuery:
    """KQL as SQL for the tables of a connection, with its declared parameters left open.

    Translating takes as long as answering. Only the text and the columns of the tables decide the SQL, so it is made
    once for each pair of these.
    """
    schema = engine.schema(connection)
    return _translate(kql, tuple((table, tuple(columns)) for table, columns in schema.items()))


@lru_cache(maxsize=128)
def _translate(kql: str, tables: tuple[tuple[str, tuple[str, ...]], ...]) -> SqlQuery:
    translation = duckdb_kql.to_sql(kql, schema={name: list(columns) for name, columns in tables})
    slots = {
        declaration.name: declaration.slot
        for declaration in translation.declarations
        if declaration.slot in translation.slots
    }
    return SqlQuery(join_has_any(translation), slots)


def join_has_any(sql: str) -> str:
    """SQL whose `has_any` tests one regular expression for all its terms, not one for each."""
    return _HAS_ANY.sub(_any_term, sql)


def _any_term(match: re.Match[str]) -> str:
    """One regular expression for all terms of a `has_any`."""
    terms = " || '|' || ".join(re.findall(_TERM, match[0]))
    return f"(regexp_matches({match[1]}, {_BEFORE}'(?:' || {terms} || ')'{_AFTER})"


def column_sql(name: str, kind: KqlType) -> str:
    """SQL for a column as the query API sends it."""
    return f"""strftime("{name}", '%Y-%m-%dT%H:%M:%S.%fZ')""" if kind == "datetime" else f'"{name}"'


def timestamp_literal(moment: datetime) -> str:
    """A moment (UTC) as SQL."""
    return f"TIMESTAMP '{moment.replace(tzinfo=None)}'"


FETCH_ROWS = 50_000  # rows fetched at a time

# Makes `<name>_rows` of a table's files.
TableLoader = Callable[[duckdb.DuckDBPyConnection, str, LogTable, Sequence[Path]], LoadedFiles]


class LogFolder:
    """The tables of a folder of exported logs, as `<name>_rows`. Whoever asks KQL of them makes views of their names."""

    def __init__(
        self,
        folder: Path,
        tables: Mapping[str, LogTable],
        loader: TableLoader = load_table,
        connection: duckdb.DuckDBPyConnection | None = None,
    ) -> None:
        """Loads the folder into the engine behind a connection, or into a new one.

        Raises ConfigurationError when the folder, a table's files or a required column is missing,
        DataError when a file is not what its ending says.
        """
        self.connection = connection or duckdb_kql.connect()
        self._loader = loader
        self._sql_by_query: dict[str, SqlQuery] = {}
        self.loaded = {name: self._load_table(name, table, folder) for name, table in tables.items()}

    @property
    def present_tables(self) -> list[str]:
        """The tables that there are files of."""
        return [name for name, loaded in self.loaded.items() if loaded.files]

    def rows(self, query: str, parameters: Bounds, side: Side) -> Iterator[Row]:
        """The rows that KQL returns, with the declared columns."""
        answer = self._query(
            query, parameters, [column_sql(name, kind) for name, kind in side.columns.items()]
        )
        while rows := _fetch_rows(answer):
            yield from rows

    def health(self, query: str, parameters: Bounds) -> dict[str, SideHealth]:
        """What the health query says."""
        with explain_errors():
            rows = self._query(query, parameters, HEALTH_COLUMNS).fetchall()
        return {side: SideHealth(number, named, _utc(newest)) for side, number, named, newest in rows}

    def coverage(self, query: str, parameters: Bounds) -> list[Row]:
        """What the coverage query says."""
        with explain_errors():
            return self._query(query, parameters, COVERAGE_COLUMNS).fetchall()

    def rejected(
        self, rule: Rule, parameters: Bounds, health: Mapping[str, SideHealth]
    ) -> dict[str, Rejected]:
        """What loading left out, and the rows within the bounds that name no actor."""
        rejected = {
            f"{name}, {reason}": rejected_rows
            for name, loaded in self.loaded.items()
            for reason, rejected_rows in loaded.rejected.items()
        }
        for side, side_health in health.items():
            if side_health.named < side_health.rows:
                unnamed_count = side_health.rows - side_health.named
                rejected[f"{side}, no actor"] = Rejected(
                    unnamed_count, self._first_location(unnamed_rows(rule, side), parameters)
                )
        return rejected

    def _load_table(self, name: str, table: LogTable, folder: Path) -> LoadedFiles:
        files = files_of(folder, name)
        if files:
            return self._loader(self.connection, name, table, files)
        if table.optional:
            return LoadedFiles((), (), {})
        problem = (
            "there is no such folder"
            if not folder.is_dir()
            else f"it has no file {name}*.jsonl, .csv or .parquet"
        )
        msg = f"{folder}: {problem}"
        raise ConfigurationError(msg)

    def _query(self, query: str, parameters: Bounds, columns: Sequence[str]) -> duckdb.DuckDBPyConnection:
        """Runs KQL and selects columns of its answer; a text is translated once, only its bounds differ."""
        naive_parameters = {name: value.replace(tzinfo=None) for name, value in parameters.items()}
        with explain_errors():
            if query not in self._sql_by_query:
                self._sql_by_query[query] = translate(
                    with_parameters(query, naive_parameters), self.connection
                )
            sql = self._sql_by_query[query]
            slots = {slot: naive_parameters[name] for name, slot in sql.slots.items()}
            return self.connection.execute(f"SELECT {', '.join(columns)} FROM ({sql.text})", slots)

    def _first_location(self, query: str, parameters: Bounds) -> str:
        answer = self._query(
            f"{query}\n| sort by _file asc, _line asc\n| take 1", parameters, ["_file", "_line"]
        )
        return ":".join(map(str, answer.fetchone() or ()))


def _fetch_rows(answer: duckdb.DuckDBPyConnection) -> list[Row]:
    """The next rows of an answer, which is found while it is fetched."""
    with explain_errors():
        return answer.fetchmany(FETCH_ROWS)


def _utc(value: datetime | None) -> datetime | None:
    """DuckDB's timestamps are UTC here, but do not say so."""
    return value.replace(tzinfo=UTC) if value is not None else None
