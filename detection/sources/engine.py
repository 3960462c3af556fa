"""The local engine as all who ask it need it: its SQL, its errors, and its values. For the keyboard, not deployed."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import duckdb
import duckdb_kql
from duckdb_kql import engine

from detection.errors import ConfigurationError, DataError
from detection.rule import KqlType


@contextmanager
def explained(what: str = "the rule's query") -> Iterator[None]:
    """Raises ConfigurationError for KQL that cannot run here, DataError for rows that it cannot take."""
    try:
        yield
    except duckdb_kql.KqlError as error:
        msg = f"the local engine cannot run {what}: {error}"
        raise ConfigurationError(msg) from error
    except duckdb.BinderException as error:
        msg = f"{what} asks for a column that is not there: {str(error).splitlines()[0]}"
        raise ConfigurationError(msg) from error
    except duckdb.Error as error:
        msg = f"{what} failed on these logs: {str(error).splitlines()[0]}"
        raise DataError(msg) from error


def translated(kql: str, connection: duckdb.DuckDBPyConnection) -> duckdb_kql.TranslationResult:
    """KQL as SQL for the tables of a connection, with its declared parameters left open.

    Translating takes as long as answering. Only the text and the columns of the tables decide the SQL, so it is made
    once for each pair of these.
    """
    schema = engine.schema(connection)
    return _translated(kql, tuple((table, tuple(columns)) for table, columns in schema.items()))


@lru_cache(maxsize=128)
def _translated(kql: str, tables: tuple[tuple[str, tuple[str, ...]], ...]) -> duckdb_kql.TranslationResult:
    return duckdb_kql.to_sql(kql, schema={name: list(columns) for name, columns in tables})


def cell(name: str, kind: KqlType) -> str:
    """SQL for a column as the query API sends it."""
    return f"""strftime("{name}", '%Y-%m-%dT%H:%M:%S.%fZ')""" if kind == "datetime" else f'"{name}"'
