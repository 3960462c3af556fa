"""Draft one side of a published query: its KQL, its columns and their roles."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb_kql

from detection.base.errors import DetectionError
from detection.drafting.pieces import Piece
from detection.drafting.query import QuerySide, named_expressions
from detection.logs.files.columns import SQL_TYPES
from detection.logs.files.folder import explain_errors
from detection.logs.kql import BOUNDS
from detection.rules.model import Connector, KqlType, LogTable

_KQL_TYPES: dict[str, KqlType] = {kind.removesuffix(" DEFAULT ''"): name for name, kind in SQL_TYPES.items()}
_COMPARED = re.compile(r"([A-Za-z_]\w*)\s+(?:has|has_any|in|in~|contains|==|=~)[\s(]")


@dataclass(frozen=True, slots=True)
class SideDraft:
    """A side of a rule folder: its query, its part of rule.yaml, and the new names of renamed columns."""

    kql: str
    columns: dict[str, KqlType]
    rule_part: dict[str, Any]
    renamed: dict[str, str]
    remarks: Sequence[str]


@dataclass(slots=True)
class SideDrafter:
    """Drafts the side `name` of a rule. `output` are the columns of the published query.

    `taken_columns` are the columns of the other side, which this side must not have too.
    """

    name: str
    side: QuerySide
    output: Sequence[str]
    connector: Connector
    taken_columns: Mapping[str, KqlType]
    remarks: list[str] = field(default_factory=list)

    def draft(self) -> SideDraft:
        side = self.side
        words = re.findall(r"\w+", self.connector.parsers.get(side.source, side.source))
        table = next(table for name, table in self.connector.tables.items() if name in words)
        bounds = f"{table.stamped} > {self.name}_after and {table.stamped} <= {self.name}_until"
        ago = re.compile(rf"\b{table.stamped}\s*>=?\s*ago\([^()]*\)")
        operators = [Piece(ago.sub(bounds, operator.text), operator.line) for operator in side.operators]
        if operators == side.operators:
            self.remarks.append(
                f"{self.name}: no `where {table.stamped} > ago(…)`; the draft begins with the job's bounds"
            )
            operators.insert(0, Piece(f"where {bounds}", 0))
        if any("ago(" in operator.text or "now(" in operator.text for operator in operators):
            self.remarks.append(
                f"{self.name}: the query calls ago() or now(); replace them, for a run has its own time"
            )
        *body, projection = [*operators, Piece("", 0)]
        if body and body[-1].keyword == "project":
            projection = body.pop()
        available = self._returned_columns(body)
        if projection.text:
            expressions = dict(named_expressions(projection))
        else:
            used_names = {*self.output, side.actor, side.time}
            expressions = {name: name for name in available if name in used_names}
        columns: dict[str, str] = {}
        renamed: dict[str, str] = {}
        for name, expression in expressions.items():
            new_name = f"{self._prefix}{name}" if name in self.taken_columns else name
            columns[new_name] = expression
            if new_name != name:
                renamed |= {name: new_name, f"{name}1": new_name}
                self.remarks.append(
                    f"{self.name}: {name} is renamed to {new_name}; changes have a column {name}"
                )
        definitions = {
            name: kql
            for piece in side.operators
            if piece.keyword in {"extend", "project"}
            for name, kql in named_expressions(piece)
            if name != kql
        }
        actor = side.actor
        for _ in definitions:
            actor = definitions.get(actor, actor)
        rule_part: dict[str, Any] = {
            "source": side.source,
            "query": f"{self.name}.kql",
            "names_actor": f"isnotempty({actor})",
            **self._add_roles(columns, renamed, available, table, body),
        }
        lines = (f"    {name}" if name == kql else f"    {name} = {kql}" for name, kql in columns.items())
        operators = [*body, Piece("project\n" + ",\n".join(lines), 0)]
        returned = self._returned_columns(operators)
        types: dict[str, KqlType] = {name: returned.get(name, "string") for name in columns}
        rule_part |= {"columns": types, "labels": {}}
        return SideDraft(_query_text(side.source, operators), types, rule_part, renamed, self.remarks)

    @property
    def _prefix(self) -> str:
        """The prefix of added and renamed columns: Change or Signal."""
        return self.name.removesuffix("s").capitalize()

    def _add_roles(
        self,
        columns: dict[str, str],
        renamed: Mapping[str, str],
        available: Mapping[str, KqlType],
        table: LogTable,
        body: Sequence[Piece],
    ) -> dict[str, str]:
        """The column of each role. Adds the missing columns to `columns`."""
        names_by_expression = {expression: name for name, expression in columns.items()}
        actor_name = renamed.get(self.side.actor, self.side.actor)
        actor = actor_name if actor_name in columns else names_by_expression.get(self.side.actor)
        actor = actor or self._add_column(columns, "Actor", self.side.actor)
        times = (self.side.time, names_by_expression.get(table.stamped))
        time = next((name for name in times if name in columns), None)
        time = time or self._add_column(columns, "Time", table.stamped)
        keys = [column for column in table.key if column in available]
        row = f"pack_array({', '.join(available)})"
        if keys:
            *leading_keys, id_kql = keys
            for key in reversed(leading_keys):
                id_kql = f"iff(isnotempty({key}), {key}, {id_kql})"
            row = f"iff(isnotempty({id_kql}), dynamic(null), {row})"
        else:
            id_kql = '""'
            reason = f"{', '.join(table.key)} is not in the result" if table.key else "the table has no key"
            self.remarks.append(f"{self.name}: {reason}; rows that are equal in all columns count once")
        event_id = self._add_column(columns, "Id", id_kql)
        full_row = self._add_column(columns, "Row", row)
        # The kind of an event is the first column that the query filters by, also under a projected name.
        aliases = {
            kql: name
            for operator in body
            if operator.keyword == "project"
            for name, kql in named_expressions(operator)
        }
        filtered = [
            column
            for operator in body
            if operator.keyword == "where"
            for name in _COMPARED.findall(operator.text)
            for column in (name, aliases.get(name, name))
        ]
        kind = next((name for name in filtered if name in available), None)
        if kind is None:
            self.remarks.append(f"{self.name}: no filter names the kinds; all events get the same kind")
            kind_column = self._add_column(columns, "Kind", f'"{self.side.source}"')
        elif kind in names_by_expression and available[kind] == "string":
            kind_column = names_by_expression[kind]
        else:
            kind_column = self._add_column(columns, "Kind", f"tostring({kind})")
        return {
            "id": event_id,
            "full_row": full_row,
            "time": time,
            "stamped": time,
            "actor": actor,
            "kind": kind_column,
        }

    def _add_column(self, columns: dict[str, str], suffix: str, kql: str) -> str:
        """Add a column under a name that neither side has."""
        name = f"{self._prefix}{suffix}"
        while name in columns or name in self.taken_columns:
            name = f"{name}_"
        columns[name] = kql
        return name

    def _returned_columns(self, operators: Sequence[Piece]) -> dict[str, KqlType]:
        """The columns that the operators return, or none and a remark if the local engine cannot run them."""
        connection = duckdb_kql.connect()
        for name, table in self.connector.tables.items():
            columns = ", ".join(f'"{column}" {SQL_TYPES[kind]}' for column, kind in table.columns.items())
            connection.execute(f'CREATE TABLE "{name}" ({columns})')
        lets = [f"let {name} =\n{body}\n;\n" for name, body in self.connector.parsers.items()]
        lets += [f"let {bound} = datetime(2026-01-01);\n" for bound in BOUNDS]
        try:
            with explain_errors("the drafted query"):
                answer = duckdb_kql.query(
                    connection, "".join(lets) + _query_text(self.side.source, operators)
                )
                types = zip(answer.columns, answer.types, strict=True)
                return {name: _KQL_TYPES.get(str(kind), "string") for name, kind in types}
        except DetectionError as error:
            self.remarks.append(f"{self.name}: {error}")
            return {}


def _query_text(source: str, operators: Sequence[Piece]) -> str:
    return "\n| ".join([source, *(operator.text for operator in operators)])
