"""Turn objects of a vendor's API into the rows that its connector writes to a workspace.

`connectors/<connectorId>.objects.yaml` describes an object's fields and the KQL that turns them into
columns, as in the connector's own transformation. As in Log Analytics, a row that arrives more than two
days after its time, or more than a day before it, is stamped with its time of arrival (azure-monitor-docs,
logs/log-standard-columns.md).
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any, Literal

import duckdb
import duckdb_kql
from pydantic import BaseModel, ConfigDict, Field

from detection.base.errors import ConfigurationError
from detection.base.timestamps import iso
from detection.logs.files.columns import SQL_TYPES
from detection.logs.files.folder import explain_errors, translate
from detection.rules.loading import connector_file, read_yaml
from detection.rules.model import KqlType, LogTable, Rule
from detection.ruletests.case_time import resolve_time

STAMP_MAX_AGE, STAMP_MAX_LEAD = timedelta(days=2), timedelta(days=1)  # before and after the row's arrival
Values = Mapping[str, Any]


class ListedValues(BaseModel):
    """The values that a vendor lists for a field, and the document with its version that lists them."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    source: Annotated[str, Field(alias="from")]
    values: tuple[str, ...]


class ApiObject(BaseModel):
    """A kind of object that a vendor's API returns, and the row of `table` that the connector writes for it.

    `fields` are types by field, by default the table's columns; "unix" means seconds since 1970. `named_by`
    maps a field to the field that holds its name in the API: {details: type} if the details are under their
    type. `time` is the field with the object's own time, `offset` its default relative to the run.
    `defaults` are the fields that a test may leave out; `{n}` in them is the number of the event. `row` is
    KQL by column, over the fields and `received`, the time of arrival. `values` are those that the vendor
    lists, by field (`choices.finish_reason` looks into mappings and lists) or by column of the row.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    table: str
    fields: dict[str, KqlType | Literal["unix"]] = {}
    named_by: dict[str, str] = {}
    values: dict[str, ListedValues] = {}
    time: str
    offset: timedelta
    defaults: dict[str, Any] = {}
    row: dict[str, str] = {}

    def for_table(self, table: LogTable) -> "ApiObject":
        """The object, with the table's columns as its fields and its row where it does not define them."""
        fields = self.fields or dict(table.columns)
        row = self.row or {name: f"['{name}']" for name in fields}
        return self.model_copy(update={"fields": fields, "row": row})

    def duckdb_value(self, name: str, value: object, now: datetime) -> object:
        """A field's value as DuckDB expects it. Raises ValueError for an unknown field or a wrong type."""
        kind = "dynamic" if name in self.named_by else self.fields.get(name)
        if kind is None:
            raise ValueError(f"{name}: there is no such field; the fields are {', '.join(self.fields)}")
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

    def require_listed(self, written: Values) -> None:
        """Raises ValueError naming a value of a field or column that the vendor does not list."""
        for path, listed in self.values.items():
            for value in _values_at(written, path.split(".")):
                if value not in listed.values:
                    near = get_close_matches(str(value), listed.values, n=1)
                    hint = f"; {near[0]} is similar" if near else ""
                    raise ValueError(
                        f"{path}: {value!r} is not in {listed.source}{hint}; correct it, or set "
                        "`unlisted: true` in the case"
                    )


def _values_at(written: object, path: Sequence[str]) -> Iterator[object]:
    """The values at a path, in each entry of a list. An empty value stands for a missing one."""
    if isinstance(written, list):
        for entry in written:
            yield from _values_at(entry, path)
    elif not path:
        yield from () if written in (None, "") else (written,)
    elif isinstance(written, Mapping):
        yield from _values_at(written.get(path[0]), path[1:])


class ObjectsFile(BaseModel):
    """`<connectorId>.objects.yaml` as written."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    objects: dict[str, ApiObject]


@dataclass(frozen=True, slots=True)
class ReceivedObject:
    """An object and the time at which the API returned it. `columns` replace cells of its row."""

    kind: str
    fields: Values
    columns: Values
    received: datetime


def objects_of(rule: Rule, folder: Path) -> dict[str, ApiObject]:
    """The objects that a rule's tests can use, by name. A table is an object too, with its columns as fields.

    Raises ConfigurationError naming the file and the key.
    """
    api_objects = {
        name: ApiObject(table=name, time=table.stamped, offset=timedelta(0)).for_table(table)
        for name, table in rule.tables.items()
    }
    for needed in rule.required_data_connectors:
        if path := connector_file(folder, f"{needed.connector_id}.objects.yaml"):
            for name, api_object in read_yaml(path, ObjectsFile).objects.items():
                if api_object.table not in rule.tables:
                    raise ConfigurationError(
                        f"{path}: objects.{name}.table: {api_object.table} is not a table of the rule's "
                        f"connectors; they have {', '.join(rule.tables)}"
                    )
                api_objects[name] = api_object.for_table(rule.tables[api_object.table])
                table_object = api_objects[api_object.table]
                api_objects[api_object.table] = table_object.model_copy(
                    update={"values": table_object.values | api_object.values}
                )
    return api_objects


def complete_fields(
    api_object: ApiObject, given_fields: Values, number: int, object_time: datetime, now: datetime
) -> dict[str, Any]:
    """The fields of an object completed by its defaults, with the names that the KQL of its row uses.

    `now` is the time of the case's run. Raises ValueError naming an unknown field or a field of a wrong type.
    """
    fields = merge(
        _fill_number(api_object.defaults, number), {api_object.time: object_time} | dict(given_fields)
    )
    for name, type_field in api_object.named_by.items():
        if fields.get(type_field) in fields:
            fields[name] = fields.pop(fields[type_field])
    return {name: api_object.duckdb_value(name, value, now) for name, value in fields.items()}


def merge(defaults: Values, overrides: Values) -> dict[str, Any]:
    """The defaults with overrides. Nested mappings are merged, other values replaced."""
    combined = dict(defaults)
    for name, value in overrides.items():
        default = combined.get(name)
        combined[name] = (
            merge(default, value) if isinstance(default, Mapping) and isinstance(value, Mapping) else value
        )
    return combined


def _fill_number(value: Any, number: int) -> Any:  # noqa: ANN401  # any YAML value
    if isinstance(value, Mapping):
        return {name: _fill_number(member, number) for name, member in value.items()}
    return value.replace("{n}", str(number)) if isinstance(value, str) else value


def rows_of(
    objects: Sequence[ReceivedObject], kinds: Mapping[str, ApiObject], rule: Rule
) -> list[dict[str, Any]]:
    """The row that the connector writes for each object, in the same order, with cells as in an export."""
    rows: list[dict[str, Any]] = [{} for _ in objects]
    connection = duckdb_kql.connect()
    places_by_kind: dict[str, list[int]] = defaultdict(list)
    for place, received_object in enumerate(objects):
        places_by_kind[received_object.kind].append(place)
    for kind, places in places_by_kind.items():
        table = rule.tables[kinds[kind].table]
        transformed = _transform(connection, kinds[kind], [objects[place] for place in places])
        for place, row in zip(places, transformed, strict=True):
            received, stamp = objects[place].received.replace(tzinfo=None), row.get(table.stamped)
            if stamp is None or not received - STAMP_MAX_AGE <= stamp <= received + STAMP_MAX_LEAD:
                row[table.stamped] = received
            for name, value in row.items():
                if isinstance(value, datetime):
                    row[name] = iso(value.replace(tzinfo=UTC))
                elif table.columns[name] == "dynamic" and isinstance(value, str):
                    row[name] = json.loads(value)
            rows[place] = row | dict(objects[place].columns)
    return rows


def _transform(
    connection: duckdb.DuckDBPyConnection, api_object: ApiObject, objects: Sequence[ReceivedObject]
) -> Iterator[dict[str, Any]]:
    """The rows of objects of one kind, by the KQL of the connector's transformation, in DuckDB's types."""
    columns = {
        name: SQL_TYPES["long" if kind == "unix" else kind] for name, kind in api_object.fields.items()
    }
    columns |= {"received": "TIMESTAMP", "_place": "BIGINT"}
    columns |= dict.fromkeys(api_object.named_by, "JSON")
    column_definitions = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
    connection.execute(f"CREATE OR REPLACE TABLE source ({column_definitions})")
    for place, received_object in enumerate(objects):
        received = received_object.received.replace(tzinfo=None)
        cells = {**received_object.fields, "received": received, "_place": place}
        names = ", ".join(f'"{name}"' for name in cells)
        connection.execute(
            f"INSERT INTO source ({names}) VALUES ({', '.join('?' for _ in cells)})", list(cells.values())
        )
    assignments = ", ".join(f"{name} = {kql}" for name, kql in api_object.row.items())
    with explain_errors("the connector's object"):
        answer = connection.sql(translate(f"source | project _place, {assignments}", connection).text)
        rows = sorted(answer.fetchall(), key=itemgetter(0))
    return (dict(zip(answer.columns[1:], row[1:], strict=True)) for row in rows)
