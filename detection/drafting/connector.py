"""The tables of a query's sources: those of known connectors, and a guess for the others."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detection.drafting.pieces import Piece, without_texts
from detection.drafting.query import Query
from detection.rules.loading import connector_file, read_yaml
from detection.rules.model import Connector, KqlType, LogTable

STAMPED = "TimeGenerated"  # in every table of Log Analytics

# A name that is not called and not a part of another name; then an assignment, or a path into the column.
_NAME = re.compile(r"(?<![\w.$])([A-Za-z_]\w*)\b(?!\s*\()(\s*=(?![=~]))?([.\[])?")
_KEYWORDS = re.compile(
    "and|or|by|in|has|has_any|has_all|contains|startswith|endswith|between|matches|regex|asc|desc|kind|to|"
    "typeof|true|false|null|dynamic|datetime|d|h"
)


@dataclass(frozen=True, slots=True)
class Sources:
    """The tables of a draft. For guessed tables also their connector, the rule's connectors and a remark."""

    connector: Connector
    guesses: dict[str, Any] = field(default_factory=dict)  # a connector's document by its name
    rule_fields: dict[str, Any] = field(default_factory=dict)
    remarks: Sequence[str] = ()


def find_sources(published: dict[str, Any], query: Query, out: Path) -> Sources:
    """The sources of both sides. Connectors in `out` and the shipped connectors are known."""
    required_connectors = {
        required["connectorId"]: required
        for required in published.get("requiredDataConnectors", [])
        if re.fullmatch(r"\w+", required["connectorId"])  # the name of a file
    }
    paths = {name: connector_file(out / "rules" / "draft", f"{name}.yaml") for name in required_connectors}
    parsers: dict[str, str] = {}
    tables: dict[str, LogTable] = {}
    for existing_path in filter(None, paths.values()):
        connector = read_yaml(existing_path, Connector)
        parsers |= connector.parsers
        tables |= connector.tables
    guesses: dict[str, dict[str, KqlType]] = {}
    for side in (query.changes, query.signals):
        if side.source not in parsers.keys() | tables.keys():
            # The columns that the operators read and do not assign, with types guessed from their names and
            # uses.
            columns = guesses.setdefault(side.source, {STAMPED: "datetime"})
            assigned_names: set[str] = set()
            for piece in [*side.operators, Piece(f"project {side.actor}", 0)]:
                for name, assigned, path in _NAME.findall(without_texts(piece.arguments)):
                    if assigned:
                        assigned_names.add(name)
                    elif name not in assigned_names and not _KEYWORDS.fullmatch(name):
                        is_time = re.search(r"Time(?![a-z])", name)
                        columns[name] = "dynamic" if path else "datetime" if is_time else "string"
    guessed_tables = {name: LogTable(stamped=STAMPED, columns=columns) for name, columns in guesses.items()}
    connector = Connector(parsers=parsers, tables=tables | guessed_tables)
    if not guesses:
        return Sources(connector)
    name = next((name for name, path in paths.items() if path is None), "Draft")
    needed = [required for required_name, required in required_connectors.items() if paths[required_name]]
    document = {
        table: guessed_table.model_dump(include={"stamped", "columns"})
        for table, guessed_table in guessed_tables.items()
    }
    remark = (
        f"connectors/{name}.yaml: columns and types of {', '.join(guesses)} are guessed from the query; "
        "check them against the table's reference"
    )
    return Sources(
        connector,
        {name: {"parsers": {}, "tables": document}},
        {"requiredDataConnectors": [*needed, {"connectorId": name, "dataTypes": [*guesses]}]},
        (remark,),
    )
