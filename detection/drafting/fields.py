"""The fields of a published Sentinel rule, as a rule folder may have them."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from pydantic import TypeAdapter

from detection.drafting.query import parse_timespan

_DURATION = TypeAdapter(timedelta)
Fields = dict[str, Any]

# What this job honours, whatever was published.
_FIXED: Mapping[str, object] = {
    "triggerOperator": "gt",
    "triggerThreshold": 0,
    "kind": "Scheduled",
    "eventGroupingSettings": {"aggregationKind": "SingleAlert"},
}
_COPIED = ("severity", "requiredDataConnectors", "enabled", "tactics", "relevantTechniques", "tags")
_CONVERTED = {
    "id",
    "name",
    "description",
    "version",
    "query",
    "queryFrequency",
    "queryPeriod",
    "entityMappings",
    "incidentConfiguration",
}


def iso_duration(value: object) -> str:
    """A duration as rule.yaml has it: repositories write 1h, the API PT1H."""
    length = value if isinstance(value, timedelta) else parse_timespan(str(value))
    text: str = str(value) if length is None else _DURATION.dump_python(length, mode="json")
    return text


def draft_fields(published: Fields, columns: Mapping[str, str]) -> tuple[Fields, list[str]]:
    """The fields of the draft, and remarks on those that could not be taken over; `columns` are text columns by the
    names that they have in the published output.
    """
    remarks = [
        f"{name}: is not a field of a rule here; left out"
        for name in published.keys() - _CONVERTED - _FIXED.keys() - {*_COPIED}
    ]
    remarks += [
        f"{name}: {published[name]!r} cannot be honoured; {value!r} stands for it"
        for name, value in _FIXED.items()
        if published.get(name, value) != value
    ]
    entities, entity_remarks = _entities(published, columns)
    fields = {
        "id": str(uuid5(NAMESPACE_URL, f"draft of {published.get('id')}")),
        "name": published.get("name"),
        "description": str(published.get("description", "")).strip().strip("'"),
        **{name: published[name] for name in _COPIED if name in published},
        "queryFrequency": iso_duration(published.get("queryFrequency")),
        "queryPeriod": iso_duration(published.get("queryPeriod")),
        **_FIXED,
        "entityMappings": entities,
        "incidentConfiguration": {"groupingConfiguration": _grouping(published, entities)},
        "version": published["version"]
        if re.fullmatch(r"\d+\.\d+\.\d+", str(published.get("version")))
        else "1.0.0",
    }
    return fields, sorted(remarks + entity_remarks)


def _entities(published: Fields, columns: Mapping[str, str]) -> tuple[list[Fields], list[str]]:
    mappings, remarks = [], []
    for mapping in published.get("entityMappings") or []:
        field_mappings = [
            field_mapping | {"columnName": columns[field_mapping["columnName"]]}
            for field_mapping in mapping["fieldMappings"]
            if field_mapping["columnName"] in columns
        ]
        if field_mappings:
            mappings.append({"entityType": mapping["entityType"], "fieldMappings": field_mappings})
        remarks += [
            f"entityMappings: {field_mapping['columnName']} is no text column of either side; left out"
            for field_mapping in mapping["fieldMappings"]
            if field_mapping["columnName"] not in columns
        ]
    return mappings, remarks


def _grouping(published: Fields, entities: list[Fields]) -> Fields:
    """Incidents by the entities that were published, or else by the first that there is."""
    grouping = (published.get("incidentConfiguration") or {}).get("groupingConfiguration") or {}
    entity_types = [entity["entityType"] for entity in entities]
    group_by = [
        entity_type for entity_type in grouping.get("groupByEntities") or [] if entity_type in entity_types
    ] or entity_types[:1]
    method = grouping.get("matchingMethod", "Selected") if group_by else "AnyAlert"
    length = iso_duration(grouping.get("lookbackDuration", "PT5H"))
    return {"lookbackDuration": length, "matchingMethod": method} | (
        {"groupByEntities": group_by} if group_by else {}
    )
