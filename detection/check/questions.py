"""The KQL of the checks. It contains no value from a log row or from the user."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from detection.base.yaml_documents import read_document
from detection.logs.kql import (
    bounds,
    narrow_bounds,
    parsers_of,
    queries,
    stamp_of,
    tables_of,
    unnamed_rows,
    with_bounds,
)
from detection.logs.window import Window, plan_windows
from detection.rules.loading import without_comments
from detection.rules.model import KqlType, Rule

TRUTH_FILE = Path(__file__).with_name("truth.yaml")
SCHEMA_COLUMNS = ("ColumnName", "ColumnType")  # of schema_query
ARRIVAL_COLUMNS = ("Rows", "Newest", "Longest", "Most")  # of arrival_query
CUT_COLUMN = "CutRows"  # of cut_query
NOW_COLUMN = "Now"  # of truth_query: the service's clock


class Predicate(BaseModel):
    """A predicate of truth.yaml, and its result for each value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kql: str
    literal_form: Literal["text", "json"] = Field(alias="as")
    lines: dict[str, bool]

    def kql_of(self, value: str) -> str:
        """The predicate, applied to a value."""
        text = json.dumps(value)
        if self.literal_form == "json":
            # A column's type is known only when the query runs. Kusto would refuse a literal text where the
            # predicate takes a list.
            text = "dynamic(null)" if value == "null" else f"parse_json({text})"
        return self.kql.replace("{}", text)


class TruthLine(NamedTuple):
    """A line of the truth table: the KQL, the expected result, and a label."""

    kql: str
    expected: bool
    text: str


def predicates() -> dict[str, Predicate]:
    written = TypeAdapter(list[Predicate]).validate_python(read_document(TRUTH_FILE))
    return {predicate.name: predicate for predicate in written}


def truth_lines() -> list[TruthLine]:
    return [
        TruthLine(predicate.kql_of(value), expected, f"{predicate.name}: {value or 'the empty text'}")
        for predicate in predicates().values()
        for value, expected in predicate.lines.items()
    ]


def truth_query(lines: Sequence[TruthLine]) -> str:
    """Evaluates all lines at once, with the clock. A null predicate counts as false, as in `where`."""
    columns = [f"t{number} = iff({line.kql}, 1, 0)" for number, line in enumerate(lines)]
    return "print\n    " + ",\n    ".join([f"{NOW_COLUMN} = now()", *columns])


def schema_query(table: str) -> str:
    """Returns a table's columns and their types."""
    return f"{table}\n| getschema\n| project {', '.join(SCHEMA_COLUMNS)}"


def newest_query(rule: Rule, side: str, since: datetime) -> str:
    """Counts the rows of a side's source that are stamped after `since`, and returns the newest stamp."""
    rows = _rows(rule, side, since)
    return f"{rows}\n| summarize Rows = count(), Newest = max({stamp_of(rule, side)})"


def arrival_query(rule: Rule, side: str, since: datetime) -> str:
    """As newest_query, with the longest and the 99th percentile of the delays until arrival, in seconds."""
    stamp = stamp_of(rule, side)
    return f"""{_rows(rule, side, since)}
| extend Delay = (ingestion_time() - {stamp}) / 1s
| summarize Rows = count(), Newest = max({stamp}), Longest = max(Delay), Most = percentile(Delay, 99)"""


def cut_query(rule: Rule, side: str, since: datetime) -> str:
    """Counts the rows of a side's source that name no actor because Log Analytics cut the field."""
    rows = unnamed_rows(rule, side, cut=True)
    return with_bounds(
        f"{rows}\n| summarize {CUT_COLUMN} = count()", narrow_bounds({}, side, Window(since, None))
    )


def trial_queries(rule: Rule, now: datetime) -> dict[str, str]:
    """The queries of a run over empty windows: they show whether the service accepts the queries."""
    empty_bounds = {f"{side}_{edge}": now for side in rule.sequence.sides for edge in ("after", "until")}
    return {name: with_bounds(query, empty_bounds) for name, query in queries(rule).items()}


def coverage_query(rule: Rule, now: datetime) -> str:
    """Returns the coverage that a first run would see now."""
    return with_bounds(queries(rule)["coverage"], bounds(plan_windows(now, None, rule)))


def needed_columns(rule: Rule) -> dict[str, dict[str, KqlType]]:
    """The columns that the rule's KQL names, with their types, by table."""
    needed: dict[str, dict[str, KqlType]] = {}
    for name, side in rule.sequence.sides.items():
        query = rule.changes_kql if name == "changes" else rule.signals_kql
        texts = (query, rule.parsers.get(side.source, ""), side.names_actor, stamp_of(rule, name))
        used_names = set(re.findall(r"\w+", without_comments("\n".join(texts))))
        for table, declared in tables_of(rule, name).items():
            used_columns = {column: kind for column, kind in declared.columns.items() if column in used_names}
            needed[table] = needed.get(table, {}) | used_columns
    return needed


def wrong_lines(lines: Sequence[TruthLine], answer: Mapping[str, object]) -> list[str]:
    """The lines with another result than expected, each with its result."""
    answers_by_line = {line: bool(answer.get(f"t{number}")) for number, line in enumerate(lines)}
    return [
        f"{line.text} is {answers_by_line[line]}"
        for line in lines
        if answers_by_line[line] is not line.expected
    ]


def _rows(rule: Rule, side: str, since: datetime) -> str:
    """KQL for the rows of a side's source that are stamped after `since`."""
    source = rule.sequence.sides[side].source
    query = f"{parsers_of(rule, source)}{source}\n| where {stamp_of(rule, side)} > since"
    return with_bounds(query, {"since": since})
