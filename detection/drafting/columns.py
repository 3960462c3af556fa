"""The columns that a query returns, asked of the local engine over empty tables."""

import duckdb_kql

from detection.logs.files.engine import explain_errors
from detection.logs.files.loading import SQL_TYPES
from detection.logs.kql import BOUNDS
from detection.rules.model import Connector, KqlType

_KQL_TYPES: dict[str, KqlType] = {kind.removesuffix(" DEFAULT ''"): name for name, kind in SQL_TYPES.items()}


def columns_of(kql: str, connector: Connector) -> dict[str, KqlType]:
    """The columns with their types. Raises ConfigurationError where the local engine cannot run the query."""
    connection = duckdb_kql.connect()
    for name, table in connector.tables.items():
        column_definitions = ", ".join(
            f'"{column}" {SQL_TYPES[kind]}' for column, kind in table.columns.items()
        )
        connection.execute(f'CREATE TABLE "{name}" ({column_definitions})')
    lets = [f"let {name} =\n{body}\n;\n" for name, body in connector.parsers.items()]
    lets += [f"let {bound} = datetime(2026-01-01);\n" for bound in BOUNDS]
    with explain_errors("the drafted query"):
        answer = duckdb_kql.query(connection, "".join(lets) + kql)
        typed_columns = [*zip(answer.columns, answer.types, strict=True)]
    return {name: _KQL_TYPES.get(str(kind), "string") for name, kind in typed_columns}
