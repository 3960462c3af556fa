"""A connector that nobody has described yet, guessed from the queries that need it. Pure."""

import re
from collections.abc import Iterator, Sequence

from detection.drafting.pieces import Piece, without_texts
from detection.drafting.query import Pipeline
from detection.rule import Connector, KqlType, Table

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


def guessed(sides: Sequence[tuple[Pipeline, str]]) -> dict[str, Table]:
    """Tables with the columns that the sides, each with its actor, seem to read, and types by their names."""
    tables: dict[str, dict[str, KqlType]] = {}
    for pipeline, actor in sides:
        read = _read([*pipeline.operators, Piece(f"project {actor}", 0)])
        tables.setdefault(pipeline.source, {STAMPED: "datetime"}).update(read)
    return {name: Table(stamped=STAMPED, columns=columns) for name, columns in tables.items()}


def with_tables(known: Sequence[Connector], tables: dict[str, Table]) -> Connector:
    """What several connectors bring, and tables beside it, as one."""
    return Connector(
        parsers={name: kql for one in known for name, kql in one.parsers.items()},
        tables={name: table for one in known for name, table in one.tables.items()} | tables,
    )


STAMPED = "TimeGenerated"  # as every table of Log Analytics is


def _read(operators: Sequence[Piece]) -> Iterator[tuple[str, KqlType]]:
    own: set[str] = set()
    for piece in operators:
        for name, assigned, path in _NAME.findall(without_texts(piece.rest)):
            if assigned:
                own.add(name)
            elif name not in own | _WORDS:
                yield (
                    name,
                    "dynamic" if path else "datetime" if re.search(r"Time(?![a-z])", name) else "string",
                )
