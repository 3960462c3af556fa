"""One side of a published query becomes a query of a rule folder: its KQL, its columns, and what they mean."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb_kql

from detection.base.errors import DetectionError
from detection.drafting.pieces import Piece
from detection.drafting.query import Pipeline, named_expressions
from detection.logs.files.folder import explain_errors
from detection.logs.files.loading import SQL_TYPES
from detection.logs.kql import BOUNDS
from detection.rules.model import Connector, KqlType, LogTable

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


_COMPARED = re.compile(r"([A-Za-z_]\w*)\s+(?:has|has_any|in|in~|contains|==|=~)[\s(]")


@dataclass(frozen=True, slots=True)
class SideInput:
    """What is known of a side beforehand: its prefix, who and when in the published query, and what it returns."""

    name: str
    prefix: str
    pipeline: Pipeline
    actor: str
    time: str | None
    output: Sequence[str]
    taken_columns: Mapping[str, KqlType]


@dataclass(frozen=True, slots=True)
class SideDraft:
    """A side of a rule folder: its query, its part of rule.yaml, and the columns that had to be called otherwise."""

    kql: str
    columns: dict[str, KqlType]
    sequence_part: dict[str, Any]
    renamed: dict[str, str]
    remarks: Sequence[str]


def draft_side(side: SideInput, connector: Connector) -> SideDraft:
    """A side of a published query as a rule folder has it."""
    return _SideDrafter(side, connector).draft()


@dataclass(slots=True)
class _SideDrafter:
    """A side while it is drafted."""

    side: SideInput
    connector: Connector
    remarks: list[str] = field(default_factory=list)

    def draft(self) -> SideDraft:
        *body, projection = [*self._with_bounds(), Piece("", 0)]
        if body and body[-1].keyword == "project":
            projection = body.pop()
        available = self._returned_columns(body)
        expressions = (
            dict(named_expressions(projection))
            if projection.text
            else {name: name for name in available if name in self._used_names()}
        )
        columns, renamed = self._distinct_names(expressions)
        roles = self._roles(columns, renamed, available, body)
        operators = [*body, _project(columns)]
        returned = self._returned_columns(operators)
        types: dict[str, KqlType] = {name: returned.get(name, "string") for name in columns}
        sequence_part = {
            "source": self.side.pipeline.source,
            "query": f"{self.side.name}.kql",
            "names_actor": self._names_actor(),
            **roles,
            "columns": types,
            "labels": {},
        }
        kql = _query_text(self.side.pipeline.source, operators)
        return SideDraft(kql, types, sequence_part, renamed, self.remarks)

    def _names_actor(self) -> str:
        """The predicate over the source that says: this row names an actor."""
        expression = self.side.actor
        assigned = {
            name: kql
            for piece in self.side.pipeline.operators
            if piece.keyword in {"extend", "project"}
            for name, kql in named_expressions(piece)
            if name != kql
        }
        for _ in assigned:
            expression = assigned.get(expression, expression)
        return f"isnotempty({expression})"

    def _used_names(self) -> set[str]:
        return {*self.side.output, self.side.actor, *([self.side.time] if self.side.time else [])}

    def _with_bounds(self) -> list[Piece]:
        """The operators with the job's bound in place of their own."""
        stamped, side_name = self._table().stamped, self.side.name
        bounds = f"{stamped} > {side_name}_after and {stamped} <= {side_name}_until"
        own_bound = re.compile(rf"\b{stamped}\s*>=?\s*ago\([^()]*\)")
        operators = [
            Piece(own_bound.sub(bounds, operator.text), operator.line)
            for operator in self.side.pipeline.operators
        ]
        if operators == self.side.pipeline.operators:
            self.remarks.append(
                f"{self.side.name}: no `where {stamped} > ago(…)`; the job's bound stands first"
            )
            operators.insert(0, Piece(f"where {bounds}", 0))
        if any("ago(" in operator.text or "now(" in operator.text for operator in operators):
            self.remarks.append(
                f"{self.side.name}: ago() or now() is left in it; a run goes by its own moment"
            )
        return operators

    def _table(self) -> LogTable:
        source = self.side.pipeline.source
        words = re.findall(r"\w+", self.connector.parsers.get(source, source))
        return next(table for name, table in self.connector.tables.items() if name in words)

    def _distinct_names(self, expressions: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """The columns by names that the other side does not have, and what they are called in the published output."""
        columns: dict[str, str] = {}
        renamed: dict[str, str] = {}
        for name, expression in expressions.items():
            new_name = f"{self.side.prefix}{name}" if name in self.side.taken_columns else name
            columns[new_name] = expression
            if new_name != name:
                renamed |= {name: new_name, f"{name}1": new_name}
                self.remarks.append(
                    f"{self.side.name}: {name} is called {new_name}, for changes have such a column too"
                )
        return columns, renamed

    def _roles(
        self,
        columns: dict[str, str],
        renamed: Mapping[str, str],
        available: Mapping[str, KqlType],
        body: Sequence[Piece],
    ) -> dict[str, str]:
        """Which column means what; those that are missing are added."""
        table = self._table()
        names_by_expression = {expression: name for name, expression in columns.items()}
        actor_name = renamed.get(self.side.actor, self.side.actor)
        actor = actor_name if actor_name in columns else names_by_expression.get(self.side.actor)
        if actor is None:
            actor = self._add_column(columns, "Actor", self.side.actor)
        time = next(
            (name for name in (self.side.time, names_by_expression.get(table.stamped)) if name in columns),
            None,
        )
        if time is None:
            time = self._add_column(columns, "Time", table.stamped)
        id_expression = self._id_expression(available)
        return {
            "id": self._add_column(columns, "Id", id_expression),
            "full_row": self._add_column(columns, "Row", _full_row(id_expression, available)),
            "time": time,
            "stamped": time,
            "actor": actor,
            "kind": self._kind_column(columns, names_by_expression, available, body),
        }

    def _add_column(self, columns: dict[str, str], suffix: str, kql: str) -> str:
        """Adds a column under a name that neither side has."""
        name = f"{self.side.prefix}{suffix}"
        while name in columns or name in self.side.taken_columns:
            name = f"{name}_"
        columns[name] = kql
        return name

    def _id_expression(self, available: Mapping[str, KqlType]) -> str:
        """KQL for what names an event; empty where nothing does."""
        keys = [column for column in self._table().key if column in available]
        if not keys:
            missing = f"{', '.join(self._table().key)} does not reach the end of the query"
            reason = missing if self._table().key else "no column is known to name an event"
            self.remarks.append(f"{self.side.name}: {reason}; rows equal in full are one")
            return '""'
        *leading_keys, kql = keys
        for key in reversed(leading_keys):
            kql = f"iff(isnotempty({key}), {key}, {kql})"
        return kql

    def _kind_column(
        self,
        columns: dict[str, str],
        names_by_expression: Mapping[str, str],
        available: Mapping[str, KqlType],
        body: Sequence[Piece],
    ) -> str:
        """What happened: the first column whose values the query filters by."""
        column = next((name for name in self._filtered_columns(body) if name in available), None)
        if column and column in names_by_expression and available[column] == "string":
            return names_by_expression[column]
        if column:
            return self._add_column(columns, "Kind", f"tostring({column})")
        self.remarks.append(f"{self.side.name}: nothing says which kinds there are; one word stands for all")
        return self._add_column(columns, "Kind", f'"{self.side.pipeline.source}"')

    def _filtered_columns(self, body: Sequence[Piece]) -> Iterator[str]:
        """The columns that a `where` compares with values, also under the names that a `project` gives them."""
        aliases = {
            kql: name
            for operator in body
            if operator.keyword == "project"
            for name, kql in named_expressions(operator)
        }
        for operator in (operator for operator in body if operator.keyword == "where"):
            for name in _COMPARED.findall(operator.text):
                yield from (name, aliases.get(name, name))

    def _returned_columns(self, operators: Sequence[Piece]) -> dict[str, KqlType]:
        """The columns that operators return; none where the local engine cannot run them."""
        try:
            return columns_of(_query_text(self.side.pipeline.source, operators), self.connector)
        except DetectionError as error:
            self.remarks.append(f"{self.side.name}: {error}")
            return {}


def _full_row(id_expression: str, available: Iterable[str]) -> str:
    """KQL for the whole row where nothing names the event."""
    row = f"pack_array({', '.join(available)})"
    return row if id_expression == '""' else f"iff(isnotempty({id_expression}), dynamic(null), {row})"


def _project(columns: Mapping[str, str]) -> Piece:
    lines = ",\n".join(
        f"    {name}" if name == kql else f"    {name} = {kql}" for name, kql in columns.items()
    )
    return Piece(f"project\n{lines}", 0)


def _query_text(source: str, operators: Sequence[Piece]) -> str:
    return "\n| ".join([source, *(operator.text for operator in operators)])
