"""One side of a published query becomes a query of a rule folder: its KQL, its columns, and what they mean."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from detection.drafting.columns import columns_of
from detection.drafting.pieces import Piece
from detection.drafting.query import Pipeline, items
from detection.errors import DetectionError
from detection.rule import Connector, KqlType, Table

_COMPARED = re.compile(r"([A-Za-z_]\w*)\s+(?:has|has_any|in|in~|contains|==|=~)[\s(]")


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


@dataclass(frozen=True, slots=True)
class Drafted:
    """A side of a rule folder: its query, its part of rule.yaml, and the columns that had to be called otherwise."""

    kql: str
    columns: dict[str, KqlType]
    text: dict[str, Any]
    renamed: dict[str, str]
    remarks: Sequence[str]


def drafted(asked: Asked, connector: Connector) -> Drafted:
    """A side of a published query as a rule folder has it."""
    return _Side(asked, connector).drafted()


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
        operators = [*body, _project(columns)]
        returned = self._columns(operators)
        types: dict[str, KqlType] = {name: returned.get(name, "string") for name in columns}
        text = {
            "source": self.asked.pipeline.source,
            "query": f"{self.asked.name}.kql",
            "names_actor": self._names_actor(),
            **roles,
            "columns": types,
            "labels": {},
        }
        kql = _written(self.asked.pipeline.source, operators)
        return Drafted(kql, types, text, renamed, self.remarks)

    def _names_actor(self) -> str:
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
        table = self._table()
        shown = {expression: name for name, expression in columns.items()}
        own = renamed.get(self.asked.actor, self.asked.actor)
        actor = own if own in columns else shown.get(self.asked.actor)
        if actor is None:
            actor = self._new(columns, "Actor", self.asked.actor)
        time = next((name for name in (self.asked.time, shown.get(table.stamped)) if name in columns), None)
        if time is None:
            time = self._new(columns, "Time", table.stamped)
        ident = self._id(available)
        return {
            "id": self._new(columns, "Id", ident),
            "full_row": self._new(columns, "Row", _full_row(ident, available)),
            "time": time,
            "stamped": time,
            "actor": actor,
            "kind": self._kind(columns, shown, available, body),
        }

    def _new(self, columns: dict[str, str], what: str, kql: str) -> str:
        """Adds a column under a name that neither side has."""
        name = f"{self.asked.prefix}{what}"
        while name in columns or name in self.asked.taken:
            name = f"{name}_"
        columns[name] = kql
        return name

    def _id(self, available: Mapping[str, KqlType]) -> str:
        """KQL for what names an event; empty where nothing does."""
        keys = [one for one in self._table().key if one in available]
        if not keys:
            lost = f"{', '.join(self._table().key)} does not reach the end of the query"
            why = lost if self._table().key else "no column is known to name an event"
            self.remarks.append(f"{self.asked.name}: {why}; rows equal in full are one")
            return '""'
        *first, kql = keys
        for key in reversed(first):
            kql = f"iff(isnotempty({key}), {key}, {kql})"
        return kql

    def _kind(
        self,
        columns: dict[str, str],
        shown: Mapping[str, str],
        available: Mapping[str, KqlType],
        body: Sequence[Piece],
    ) -> str:
        """What happened: the first column whose values the query filters by."""
        column = next((one for one in self._filtered(body) if one in available), None)
        if column and column in shown and available[column] == "string":
            return shown[column]
        if column:
            return self._new(columns, "Kind", f"tostring({column})")
        self.remarks.append(f"{self.asked.name}: nothing says which kinds there are; one word stands for all")
        return self._new(columns, "Kind", f'"{self.asked.pipeline.source}"')

    def _filtered(self, body: Sequence[Piece]) -> Iterator[str]:
        """The columns that a `where` compares with values, also under the names that a `project` gives them."""
        aliases = {kql: name for one in body if one.word == "project" for name, kql in items(one)}
        for one in (one for one in body if one.word == "where"):
            for name in _COMPARED.findall(one.text):
                yield from (name, aliases.get(name, name))

    def _columns(self, operators: Sequence[Piece]) -> dict[str, KqlType]:
        """The columns that operators return; none where the local engine cannot run them."""
        try:
            return columns_of(_written(self.asked.pipeline.source, operators), self.connector)
        except DetectionError as error:
            self.remarks.append(f"{self.asked.name}: {error}")
            return {}


def _full_row(ident: str, available: Iterable[str]) -> str:
    """KQL for the whole row where nothing names the event."""
    row = f"pack_array({', '.join(available)})"
    return row if ident == '""' else f"iff(isnotempty({ident}), dynamic(null), {row})"


def _project(columns: Mapping[str, str]) -> Piece:
    lines = ",\n".join(
        f"    {name}" if name == kql else f"    {name} = {kql}" for name, kql in columns.items()
    )
    return Piece(f"project\n{lines}", 0)


def _written(source: str, operators: Sequence[Piece]) -> str:
    return "\n| ".join([source, *(one.text for one in operators)])
