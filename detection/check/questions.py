"""The KQL that the checks ask beside the rules' own queries. Pure text; no value from a log row or the user enters it."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from yaml import safe_load

from detection.kql import parsers_of, queries, stamp_of, tables_of, with_bounds
from detection.rule import KqlType, Rule, without_comments

TRUTH = Path(__file__).with_name("truth.yaml")
SCHEMA_COLUMNS = ("ColumnName", "ColumnType")  # of the query for a table's schema
ARRIVAL_COLUMNS = ("Rows", "Newest", "Longest", "Most")  # of the query for a source's arrivals
NOW = "Now"  # the service's clock, beside the truth table


class Predicate(BaseModel):
    """A predicate of truth.yaml, and what it has to say of each value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kql: str
    kind: Literal["text", "json"] = Field(alias="as")
    lines: dict[str, bool]

    def of(self, value: str) -> str:
        """The predicate over a value."""
        text = json.dumps(value)
        if self.kind == "json":
            # A literal's type would be known beforehand, and a text refused where a list may be: a column's is not.
            text = "dynamic(null)" if value == "null" else f"parse_json({text})"
        return self.kql.replace("{}", text)


class Line(NamedTuple):
    """A line of the truth table: the KQL, what it has to say, and the words for both."""

    kql: str
    expected: bool
    text: str


def predicates() -> dict[str, Predicate]:
    """The truth table as it is written, by name."""
    written = TypeAdapter(list[Predicate]).validate_python(safe_load(TRUTH.read_text(encoding="utf-8")))
    return {one.name: one for one in written}


def truth_lines() -> list[Line]:
    """All lines of the truth table."""
    return [
        Line(one.of(value), expected, f"{one.name}: {value or 'the empty text'}")
        for one in predicates().values()
        for value, expected in one.lines.items()
    ]


def truth_query(lines: Sequence[Line]) -> str:
    """Asks all lines at once, and the clock. A null predicate is as good as false, as in `where`."""
    asked = [f"t{place} = iff({one.kql}, 1, 0)" for place, one in enumerate(lines)]
    return "print\n    " + ",\n    ".join([f"{NOW} = now()", *asked])


def schema_query(table: str) -> str:
    """Asks for a table's columns and their types."""
    return f"{table}\n| getschema\n| project {', '.join(SCHEMA_COLUMNS)}"


def newest_query(rule: Rule, side: str, since: datetime, *, inline: bool) -> str:
    """Asks how many rows of a side's source were stamped since a moment, and for the newest."""
    rows = _rows(rule, side, since, inline=inline)
    return f"{rows}\n| summarize Rows = count(), Newest = max({stamp_of(rule, side)})"


def arrival_query(rule: Rule, side: str, since: datetime, *, inline: bool) -> str:
    """The same, and how long the rows took to arrive, in seconds: the longest, and what 99 of 100 do not exceed."""
    stamped = stamp_of(rule, side)
    return f"""{_rows(rule, side, since, inline=inline)}
| extend Delay = (ingestion_time() - {stamped}) / 1s
| summarize Rows = count(), Newest = max({stamped}), Longest = max(Delay), Most = percentile(Delay, 99)"""


def trial_queries(rule: Rule, now: datetime, *, inline: bool) -> dict[str, str]:
    """What a run asks, over a stretch without length: whether it can be asked at all."""
    bounds = {f"{side}_{edge}": now for side in rule.sequence.sides for edge in ("after", "until")}
    return {name: with_bounds(query, bounds) for name, query in queries(rule, inline=inline).items()}


def needed_columns(rule: Rule) -> dict[str, dict[str, KqlType]]:
    """The columns that the rule's KQL names, with their types, by table."""
    needed: dict[str, dict[str, KqlType]] = {}
    for name, side in rule.sequence.sides.items():
        query = rule.changes_kql if name == "changes" else rule.signals_kql
        texts = (query, rule.parsers.get(side.source, ""), side.names_actor, stamp_of(rule, name))
        named = set(re.findall(r"\w+", without_comments("\n".join(texts))))
        for table, declared in tables_of(rule, name).items():
            used = {column: kind for column, kind in declared.columns.items() if column in named}
            needed[table] = needed.get(table, {}) | used
    return needed


def said_of(lines: Sequence[Line], answer: Mapping[str, object]) -> list[str]:
    """The lines of which the service says something else, with what it says."""
    said = {one: bool(answer.get(f"t{place}")) for place, one in enumerate(lines)}
    return [f"{one.text} is {said[one]}" for one in lines if said[one] is not one.expected]


def _rows(rule: Rule, side: str, since: datetime, *, inline: bool) -> str:
    """The rows of a side's source that were stamped since a moment."""
    source = rule.sequence.sides[side].source
    query = f"{parsers_of(rule, source) if inline else ''}{source}\n| where {stamp_of(rule, side)} > since"
    return with_bounds(query, {"since": since})
