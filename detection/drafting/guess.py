"""A connector that nobody has described yet, guessed from the queries that need it."""

import re
from collections.abc import Iterator, Sequence

from detection.drafting.pieces import Piece, without_texts
from detection.drafting.query import Pipeline
from detection.rules.model import Connector, KqlType, LogTable

# A name that is neither called nor a part of another; what it is set by, or what is read of it.
_NAME = re.compile(r"(?<![\w.$])([A-Za-z_]\w*)\b(?!\s*\()(\s*=(?![=~]))?([.\[])?")
_WORDS = frozenset(
    [
        "and",
        "or",
        "by",
        "in",
        "has",
        "has_any",
        "has_all",
        "contains",
        "startswith",
        "endswith",
        "between",
        "matches",
        "regex",
        "asc",
        "desc",
        "kind",
        "to",
        "typeof",
        "true",
        "false",
        "null",
        "dynamic",
        "datetime",
        "d",
        "h",
    ]
)


def guess_tables(sides: Sequence[tuple[Pipeline, str]]) -> dict[str, LogTable]:
    """Tables with the columns that the sides, each with its actor, seem to read, and types by their names."""
    tables: dict[str, dict[str, KqlType]] = {}
    for pipeline, actor in sides:
        guessed_columns = _columns_read([*pipeline.operators, Piece(f"project {actor}", 0)])
        tables.setdefault(pipeline.source, {STAMPED: "datetime"}).update(guessed_columns)
    return {name: LogTable(stamped=STAMPED, columns=columns) for name, columns in tables.items()}


def with_tables(connectors: Sequence[Connector], tables: dict[str, LogTable]) -> Connector:
    """What several connectors bring, and tables beside it, as one."""
    return Connector(
        parsers={name: kql for connector in connectors for name, kql in connector.parsers.items()},
        tables={name: table for connector in connectors for name, table in connector.tables.items()} | tables,
    )


STAMPED = "TimeGenerated"  # as every table of Log Analytics is


def _columns_read(operators: Sequence[Piece]) -> Iterator[tuple[str, KqlType]]:
    assigned_names: set[str] = set()
    for piece in operators:
        for name, assigned, path in _NAME.findall(without_texts(piece.arguments)):
            if assigned:
                assigned_names.add(name)
            elif name not in assigned_names | _WORDS:
                yield (
                    name,
                    "dynamic" if path else "datetime" if re.search(r"Time(?![a-z])", name) else "string",
                )
