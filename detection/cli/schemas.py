"""JSON Schemas of the JSON that goes out, printed or posted: generated from the rules and types that it is made from."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter

from detection.backtest.backtest import Backtest
from detection.base.json_types import type_adapter
from detection.check.checklist import Finding
from detection.check.health import HealthReport
from detection.correlation.output import BEYOND
from detection.desk import IncidentDetail
from detection.incidents.alert import Alert
from detection.logs.coverage_query import FailedCoverage
from detection.logs.kql import queries
from detection.messages import digest
from detection.messages.native import NativeMessage
from detection.rules.loading import RuleStatus, default_rule, load_rule, rule_names
from detection.rules.model import KqlType, Rule
from detection.runs.record import RECORD, RunFailure, RunRecord
from detection.telemetry import FailedDelivery, FailedHeartbeat, LateRun
from detection.web.listing import Listing

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]

# A time's fraction is printed only when it is not zero. What a dynamic column holds is for the log to say.
_TYPES: Mapping[KqlType, Schema] = {
    "string": {"type": "string"},
    "datetime": {
        "type": "string",
        "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}([.]\d{6})?Z$",
    },
    "dynamic": {"description": "a JSON value of any type"},
    "bool": {"type": ["boolean", "null"]},
    "int": {"type": ["integer", "null"]},
    "long": {"type": ["integer", "null"]},
    "real": {"type": ["number", "null"]},
}


def schemas() -> dict[str, Schema]:
    """Every schema by the name of its file, without the ending."""
    rules = [load_rule(name) for name in rule_names()]
    return {
        name: {"$schema": DIALECT} | schema | {"title": title}
        for name, title, schema in _described_schemas(rules)
    }


def schema_text(schema: Schema) -> str:
    """A schema as its file holds it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _described_schemas(rules: list[Rule]) -> Iterator[tuple[str, str, Schema]]:
    for rule in rules:
        yield (
            f"match.{rule.folder}",
            f"A line of `matches --rule {rule.folder} --format json`",
            match_schema(rule),
        )
    yield (
        "alert",
        "A line of `replay --format json`, with `pairs` where --pairs is given",
        alert_schema(rules),
    )
    yield "native", "The body that a webhook of the format `native` gets", message_schema(rules)
    yield (
        "rule",
        "A line of `rules --format json`",
        _without_extra_fields(TypeAdapter(RuleStatus).json_schema()),
    )
    yield "digest", "The body that a webhook of the format `native` gets in an alert storm", _digest_schema()
    yield (
        "run",
        "A line of `run --format json`: the record of a run",
        _without_extra_fields(_serialization_schema(RunRecord)),
    )
    yield (
        "line.run",
        "The log line of every run, complete or failed",
        _log_line_schema("detection.run", _run_line_schema()),
    )
    yield (
        "line.delivery",
        "The log line of every attempt at a message that failed",
        _log_line_schema("detection.delivery", _serialization_schema(FailedDelivery)),
    )
    yield (
        "line.late",
        "The log line of a run that is past due",
        _log_line_schema("detection.late", _serialization_schema(LateRun)),
    )
    heartbeat = _log_line_schema("detection.heartbeat", _serialization_schema(FailedHeartbeat))
    yield "line.heartbeat", "The log line of a heartbeat that failed", heartbeat
    coverage_failures = _log_line_schema("detection.coverage", _serialization_schema(FailedCoverage))
    yield "line.coverage", "The log line of a coverage that could not be counted", coverage_failures
    incident_title = "The object of `incidents show ID --format json`, and of `GET /api/incidents/ID`"
    yield "incident", incident_title, _without_extra_fields(_serialization_schema(IncidentDetail))
    yield (
        "incidents",
        "The object of `GET /api/incidents`",
        _without_extra_fields(_serialization_schema(Listing)),
    )
    yield (
        "backtest",
        "The object of `backtest --format json`",
        _without_extra_fields(_serialization_schema(Backtest)),
    )
    yield "check", "A line of `check --format json`", _without_extra_fields(_serialization_schema(Finding))
    yield (
        "health",
        "The body of the function `health`",
        _without_extra_fields(_serialization_schema(HealthReport)),
    )
    yield "query", "The object of `query --format json`", _query_schema(load_rule(default_rule()))


def _serialization_schema(written_type: type) -> Schema:
    return TypeAdapter(written_type).json_schema(mode="serialization")


def match_schema(rule: Rule) -> Schema:
    """A row as the rule's query returns it."""
    sequence = rule.sequence
    properties = {name: _TYPES[sequence.columns[name]] for name in sequence.output}
    if sequence.published:
        properties[BEYOND] = {
            "description": "why the published rule does not return this row; [] if it does",
            "type": "array",
            "items": {"type": "string"},
        }
    return _object_schema(properties)


def alert_schema(rules: list[Rule]) -> Schema:
    """An alert; its pairs are rows of one of the rules, and all of its evidence."""
    schema = _without_extra_fields(TypeAdapter(Alert).json_schema(mode="serialization"))
    del schema["properties"]["evidence"], schema["$defs"]["Evidence"], schema["$defs"]["Histogram"]
    schema["$defs"]["Pair"] = {"anyOf": [match_schema(rule) for rule in rules]}
    pair = {"$ref": "#/$defs/Pair"}
    schema["properties"] |= {
        "first_pair": pair,
        "last_pair": pair,
        "pairs": {"type": "array", "items": pair, "minItems": 1},
    }
    return schema


def message_schema(rules: list[Rule]) -> Schema:
    """A message to a webhook; its pairs are rows of one of the rules, with long values cut."""
    schema = _without_extra_fields(type_adapter(NativeMessage).json_schema(mode="serialization"))
    schema["$defs"]["Pair"] = {"anyOf": [match_schema(rule) for rule in rules]}
    pair = {"$ref": "#/$defs/Pair"}
    schema["$defs"]["AlertPayload"]["properties"] |= {
        "first_pair": pair,
        "last_pair": pair,
        "pairs": {"type": "array", "items": pair},
    }
    return schema


def _digest_schema() -> Schema:
    return _without_extra_fields(type_adapter(digest.NativeDigest).json_schema(mode="serialization"))


def _run_line_schema() -> Schema:
    return RECORD.json_schema(mode="serialization")


def _log_line_schema(event: str, schema: Schema) -> Schema:
    """What is logged, with the event's name among its fields."""
    definitions = (
        [schema["$defs"][record_type.__name__] for record_type in (RunRecord, RunFailure)]
        if "oneOf" in schema
        else [schema]
    )
    for definition in definitions:
        definition["properties"] = {"event": {"const": event, "type": "string"}, **definition["properties"]}
        definition["required"] = [
            "event",
            *definition["required"],
            *(["outcome"] if "oneOf" in schema else []),
        ]
    return _without_extra_fields(schema)


def _query_schema(rule: Rule) -> Schema:
    return _object_schema({name: {"type": "string"} for name in queries(rule)})


def _object_schema(properties: Mapping[str, Schema]) -> Schema:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _without_extra_fields(schema: Schema) -> Schema:
    """The schema of a dataclass, and of those inside it, without room for other fields."""
    for definition in (schema, *schema.get("$defs", {}).values()):
        if "properties" in definition:
            definition["additionalProperties"] = False
    return schema
