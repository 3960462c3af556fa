"""JSON Schemas of the JSON that goes out, printed or posted: generated from the rules and types that it is made from."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter

from detection.adapter import adapter
from detection.backtest.backtest import Backtest
from detection.check.finding import Finding
from detection.check.health import Health
from detection.incidents.alert import Alert
from detection.job import KnownIncident
from detection.kql import queries
from detection.messages import digest
from detection.messages.native import Native
from detection.record import RECORD, Failure, Record
from detection.report import FailedDelivery, FailedHeartbeat, Late
from detection.rows import BEYOND
from detection.rule import KqlType, Rule, RuleStatus, default_rule, load_rule, rule_names
from detection.sources.coverage_query import FailedCoverage
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
        name: {"$schema": DIALECT} | schema | {"title": title} for name, title, schema in _described(rules)
    }


def text(schema: Schema) -> str:
    """A schema as its file holds it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _described(rules: list[Rule]) -> Iterator[tuple[str, str, Schema]]:
    for rule in rules:
        yield f"match.{rule.folder}", f"A line of `matches --rule {rule.folder} --format json`", match(rule)
    yield "alert", "A line of `replay --format json`, with `pairs` where --pairs is given", alert(rules)
    yield "native", "The body that a webhook of the format `native` gets", message(rules)
    yield "rule", "A line of `rules --format json`", _closed(TypeAdapter(RuleStatus).json_schema())
    yield "digest", "The body that a webhook of the format `native` gets in an alert storm", _digest()
    yield "run", "A line of `run --format json`: the record of a run", _closed(_written(Record))
    yield "line.run", "The log line of every run, complete or failed", _line("detection.run", _run_lines())
    yield (
        "line.delivery",
        "The log line of every attempt at a message that failed",
        _line("detection.delivery", _written(FailedDelivery)),
    )
    yield "line.late", "The log line of a run that is past due", _line("detection.late", _written(Late))
    heartbeat = _line("detection.heartbeat", _written(FailedHeartbeat))
    yield "line.heartbeat", "The log line of a heartbeat that failed", heartbeat
    uncovered = _line("detection.coverage", _written(FailedCoverage))
    yield "line.coverage", "The log line of a coverage that could not be counted", uncovered
    shown = "The object of `incidents show ID --format json`, and of `GET /api/incidents/ID`"
    yield "incident", shown, _closed(_written(KnownIncident))
    yield "incidents", "The object of `GET /api/incidents`", _closed(_written(Listing))
    yield "backtest", "The object of `backtest --format json`", _closed(_written(Backtest))
    yield "check", "A line of `check --format json`", _closed(_written(Finding))
    yield "health", "The body of the function `health`", _closed(_written(Health))
    yield "query", "The object of `query --format json`", _query(load_rule(default_rule()))


def _written(shape: type) -> Schema:
    return TypeAdapter(shape).json_schema(mode="serialization")


def match(rule: Rule) -> Schema:
    """A row as the rule's query returns it."""
    sequence = rule.sequence
    properties = {name: _TYPES[sequence.columns[name]] for name in sequence.output}
    if sequence.published:
        properties[BEYOND] = {
            "description": "why the published rule does not return this row; [] if it does",
            "type": "array",
            "items": {"type": "string"},
        }
    return _object(properties)


def alert(rules: list[Rule]) -> Schema:
    """An alert; its pairs are rows of one of the rules, and all of its evidence."""
    schema = _closed(TypeAdapter(Alert).json_schema(mode="serialization"))
    del schema["properties"]["evidence"], schema["$defs"]["Evidence"], schema["$defs"]["Histogram"]
    schema["$defs"]["Pair"] = {"anyOf": [match(rule) for rule in rules]}
    pair = {"$ref": "#/$defs/Pair"}
    schema["properties"] |= {
        "first_pair": pair,
        "last_pair": pair,
        "pairs": {"type": "array", "items": pair, "minItems": 1},
    }
    return schema


def message(rules: list[Rule]) -> Schema:
    """A message to a webhook; its pairs are rows of one of the rules, with long values cut."""
    schema = _closed(adapter(Native).json_schema(mode="serialization"))
    schema["$defs"]["Pair"] = {"anyOf": [match(rule) for rule in rules]}
    pair = {"$ref": "#/$defs/Pair"}
    schema["$defs"]["AlertTold"]["properties"] |= {
        "first_pair": pair,
        "last_pair": pair,
        "pairs": {"type": "array", "items": pair},
    }
    return schema


def _digest() -> Schema:
    return _closed(adapter(digest.NativeDigest).json_schema(mode="serialization"))


def _run_lines() -> Schema:
    return RECORD.json_schema(mode="serialization")


def _line(event: str, schema: Schema) -> Schema:
    """What is logged, with the event's name among its fields."""
    shapes = [schema["$defs"][one.__name__] for one in (Record, Failure)] if "oneOf" in schema else [schema]
    for shape in shapes:
        shape["properties"] = {"event": {"const": event, "type": "string"}, **shape["properties"]}
        shape["required"] = ["event", *shape["required"], *(["outcome"] if "oneOf" in schema else [])]
    return _closed(schema)


def _query(rule: Rule) -> Schema:
    return _object({name: {"type": "string"} for name in queries(rule)})


def _object(properties: Mapping[str, Schema]) -> Schema:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _closed(schema: Schema) -> Schema:
    """The schema of a dataclass, and of those inside it, without room for other fields."""
    for one in (schema, *schema.get("$defs", {}).values()):
        if "properties" in one:
            one["additionalProperties"] = False
    return schema
