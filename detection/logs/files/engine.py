"""The local engine as all who ask it need it: its SQL, its errors, and its values. For the keyboard, not deployed."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

import duckdb
import duckdb_kql
from duckdb_kql import engine

from detection.base.errors import ConfigurationError, DataError
from detection.rules.model import KqlType

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
