"""Binds a rule's queries to the columns of its connectors' tables, offline. For the keyboard; not deployed.

The local engine parses and binds each query over empty tables. It is more lenient than Kusto about types: a
comparison of a number with a text passes here.
"""

import re
from pathlib import Path

import duckdb
import duckdb_kql
from duckdb_kql import errors

from detection.base.errors import ConfigurationError
from detection.logs.files.columns import SQL_TYPES
from detection.logs.files.folder import translate
from detection.logs.kql import BOUNDS, NEVER, functions_of, queries, with_bounds
from detection.rules.loading import without_comments
from detection.rules.model import Rule, Side

_BOUND_LETS = with_bounds("", dict.fromkeys(BOUNDS, NEVER))
_TOKEN = re.compile(
    r"(?:mismatched input|extraneous input|no viable alternative at input) '(.*?)'(?: expecting|$)", re.DOTALL
)
_COLUMN = re.compile(r'(?:column|name) "+([^"]+)"+', re.IGNORECASE)
_TABLE = re.compile(r"Table with name (\S+) does not exist")
_OPERANDS = re.compile(r"No function matches the given name and argument types '.+?\((.*)\)'")
_KQL_TYPES = {
    "BIGINT": "long",
    "BOOLEAN": "bool",
    "DOUBLE": "real",
    "INTEGER": "int",
    "INTEGER_LITERAL": "long",
    "INTERVAL": "timespan",
    "JSON": "dynamic",
    "STRING_LITERAL": "string",
    "TIMESTAMP": "datetime",
    "VARCHAR": "string",
}


def require_queries_bind(rule: Rule, folder: Path) -> None:
    """Raises ConfigurationError that names file and line if a query of the rule in this folder cannot run.

    It is not KQL, names a table, column or function that is not there, or lacks a column of rule.yaml.
    """
    with duckdb_kql.connect() as connection:
        for name, table in rule.tables.items():
            columns = ", ".join(f'"{column}" {SQL_TYPES[kind]}' for column, kind in table.columns.items())
            connection.execute(f'CREATE TABLE "{name}" ({columns})')
        binder = _Binder(connection, _BOUND_LETS + functions_of(rule))
        for side_name, side in rule.sequence.sides.items():
            binder.require_columns(side, side_name, folder)
        for name, query in queries(rule).items():
            if problem := _Binder(connection, _BOUND_LETS).problem(query):
                raise ConfigurationError(
                    f"{folder / 'rule.yaml'}: its expressions in the query for {name} cannot run: {problem}"
                )


class _Binder:
    """Binds queries that follow the same `let` statements, over the tables of a connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, lets: str) -> None:
        self._connection = connection
        self._lets = lets

    def require_columns(self, side: Side, side_name: str, folder: Path) -> None:
        """Raises ConfigurationError if the side's query cannot run or does not return the side's columns."""
        file = folder / side.query
        text = file.read_text(encoding="utf-8")
        if problem := self.problem(text):
            if source_problem := self.problem(side.source):
                raise ConfigurationError(f"{folder}: the connector's {side.source}: {source_problem}")
            raise ConfigurationError(f"{file}: line {self._line(text, problem)}: {problem}")
        kinds = self._bind(text)
        for column, kind in side.columns.items():
            if column not in kinds:
                problem = f"{side.query} returns no column {column}"
            elif (kind == "datetime") is not kinds[column].startswith("TIMESTAMP"):
                returned = _KQL_TYPES.get(kinds[column], kinds[column])
                problem = f"{side.query} returns {column} as {returned}, not as {kind}"
            else:
                continue
            raise ConfigurationError(f"{folder / 'rule.yaml'}: sequence.{side_name}.columns: {problem}")

    def problem(self, query: str) -> str:
        """The reason why a query cannot run, in KQL's words; empty if it can."""
        try:
            self._bind(query)
        except (errors.KqlError, duckdb.Error) as error:
            return _reason(error)
        return ""

    def _bind(self, query: str) -> dict[str, str]:
        """The SQL types of the columns that the query returns."""
        sql = translate(self._lets + query, self._connection).text
        self._connection.execute(f"SELECT * FROM ({sql})").fetchall()
        described = self._connection.execute(f"DESCRIBE SELECT * FROM ({sql})").fetchall()
        return {str(name): str(kind) for name, kind, *_ in described}

    def _line(self, text: str, problem: str) -> int:
        """The line of a problem: the parser's, or else of the first operator that cannot be bound."""
        try:
            self._bind(text)
        except errors.KqlSyntaxError as error:
            line = error.diagnostics[0].span.line - self._lets.count("\n") if error.diagnostics else 1
            return min(max(line, 1), len(text.rstrip().splitlines()))
        except (errors.KqlError, duckdb.Error):
            pass
        lines = without_comments(text).splitlines()
        begin = 0
        for end in range(1, len(lines) + 1):
            if end < len(lines) and not lines[end].lstrip().startswith("|"):
                continue
            try:
                self._bind("\n".join(lines[:end]))
            except errors.KqlSyntaxError:  # within brackets
                continue
            except (errors.KqlError, duckdb.Error):
                word = problem.rpartition(" ")[2]
                named = [
                    n for n in range(begin, end) if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", lines[n])
                ]
                return (named[0] if named else begin) + 1
            begin = end
        return begin + 1


def _reason(error: Exception) -> str:
    """The text of an error of the engine, without the words of DuckDB. A name comes last."""
    if isinstance(error, errors.KqlError):
        return _reason_of_translator(error)
    text = str(error)
    if match := _TABLE.search(text):
        return f"there is no table {match[1]}"
    if match := _OPERANDS.search(text):
        kinds = [_KQL_TYPES.get(kind.strip(), kind.strip().lower()) for kind in match[1].split(",")]
        return f"an operator or function does not accept operands of the types {' and '.join(kinds)}"
    if isinstance(error, duckdb.BinderException) and (match := _COLUMN.search(text)):
        return f"there is no column {match[1]}"
    return f"it cannot be evaluated: {text.splitlines()[0].partition(': ')[2]}"


def _reason_of_translator(error: errors.KqlError) -> str:
    match error:
        case errors.KqlSyntaxError():
            message = error.diagnostics[0].message if error.diagnostics else ""
            token = _TOKEN.search(message)
            text = token[1] if token else message.partition(": '")[2].rstrip("'")
            if text == "<EOF>":
                return "it is not KQL: the query ends too early"
            return f"it is not KQL: unexpected {(text.split() or ['end of line'])[0]}"
        case errors.KqlUnsupportedError() if error.construct.startswith("function:"):
            function = error.construct.partition(":")[2]
            if "argument" in (error.hint or ""):
                return f"wrong number of arguments of the function {function}"
            return f"the local engine has no function {function}"
        case errors.KqlUnsupportedError():
            return f"the local engine does not have {error.construct}"
        case errors.KqlSchemaError():
            return error.hint or f"there is no table or column {error.name}"
    return f"it cannot be evaluated: {error}"
