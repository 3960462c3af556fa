"""A folder of exported logs in DuckDB, which answers KQL over it. For the keyboard; not deployed."""

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
from detection.logs.coverage import Coverage
from detection.logs.coverage_query import count_coverage
from detection.logs.events import Rejected, Row, SideHealth
from detection.logs.files.loading import LoadedFiles, files_of, load_table
from detection.logs.kql import (
    COVERAGE_COLUMNS,
    HEALTH_COLUMNS,
    Bounds,
    queries,
    unnamed_rows,
    with_parameters,
)
from detection.rules.model import KqlType, LogTable, Rule, Side

# The SQL of `has_any` tests a regular expression for each of its terms. DuckDB takes five milliseconds to
# compile a regular expression with Unicode classes, and a rule has dozens: that was more than half of the
# time of a small query.
_BEFORE, _AFTER = r"'(?i)(?:^|[^\pL\pN])' || ", r" || '(?:$|[^\pL\pN])')"
_TERM = r"regexp_escape\('(?:[^']|'')*'\)"
_HAS_TERM = rf", {re.escape(_BEFORE)}{_TERM}{re.escape(_AFTER)}"
_HAS_ANY = re.compile(
    rf"\(regexp_matches\(((?:(?!regexp_matches).)+?){_HAS_TERM}(?: OR regexp_matches\(\1{_HAS_TERM})+\)"
)

FETCH_ROWS = 50_000  # rows fetched at a time

# Creates the table or view `<name>_rows` from a table's files.
TableLoader = Callable[[duckdb.DuckDBPyConnection, str, LogTable, Sequence[Path]], LoadedFiles]


@contextmanager
def explain_errors(subject: str = "the rule's query") -> Iterator[None]:
    """Raises ConfigurationError if DuckDB cannot run the KQL, DataError if the query fails on the rows."""
    try:
        yield
    except duckdb_kql.KqlError as error:
        raise ConfigurationError(f"the local engine cannot run {subject}: {error}") from error
    except duckdb.BinderException as error:
        reason = str(error).splitlines()[0]
        raise ConfigurationError(f"{subject} reads a column that is not there: {reason}") from error
    except duckdb.Error as error:
        raise DataError(f"{subject} failed on these logs: {str(error).splitlines()[0]}") from error


class SqlQuery(NamedTuple):
    """A query in SQL, and its name for each declared parameter that it mentions."""

    text: str
    slots: Mapping[str, str]


def translate(kql: str, connection: duckdb.DuckDBPyConnection) -> SqlQuery:
    """Translates KQL to SQL for the tables of a connection. Its declared parameters stay open.

    The result is cached, because a translation takes as long as an answer. It depends only on the text and on
    the columns of the tables.
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
    """The SQL with one regular expression for all terms of a `has_any`, instead of one for each term."""

    def joined_terms(match: re.Match[str]) -> str:
        terms = " || '|' || ".join(re.findall(_TERM, match[0]))
        return f"(regexp_matches({match[1]}, {_BEFORE}'(?:' || {terms} || ')'{_AFTER})"

    return _HAS_ANY.sub(joined_terms, sql)


def column_sql(name: str, kind: KqlType) -> str:
    """SQL for a column as the query API sends it."""
    return f"""strftime("{name}", '%Y-%m-%dT%H:%M:%S.%fZ')""" if kind == "datetime" else f'"{name}"'


def timestamp_literal(moment: datetime) -> str:
    """SQL for a moment (UTC)."""
    return f"TIMESTAMP '{moment.replace(tzinfo=None)}'"


class LogFolder:
    """The tables of a folder, as `<name>_rows`. Callers create the views that KQL reads."""

    def __init__(
        self,
        folder: Path,
        tables: Mapping[str, LogTable],
        loader: TableLoader = load_table,
        connection: duckdb.DuckDBPyConnection | None = None,
    ) -> None:
        """Loads the folder into DuckDB over this connection, or over a new one.

        Raises ConfigurationError if the folder, a table's files or a required column is missing, DataError if
        a file is not in the format that its suffix says.
        """
        self.connection = connection or duckdb_kql.connect()
        self._sql_by_query: dict[str, SqlQuery] = {}
        self.loaded: dict[str, LoadedFiles] = {}
        for name, table in tables.items():
            if files := files_of(folder, name):
                self.loaded[name] = loader(self.connection, name, table, files)
            elif table.optional:
                self.loaded[name] = LoadedFiles((), (), {})
            elif not folder.is_dir():
                raise ConfigurationError(f"{folder}: there is no such folder")
            else:
                raise ConfigurationError(f"{folder}: it has no file {name}*.jsonl, .csv or .parquet")

    @property
    def present_tables(self) -> list[str]:
        """The names of the tables that have files."""
        return [name for name, loaded in self.loaded.items() if loaded.files]

    def rows(self, query: str, parameters: Bounds, side: Side) -> Iterator[Row]:
        """The rows that KQL returns, with the columns that the side declares."""
        answer = self._query(
            query, parameters, [column_sql(name, kind) for name, kind in side.columns.items()]
        )
        while True:
            with explain_errors():  # DuckDB computes the rows while they are fetched
                rows = answer.fetchmany(FETCH_ROWS)
            if not rows:
                return
            yield from rows

    def health(self, rule: Rule, parameters: Bounds) -> dict[str, SideHealth]:
        """The health of each side within the bounds."""
        rows = self._all_rows(queries(rule)["health"], parameters, HEALTH_COLUMNS)
        return {  # DuckDB's timestamps are UTC here, without saying so
            side: SideHealth(number, named, newest and newest.replace(tzinfo=UTC), cut)
            for side, number, named, cut, newest in rows
        }

    def coverage(self, rule: Rule, parameters: Bounds) -> Coverage | None:
        """The coverage within the bounds; None if the rule has no such query or the query fails."""
        query = queries(rule).get("coverage")
        if query is None:
            return None
        return count_coverage(lambda: self._all_rows(query, parameters, COVERAGE_COLUMNS), rule)

    def rejected(
        self, rule: Rule, parameters: Bounds, health: Mapping[str, SideHealth]
    ) -> dict[str, Rejected]:
        """The rows that loading rejected, and the rows within the bounds that name no actor, by reason."""
        rejected = {
            f"{name}, {reason}": rejected_rows
            for name, loaded in self.loaded.items()
            for reason, rejected_rows in loaded.rejected.items()
        }
        for side, side_health in health.items():
            for reason, count in side_health.unnamed().items():
                rows = unnamed_rows(rule, side, cut=reason == "cut")
                query = f"{rows}\n| sort by _file asc, _line asc\n| take 1"
                first_row = self._query(query, parameters, ["_file", "_line"]).fetchone()
                rejected[f"{side}, {reason}"] = Rejected(count, ":".join(map(str, first_row or ())))
        return rejected

    def _all_rows(self, query: str, parameters: Bounds, columns: Sequence[str]) -> list[Row]:
        with explain_errors():
            return self._query(query, parameters, columns).fetchall()

    def _query(self, query: str, parameters: Bounds, columns: Sequence[str]) -> duckdb.DuckDBPyConnection:
        """Runs KQL and selects columns of its answer. A query is translated once: only its bounds differ."""
        naive_parameters = {name: value.replace(tzinfo=None) for name, value in parameters.items()}
        with explain_errors():
            if query not in self._sql_by_query:
                self._sql_by_query[query] = translate(
                    with_parameters(query, naive_parameters), self.connection
                )
            sql = self._sql_by_query[query]
            slots = {slot: naive_parameters[name] for name, slot in sql.slots.items()}
            return self.connection.execute(f"SELECT {', '.join(columns)} FROM ({sql.text})", slots)
