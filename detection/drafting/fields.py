"""Convert the fields of a published Sentinel rule to those of a rule folder."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from pydantic_core import to_jsonable_python

from detection.drafting.query import parse_timespan

Fields = dict[str, Any]

# The only values that the job supports.
_FIXED: Mapping[str, object] = {
    "triggerOperator": "gt",
    "triggerThreshold": 0,
    "kind": "Scheduled",
    "eventGroupingSettings": {"aggregationKind": "SingleAlert"},
}
_COPIED = ("severity", "requiredDataConnectors", "enabled", "tactics", "relevantTechniques", "tags")


def iso_duration(written: object) -> str:
    """A duration as rule.yaml has it: PT1H. Repositories of rules write 1h."""
    duration = written if isinstance(written, timedelta) else parse_timespan(str(written))
    return str(written if duration is None else to_jsonable_python(duration))


def draft_fields(published: Fields, columns: Mapping[str, str]) -> tuple[Fields, list[str]]:
    """The fields of the draft, and remarks on the fields that were dropped or changed.

    `columns` are the draft's text columns by their names in the published output.
    """
    entities, remarks = list[Fields](), list[str]()
    for mapping in published.get("entityMappings") or []:
        field_mappings = []
        for field_mapping in mapping["fieldMappings"]:
            name = field_mapping["columnName"]
            if name in columns:
                field_mappings.append(field_mapping | {"columnName": columns[name]})
            else:
                remarks.append(f"entityMappings: {name} is not a text column of either side; dropped")
        if field_mappings:
            entities.append({"entityType": mapping["entityType"], "fieldMappings": field_mappings})
    entity_types = [entity["entityType"] for entity in entities]
    grouping = (published.get("incidentConfiguration") or {}).get("groupingConfiguration") or {}
    published_types = grouping.get("groupByEntities") or []
    group_by = [entity for entity in published_types if entity in entity_types] or entity_types[:1]
    has_version = re.fullmatch(r"\d+\.\d+\.\d+", str(published.get("version")))
    fields = {
        "id": str(uuid5(NAMESPACE_URL, f"draft of {published.get('id')}")),
        "name": published.get("name"),
        "description": str(published.get("description", "")).strip().strip("'"),
        **{name: published[name] for name in _COPIED if name in published},
        "queryFrequency": iso_duration(published.get("queryFrequency")),
        "queryPeriod": iso_duration(published.get("queryPeriod")),
        **_FIXED,
        "entityMappings": entities,
        "incidentConfiguration": {
            "groupingConfiguration": {
                "lookbackDuration": iso_duration(grouping.get("lookbackDuration", "PT5H")),
                "matchingMethod": grouping.get("matchingMethod", "Selected") if group_by else "AnyAlert",
                **({"groupByEntities": group_by} if group_by else {}),
            }
        },
        "version": published["version"] if has_version else "1.0.0",
    }
    remarks += [f"{name}: not supported; dropped" for name in published.keys() - fields.keys() - {"query"}]
    remarks += [
        f"{name}: {published[name]!r} is not supported; set to {value!r}"
        for name, value in _FIXED.items()
        if published.get(name, value) != value
    ]
    return fields, sorted(remarks)
