"""One side of a published query becomes a query of a rule folder: its KQL, its columns, and what they mean."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb_kql

from detection.drafting.pieces import Piece, without_texts
from detection.drafting.query import Pipeline, items
from detection.errors import DetectionError
from detection.kql import BOUNDS
from detection.rule import Connector, KqlType, Table
from detection.sources.engine import explained
from detection.sources.loading import SQL_TYPES

_KQL_TYPES: Mapping[str, KqlType] = {
    kind.removesuffix(" DEFAULT ''"): name for name, kind in SQL_TYPES.items()
}
_PATH = r"[A-Za-z_]\w*"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is known of a side beforehand: its prefix, who and when in the published query, and what it returns."""

    name: str
    prefix: str
    pipeline: Pipeline
    actor: str
    time: str | None
    output: Sequence[str]
    taken: Mapping[str, KqlType]


@dataclass(slots=True)
class Drafted:
    """A side of a rule folder; `renamed` are columns that had to be called otherwise."""

    kql: str
    columns: dict[str, KqlType]
    roles: dict[str, str]
    renamed: dict[str, str]
    remarks: list[str] = field(default_factory=list)

    def text(self, source: str, query: str, names_actor: str) -> dict[str, Any]:
        """The side as rule.yaml has it."""
        return {
            "source": source,
            "query": query,
            "names_actor": names_actor,
            **self.roles,
            "columns": self.columns,
            "labels": {},
        }


def drafted(asked: Asked, connector: Connector) -> tuple[Drafted, dict[str, Any]]:
    """A side, and its part of rule.yaml."""
    side = _Side(asked, connector)
    made = side.drafted()
    return made, made.text(asked.pipeline.source, f"{asked.name}.kql", side.names_actor())


@dataclass(slots=True)
class _Side:
    """A side while it is drafted."""

    asked: Asked
    connector: Connector
    remarks: list[str] = field(default_factory=list)

    def drafted(self) -> Drafted:
        *body, last = [*self._bounded(), Piece("", 0)]
        if body and body[-1].word == "project":
            last = body.pop()
        available = self._columns(body)
        wanted = (
            dict(items(last)) if last.text else {name: name for name in available if name in self._of_use()}
        )
        columns, renamed = self._apart(wanted)
        roles = self._roles(columns, renamed, available, body)
        kql = _written(self.asked.pipeline.source, [*body, _project(columns)])
        types = {
            name: one for name, one in self._columns([*body, _project(columns)]).items() if name in columns
        }
        return Drafted(kql, types or dict.fromkeys(columns, "string"), roles, renamed, self.remarks)

    def names_actor(self) -> str:
        """The predicate over the source that says: this row names an actor."""
        expression = self.asked.actor
        assigned = {
            name: kql
            for piece in self.asked.pipeline.operators
            if piece.word in {"extend", "project"}
            for name, kql in items(piece)
            if name != kql
        }
        for _ in assigned:
            expression = assigned.get(expression, expression)
        return f"isnotempty({expression})"

    def _of_use(self) -> set[str]:
        return {*self.asked.output, self.asked.actor, *([self.asked.time] if self.asked.time else [])}

    def _bounded(self) -> list[Piece]:
        """The operators with the job's bound in place of their own."""
        stamped, side = self._table().stamped, self.asked.name
        within = f"{stamped} > {side}_after and {stamped} <= {side}_until"
        past = re.compile(rf"\b{stamped}\s*>=?\s*ago\([^()]*\)")
        operators = [Piece(past.sub(within, one.text), one.line) for one in self.asked.pipeline.operators]
        if operators == self.asked.pipeline.operators:
            self.remarks.append(
                f"{self.asked.name}: no `where {stamped} > ago(…)`; the job's bound stands first"
            )
            operators.insert(0, Piece(f"where {within}", 0))
        if any("ago(" in one.text or "now(" in one.text for one in operators):
            self.remarks.append(
                f"{self.asked.name}: ago() or now() is left in it; a run goes by its own moment"
            )
        return operators

    def _table(self) -> Table:
        source = self.asked.pipeline.source
        spoken = re.findall(r"\w+", self.connector.parsers.get(source, source))
        return next(table for name, table in self.connector.tables.items() if name in spoken)

    def _apart(self, wanted: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """The columns by names that the other side does not have, and what they are called in the published output."""
        columns: dict[str, str] = {}
        renamed: dict[str, str] = {}
        for name, expression in wanted.items():
            own = f"{self.asked.prefix}{name}" if name in self.asked.taken else name
            columns[own] = expression
            if own != name:
                renamed |= {name: own, f"{name}1": own}
                self.remarks.append(
                    f"{self.asked.name}: {name} is called {own}, for changes have such a column too"
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
        table, prefix = self._table(), self.asked.prefix
        shown = {expression: name for name, expression in columns.items()}
        own = renamed.get(self.asked.actor, self.asked.actor)
        actor = own if own in columns else shown.get(self.asked.actor)
        if actor is None:
            actor = f"{prefix}Actor"
            columns[actor] = self.asked.actor
        time = next((name for name in (self.asked.time, shown.get(table.stamped)) if name in columns), None)
        if time is None:
            time = f"{prefix}Time"
            columns[time] = table.stamped
        return {
            "id": self._id(columns, available),
            "full_row": self._full_row(columns, available),
            "time": time,
            "stamped": time,
            "actor": actor,
            "kind": self._kind(columns, shown, available, body),
        }

    def _id(self, columns: dict[str, str], available: Mapping[str, KqlType]) -> str:
        name, keys = f"{self.asked.prefix}Id", [one for one in self._table().key if one in available]
        if not keys:
            lost = f"{', '.join(self._table().key)} does not reach the end of the query"
            why = lost if self._table().key else "no column is known to name an event"
            self.remarks.append(f"{self.asked.name}: {why}; rows equal in full are one")
        expression = keys[-1] if keys else '""'
        for key in reversed(keys[:-1]):
            expression = f"iff(isnotempty({key}), {key}, {expression})"
        columns[name] = expression
        return name

    def _full_row(self, columns: dict[str, str], available: Mapping[str, KqlType]) -> str:
        name, ident = f"{self.asked.prefix}Row", columns[f"{self.asked.prefix}Id"]
        row = f"pack_array({', '.join(available)})"
        columns[name] = row if ident == '""' else f"iff(isnotempty({ident}), dynamic(null), {row})"
        return name

    def _kind(
        self,
        columns: dict[str, str],
        shown: Mapping[str, str],
        available: Mapping[str, KqlType],
        body: Sequence[Piece],
    ) -> str:
        """What happened: the first column whose values the query filters by."""
        tests = (
            re.findall(rf"({_PATH})\s+(?:has|has_any|in|in~|contains|==|=~)[\s(]", one.text)
            for one in body
            if one.word == "where"
        )
        aliases = {
            kql: name
            for one in self.asked.pipeline.operators
            if one.word == "project"
            for name, kql in items(one)
        }
        filtered = [name for found in tests for name in found]
        column = next(
            (one for name in filtered for one in (name, aliases.get(name)) if one in available), None
        )
        if column and column in shown and available[column] == "string":
            return shown[column]
        name = f"{self.asked.prefix}Kind"
        columns[name] = f"tostring({column})" if column else f'"{self.asked.pipeline.source}"'
        if column is None:
            self.remarks.append(
                f"{self.asked.name}: nothing says which kinds there are; {name} is one word for all"
            )
        return name

    def _columns(self, operators: Sequence[Piece]) -> dict[str, KqlType]:
        """The columns that operators return, as the local engine has them; none where it cannot run them."""
        connection = duckdb_kql.connect()
        for name, table in self.connector.tables.items():
            defined = ", ".join(f'"{column}" {SQL_TYPES[kind]}' for column, kind in table.columns.items())
            connection.execute(f'CREATE TABLE "{name}" ({defined})')
        lets = "".join(f"let {name} =\n{body}\n;\n" for name, body in self.connector.parsers.items())
        lets += "".join(f"let {name} = datetime(2026-01-01);\n" for name in BOUNDS)
        try:
            with explained("the drafted query"):
                answer = duckdb_kql.query(connection, lets + _written(self.asked.pipeline.source, operators))
                return {
                    name: _KQL_TYPES.get(str(kind), "string")
                    for name, kind in zip(answer.columns, answer.types, strict=True)
                }
        except DetectionError as error:
            self.remarks.append(f"{self.asked.name}: {error}")
            return {}


def _project(columns: Mapping[str, str]) -> Piece:
    lines = ",\n".join(
        f"    {name}" if name == kql else f"    {name} = {kql}" for name, kql in columns.items()
    )
    return Piece(f"project\n{lines}", 0)


def _written(source: str, operators: Sequence[Piece]) -> str:
    return "\n| ".join([source, *(one.text for one in operators)])


def guessed(sides: Sequence[tuple[Pipeline, str]]) -> dict[str, dict[str, KqlType]]:
    """Tables that no connector describes, with the columns that the sides, each with its actor, seem to read, and types
    by their names.
    """
    tables: dict[str, dict[str, KqlType]] = {}
    for pipeline, actor in sides:
        read = _read_columns([*pipeline.operators, Piece(f"project {actor}", 0)])
        tables.setdefault(pipeline.source, {"TimeGenerated": "datetime"}).update(read)
    return tables


def _read_columns(operators: Sequence[Piece]) -> Iterator[tuple[str, KqlType]]:
    own: set[str] = set()
    for piece in operators:
        for found in re.finditer(
            rf"(?<![\w.$])({_PATH})\b(?!\s*\()(\s*=(?![=~]))?([.\[])?", without_texts(piece.rest)
        ):
            name, assigned, path = found.groups()
            if assigned:
                own.add(name)
            elif name not in own and name not in _WORDS:
                yield (
                    name,
                    "dynamic" if path else "datetime" if re.search(r"Time(?![a-z])", name) else "string",
                )


_WORDS = {
    *(
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
        "asc",
    ),
    *(
        "desc",
        "true",
        "false",
        "null",
        "dynamic",
        "datetime",
        "kind",
        "to",
        "typeof",
        "matches",
        "regex",
        "d",
        "h",
    ),
}
