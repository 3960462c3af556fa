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

from detection.base.errors import ConfigurationError
from detection.base.timestamps import iso
from detection.logs.files.folder import explain_errors, translate
from detection.logs.files.loading import SQL_TYPES
from detection.rules.loading import connector_file, read_yaml
from detection.rules.model import KqlType, LogTable, Rule
from detection.ruletests.case_time import resolve_time

STAMP_MAX_AGE, STAMP_MAX_LEAD = (
    timedelta(days=2),
    timedelta(days=1),
)  # of a stamp, before and after the row's arrival
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
    offset: timedelta
    defaults: dict[str, Any] = {}
    row: dict[str, str] = {}


class ObjectsFile(BaseModel):
    """`<connectorId>.objects.yaml` as written."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    objects: dict[str, ApiObject]


@dataclass(frozen=True, slots=True)
class ReceivedObject:
    """An object as the API returned it at a moment; `columns` are what its row has otherwise than the connector writes."""

    kind: str
    fields: Values
    columns: Values
    received: datetime


def objects_of(rule: Rule, folder: Path) -> dict[str, ApiObject]:
    """The objects that a rule's tests can speak of, and its tables, a row being an object too.

    Raises ConfigurationError naming file and key.
    """
    api_objects = {
        name: _with_fields(ApiObject(table=name, time=table.stamped, offset=timedelta(0)), table)
        for name, table in rule.tables.items()
    }
    for needed in rule.required_data_connectors:
        if path := connector_file(folder, f"{needed.connector_id}.objects.yaml"):
            for name, api_object in read_yaml(path, ObjectsFile).objects.items():
                if api_object.table not in rule.tables:
                    raise ConfigurationError(
                        f"{path}: objects.{name}.table: {api_object.table} is no table of its connector"
                    )
                api_objects[name] = _with_fields(api_object, rule.tables[api_object.table])
    return api_objects


def _with_fields(api_object: ApiObject, table: LogTable) -> ApiObject:
    """The object with its fields, and with its row, where they are the table's columns as such."""
    fields = api_object.fields or dict(table.columns)
    return api_object.model_copy(
        update={"fields": fields, "row": api_object.row or {name: f"['{name}']" for name in fields}}
    )


def complete_fields(
    api_object: ApiObject, given_fields: Values, number: int, object_time: datetime, now: datetime
) -> dict[str, Any]:
    """The object's fields with what is usual where nothing is said, under the names that its row's KQL uses.

    `at` is its own time, `now` that of the case's run. Raises ValueError naming a field that the object has not, or
    whose value is of another type.
    """
    fields = merge(
        _fill_number(api_object.defaults, number), {api_object.time: object_time} | dict(given_fields)
    )
    for name, type_field in api_object.named_by.items():
        if fields.get(type_field) in fields:
            fields[name] = fields.pop(fields[type_field])
    return {name: _duckdb_value(name, value, api_object, now) for name, value in fields.items()}


def merge(defaults: Values, overrides: Values) -> dict[str, Any]:
    """What is said over what is usual; objects in objects are merged, anything else replaces."""
    combined = dict(defaults)
    for name, value in overrides.items():
        default = combined.get(name)
        combined[name] = (
            merge(default, value) if isinstance(default, Mapping) and isinstance(value, Mapping) else value
        )
    return combined


def _fill_number(value: Any, number: int) -> Any:  # noqa: ANN401  # whatever YAML holds
    if isinstance(value, Mapping):
        return {name: _fill_number(member, number) for name, member in value.items()}
    return value.replace("{n}", str(number)) if isinstance(value, str) else value


def _duckdb_value(name: str, value: object, api_object: ApiObject, now: datetime) -> object:
    """A field's value as DuckDB takes it."""
    kind = "dynamic" if name in api_object.named_by else api_object.fields.get(name)
    if kind is None:
        raise ValueError(f"{name}: there is no such field; there are: {', '.join(api_object.fields)}")
    if kind == "dynamic":
        return None if value is None else json.dumps(value, default=str)
    if value is None:
        return "" if kind == "string" else None
    if kind == "unix":
        return value if isinstance(value, int) else int(resolve_time(value, now).timestamp())
    if kind == "datetime":
        return resolve_time(value, now).replace(tzinfo=None)
    if kind == "string" and not isinstance(value, str):
        raise ValueError(f"{name}: must be text")
    return value


def rows_of(
    objects: Sequence[ReceivedObject], kinds: Mapping[str, ApiObject], rule: Rule
) -> list[dict[str, Any]]:
    """The row that the connector writes for each object, in the order of the objects; values as in an export."""
    rows: list[dict[str, Any]] = [{} for _ in objects]
    connection = duckdb_kql.connect()
    by_kind: dict[str, list[int]] = defaultdict(list)
    for place, received_object in enumerate(objects):
        by_kind[received_object.kind].append(place)
    for kind, places in by_kind.items():
        table = rule.tables[kinds[kind].table]
        transformed = _transform(connection, kinds[kind], [objects[place] for place in places])
        for place, row in zip(places, transformed, strict=True):
            rows[place] = dict(_export_cells(row, table, objects[place]))
    return rows


def _transform(
    connection: duckdb.DuckDBPyConnection, api_object: ApiObject, objects: Sequence[ReceivedObject]
) -> Iterator[dict[str, Any]]:
    columns = {
        name: SQL_TYPES["long" if kind == "unix" else kind] for name, kind in api_object.fields.items()
    }
    columns |= {"received": "TIMESTAMP", "_place": "BIGINT"}
    columns |= dict.fromkeys(api_object.named_by, "JSON")
    column_definitions = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
    connection.execute(f"CREATE OR REPLACE TABLE source ({column_definitions})")
    for place, received_object in enumerate(objects):
        cells = {
            **received_object.fields,
            "received": received_object.received.replace(tzinfo=None),
            "_place": place,
        }
        names = ", ".join(f'"{name}"' for name in cells)
        connection.execute(
            f"INSERT INTO source ({names}) VALUES ({', '.join('?' for _ in cells)})", list(cells.values())
        )
    assignments = ", ".join(f"{name} = {kql}" for name, kql in api_object.row.items())
    with explain_errors("the connector's object"):
        answer = connection.sql(translate(f"source | project _place, {assignments}", connection).text)
        rows = sorted(answer.fetchall(), key=itemgetter(0))
    return (dict(zip(answer.columns[1:], row[1:], strict=True)) for row in rows)


def _export_cells(
    row: Mapping[str, Any], table: LogTable, received_object: ReceivedObject
) -> Iterable[tuple[str, Any]]:
    stamp = row.get(table.stamped)
    if (
        stamp is None
        or not received_object.received - STAMP_MAX_AGE
        <= stamp.replace(tzinfo=UTC)
        <= received_object.received + STAMP_MAX_LEAD
    ):
        row = dict(row) | {table.stamped: received_object.received.replace(tzinfo=None)}
    for name, value in row.items():
        if name not in received_object.columns:
            yield name, _export_value(value, table.columns[name])
    yield from received_object.columns.items()


def _export_value(value: Any, kind: KqlType) -> object:  # noqa: ANN401  # of whatever type the column is
    if isinstance(value, datetime):
        return iso(value.replace(tzinfo=UTC))
    return json.loads(value) if kind == "dynamic" and isinstance(value, str) else value
