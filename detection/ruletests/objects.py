"""Objects of a vendor's API become the rows that its connector writes into a workspace.

What an object's fields are, and the KQL that makes a row's columns of them, stands in
`connectors/<connectorId>.objects.yaml`, as the connector's own transformation has it. What no connector decides is
here: a row that arrives more than two days after its time, or a day before it, is stamped with its arrival
(azure-monitor-docs, logs/log-standard-columns.md).
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

import duckdb
import duckdb_kql
from pydantic import BaseModel, ConfigDict

from detection.errors import ConfigurationError
from detection.rule import KqlType, Rule, Table, connector_file, read_yaml
from detection.ruletests.when import when
from detection.sources.engine import explained, translated
from detection.sources.loading import SQL_TYPES
from detection.timestamps import iso

OLDEST, NEWEST = timedelta(days=2), timedelta(days=1)  # of a stamp, before and after the row's arrival
Values = Mapping[str, Any]


class ApiObject(BaseModel):
    """An object that a vendor's API returns, and the row of `table` that the connector makes of it.

    `fields` are its fields by type, "unix" being seconds since 1970; where it says none, they are the table's
    columns. `named_by` gives a field a name that is in the API the value of another: {details: type} for an object
    whose details stand under its type. `time` is the field of its own time; an event that says no time is `at` from
    the run. `usual` is what a test need not say; `{n}` in it is the event's number. `row` is KQL by column, over the
    fields and `received`, the time of arrival.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    table: str
    fields: dict[str, KqlType | Literal["unix"]] = {}
    named_by: dict[str, str] = {}
    time: str
    at: timedelta
    usual: dict[str, Any] = {}
    row: dict[str, str] = {}


class ObjectsFile(BaseModel):
    """`<connectorId>.objects.yaml` as written."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    objects: dict[str, ApiObject]


@dataclass(frozen=True, slots=True)
class Seen:
    """An object as the API returned it at a moment; `columns` are what its row has otherwise than the connector writes."""

    kind: str
    fields: Values
    columns: Values
    received: datetime


def objects_of(rule: Rule, folder: Path) -> dict[str, ApiObject]:
    """The objects that a rule's tests can speak of, and its tables, a row being an object too.

    Raises ConfigurationError naming file and key.
    """
    known = {
        name: _with_fields(ApiObject(table=name, time=table.stamped, at=timedelta(0)), table)
        for name, table in rule.tables.items()
    }
    for needed in rule.required_data_connectors:
        if path := connector_file(folder, f"{needed.connector_id}.objects.yaml"):
            for name, one in read_yaml(path, ObjectsFile).objects.items():
                if one.table not in rule.tables:
                    raise ConfigurationError(
                        f"{path}: objects.{name}.table: {one.table} is no table of its connector"
                    )
                known[name] = _with_fields(one, rule.tables[one.table])
    return known


def _with_fields(one: ApiObject, table: Table) -> ApiObject:
    """The object with its fields, and with its row, where they are the table's columns as such."""
    fields = one.fields or dict(table.columns)
    return one.model_copy(
        update={"fields": fields, "row": one.row or {name: f"['{name}']" for name in fields}}
    )


def completed(one: ApiObject, said: Values, number: int, at: datetime, now: datetime) -> dict[str, Any]:
    """The object's fields with what is usual where nothing is said, under the names that its row's KQL uses.

    `at` is its own time, `now` that of the case's run. Raises ValueError naming a field that the object has not, or
    whose value is of another type.
    """
    fields = merged(_numbered(one.usual, number), {one.time: at} | dict(said))
    for name, by in one.named_by.items():
        if fields.get(by) in fields:
            fields[name] = fields.pop(fields[by])
    return {name: _value(name, value, one, now) for name, value in fields.items()}


def merged(usual: Values, said: Values) -> dict[str, Any]:
    """What is said over what is usual; objects in objects are merged, anything else replaces."""
    both = dict(usual)
    for name, value in said.items():
        known = both.get(name)
        both[name] = (
            merged(known, value) if isinstance(known, Mapping) and isinstance(value, Mapping) else value
        )
    return both


def _numbered(value: Any, number: int) -> Any:  # noqa: ANN401  # whatever YAML holds
    if isinstance(value, Mapping):
        return {name: _numbered(one, number) for name, one in value.items()}
    return value.replace("{n}", str(number)) if isinstance(value, str) else value


def _value(name: str, value: object, one: ApiObject, now: datetime) -> object:
    """A field's value as DuckDB takes it."""
    kind = "dynamic" if name in one.named_by else one.fields.get(name)
    if kind is None:
        raise ValueError(f"{name}: there is no such field; there are: {', '.join(one.fields)}")
    if kind == "dynamic":
        return None if value is None else json.dumps(value, default=str)
    if value is None:
        return "" if kind == "string" else None
    if kind == "unix":
        return value if isinstance(value, int) else int(when(value, now).timestamp())
    if kind == "datetime":
        return when(value, now).replace(tzinfo=None)
    if kind == "string" and not isinstance(value, str):
        raise ValueError(f"{name}: must be text")
    return value


def rows_of(seen: Sequence[Seen], kinds: Mapping[str, ApiObject], rule: Rule) -> list[dict[str, Any]]:
    """The row that the connector writes for each object, in the order of the objects; values as in an export."""
    rows: list[dict[str, Any]] = [{} for _ in seen]
    connection = duckdb_kql.connect()
    by_kind: dict[str, list[int]] = defaultdict(list)
    for place, one in enumerate(seen):
        by_kind[one.kind].append(place)
    for kind, places in by_kind.items():
        table = rule.tables[kinds[kind].table]
        made = _transformed(connection, kinds[kind], [seen[place] for place in places])
        for place, row in zip(places, made, strict=True):
            rows[place] = dict(_written(row, table, seen[place]))
    return rows


def _transformed(
    connection: duckdb.DuckDBPyConnection, one: ApiObject, seen: Sequence[Seen]
) -> Iterator[dict[str, Any]]:
    columns = {name: SQL_TYPES["long" if kind == "unix" else kind] for name, kind in one.fields.items()}
    columns |= {"received": "TIMESTAMP", "_place": "BIGINT"}
    columns |= dict.fromkeys(one.named_by, "JSON")
    defined = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
    connection.execute(f"CREATE OR REPLACE TABLE source ({defined})")
    for place, each in enumerate(seen):
        own = {**each.fields, "received": each.received.replace(tzinfo=None), "_place": place}
        names = ", ".join(f'"{name}"' for name in own)
        connection.execute(
            f"INSERT INTO source ({names}) VALUES ({', '.join('?' for _ in own)})", list(own.values())
        )
    made = ", ".join(f"{name} = {kql}" for name, kql in one.row.items())
    with explained("the connector's object"):
        answer = connection.sql(translated(f"source | project _place, {made}", connection).text)
        rows = sorted(answer.fetchall(), key=itemgetter(0))
    return (dict(zip(answer.columns[1:], row[1:], strict=True)) for row in rows)


def _written(row: Mapping[str, Any], table: Table, seen: Seen) -> Iterable[tuple[str, Any]]:
    stamp = row.get(table.stamped)
    if stamp is None or not seen.received - OLDEST <= stamp.replace(tzinfo=UTC) <= seen.received + NEWEST:
        row = dict(row) | {table.stamped: seen.received.replace(tzinfo=None)}
    for name, value in row.items():
        if name not in seen.columns:
            yield name, _exported(value, table.columns[name])
    yield from seen.columns.items()


def _exported(value: Any, kind: KqlType) -> object:  # noqa: ANN401  # of whatever type the column is
    if isinstance(value, datetime):
        return iso(value.replace(tzinfo=UTC))
    return json.loads(value) if kind == "dynamic" and isinstance(value, str) else value
