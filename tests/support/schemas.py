"""JSON Schemas of the JSON that commands print and webhooks receive, generated from the rules and types."""

import json
from collections.abc import Mapping, Sequence
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
from detection.messages.digest import NativeDigest
from detection.messages.native import NativeMessage
from detection.rules.loading import RuleStatus, default_rule, load_rule, rule_names
from detection.rules.model import KqlType, Rule
from detection.runs.clean_up import AbandonedGap, CleanUpProblem
from detection.runs.record import RECORD, RunFailure, RunRecord
from detection.store.outbox import DeadLetters
from detection.telemetry import FailedDelivery, FailedHeartbeat, LateRun, MisspeltSetting
from detection.web.actor import ActorPage
from detection.web.listing import Listing

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]

# A time has a fraction only when it is not zero. A dynamic column holds any JSON value.
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
    described_schemas: list[tuple[str, str, Schema]] = [
        *(
            (
                f"match.{rule.folder}",
                f"A line of `matches --rule {rule.folder} --format json`",
                match_schema(rule),
            )
            for rule in rules
        ),
        ("alert", "A line of `replay --format json`; --pairs adds `pairs`", alert_schema(rules)),
        ("native", "The body for a webhook of the format `native`", message_schema(rules)),
        ("rule", "A line of `rules --format json`", _output_schema(RuleStatus)),
        (
            "digest",
            "The body for a webhook of the format `native` in an alert storm",
            _output_schema(NativeDigest),
        ),
        ("run", "A line of `run --format json`: the record of a run", _output_schema(RunRecord)),
        ("line.run", "The log line of a run, complete or failed", _log_line_schema("detection.run", RECORD)),
        (
            "line.delivery",
            "The log line of a failed attempt at a message",
            _log_line_schema("detection.delivery", type_adapter(FailedDelivery)),
        ),
        (
            "line.dead_letters",
            "The log line of the dead letters that exist",
            _log_line_schema("detection.dead_letters", type_adapter(DeadLetters)),
        ),
        (
            "line.late",
            "The log line of a run that is past due",
            _log_line_schema("detection.late", type_adapter(LateRun)),
        ),
        (
            "line.heartbeat",
            "The log line of a failed heartbeat",
            _log_line_schema("detection.heartbeat", type_adapter(FailedHeartbeat)),
        ),
        (
            "line.setting",
            "The log line of a variable that nearly has the name of a setting",
            _log_line_schema("detection.setting", type_adapter(MisspeltSetting)),
        ),
        (
            "line.coverage",
            "The log line of a coverage query that failed",
            _log_line_schema("detection.coverage", type_adapter(FailedCoverage)),
        ),
        (
            "line.clean_up",
            "The log line of a clean-up that failed",
            _log_line_schema("detection.clean_up", type_adapter(CleanUpProblem)),
        ),
        (
            "line.gap",
            "The log line of a gap that is abandoned unread",
            _log_line_schema("detection.gap", type_adapter(AbandonedGap)),
        ),
        (
            "incident",
            "The object of `incidents show ID --format json` and of `GET /api/incidents/ID`",
            _output_schema(IncidentDetail),
        ),
        ("incidents", "The object of `GET /api/incidents`", _output_schema(Listing)),
        ("actor", "The object of `GET /api/incidents/actors/ID`", _output_schema(ActorPage)),
        ("backtest", "The object of `backtest --format json`", _output_schema(Backtest)),
        ("check", "A line of `check --format json`", _output_schema(Finding)),
        ("health", "The body of the function `health`", _output_schema(HealthReport)),
        (
            "query",
            "The object of `query --format json`",
            _object_schema({name: {"type": "string"} for name in queries(load_rule(default_rule()))}),
        ),
    ]
    return {
        name: {"$schema": DIALECT} | schema | {"title": title} for name, title, schema in described_schemas
    }


def schema_text(schema: Schema) -> str:
    """The text of a schema's file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def match_schema(rule: Rule) -> Schema:
    """A row of a rule's query."""
    sequence = rule.sequence
    properties = {name: _TYPES[sequence.columns[name]] for name in sequence.output}
    if sequence.published:
        properties[BEYOND] = {
            "description": "why the published rule does not return this row; [] if it does",
            "type": "array",
            "items": {"type": "string"},
        }
    return _object_schema(properties)


def alert_schema(rules: Sequence[Rule]) -> Schema:
    """An alert with its pairs, which are rows of one of the rules, and without its evidence."""
    schema = _output_schema(Alert)
    del schema["properties"]["evidence"], schema["$defs"]["Evidence"], schema["$defs"]["Histogram"]
    schema["properties"] |= _pair_properties(schema, rules)
    schema["properties"]["pairs"]["minItems"] = 1
    return schema


def message_schema(rules: Sequence[Rule]) -> Schema:
    """A message to a webhook; its pairs are rows of one of the rules, with long values truncated."""
    schema = _output_schema(NativeMessage)
    schema["$defs"]["AlertPayload"]["properties"] |= _pair_properties(schema, rules)
    return schema


def _pair_properties(schema: Schema, rules: Sequence[Rule]) -> Schema:
    """Adds the definition of a pair to a schema and returns the properties that refer to it."""
    schema["$defs"]["Pair"] = {"anyOf": [match_schema(rule) for rule in rules]}
    pair = {"$ref": "#/$defs/Pair"}
    return {"first_pair": pair, "last_pair": pair, "pairs": {"type": "array", "items": pair}}


def _output_schema(output_type: type) -> Schema:
    return _without_extra_fields(type_adapter(output_type).json_schema(mode="serialization"))


def _log_line_schema(event: str, adapter: TypeAdapter[Any]) -> Schema:
    """A log line: the fields of its type, and the name of the event first."""
    schema = adapter.json_schema(mode="serialization")
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


def _object_schema(properties: Mapping[str, Schema]) -> Schema:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _without_extra_fields(schema: Schema) -> Schema:
    """Forbids other fields in the schema of a dataclass and in those inside it."""
    for definition in (schema, *schema.get("$defs", {}).values()):
        if "properties" in definition:
            definition["additionalProperties"] = False
    return schema
