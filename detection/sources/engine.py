"""The local engine as all who ask it need it: its errors, and its values. For the keyboard, not deployed."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import duckdb
import duckdb_kql

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


def cell(name: str, kind: KqlType) -> str:
    """SQL for a column as the query API sends it."""
    return f"""strftime("{name}", '%Y-%m-%dT%H:%M:%S.%fZ')""" if kind == "datetime" else f'"{name}"'


def literal(moment: datetime) -> str:
    """A moment (UTC) as SQL."""
    return f"TIMESTAMP '{moment.replace(tzinfo=None)}'"
