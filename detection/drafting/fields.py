"""The fields of a published Sentinel rule, as a rule folder may have them. Pure."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from pydantic import TypeAdapter

from detection.drafting.query import span

_DURATION = TypeAdapter(timedelta)
Fields = dict[str, Any]

# What this job honours, whatever was published.
_FIXED: Mapping[str, object] = {
    "triggerOperator": "gt",
    "triggerThreshold": 0,
    "kind": "Scheduled",
    "eventGroupingSettings": {"aggregationKind": "SingleAlert"},
}
_KEPT = ("severity", "requiredDataConnectors", "enabled", "tactics", "relevantTechniques", "tags")
_READ = {
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
    length = value if isinstance(value, timedelta) else span(str(value))
    text: str = str(value) if length is None else _DURATION.dump_python(length, mode="json")
    return text


def drafted_fields(published: Fields, columns: Mapping[str, str]) -> tuple[Fields, list[str]]:
    """The fields of the draft, and remarks on those that could not be taken over; `columns` are text columns by the
    names that they have in the published output.
    """
    remarks = [
        f"{name}: is not a field of a rule here; left out"
        for name in published.keys() - _READ - _FIXED.keys() - {*_KEPT}
    ]
    remarks += [
        f"{name}: {published[name]!r} cannot be honoured; {value!r} stands for it"
        for name, value in _FIXED.items()
        if published.get(name, value) != value
    ]
    entities, lost = _entities(published, columns)
    fields = {
        "id": str(uuid5(NAMESPACE_URL, f"draft of {published.get('id')}")),
        "name": published.get("name"),
        "description": str(published.get("description", "")).strip().strip("'"),
        **{name: published[name] for name in _KEPT if name in published},
        "queryFrequency": iso_duration(published.get("queryFrequency")),
        "queryPeriod": iso_duration(published.get("queryPeriod")),
        **_FIXED,
        "entityMappings": entities,
        "incidentConfiguration": {"groupingConfiguration": _grouping(published, entities)},
        "version": published["version"]
        if re.fullmatch(r"\d+\.\d+\.\d+", str(published.get("version")))
        else "1.0.0",
    }
    return fields, sorted(remarks + lost)


def _entities(published: Fields, columns: Mapping[str, str]) -> tuple[list[Fields], list[str]]:
    kept, lost = [], []
    for mapping in published.get("entityMappings") or []:
        known = [
            one | {"columnName": columns[one["columnName"]]}
            for one in mapping["fieldMappings"]
            if one["columnName"] in columns
        ]
        if known:
            kept.append({"entityType": mapping["entityType"], "fieldMappings": known})
        lost += [
            f"entityMappings: {one['columnName']} is no text column of either side; left out"
            for one in mapping["fieldMappings"]
            if one["columnName"] not in columns
        ]
    return kept, lost


def _grouping(published: Fields, entities: list[Fields]) -> Fields:
    """Incidents by the entities that were published, or else by the first that there is."""
    written = (published.get("incidentConfiguration") or {}).get("groupingConfiguration") or {}
    mapped = [one["entityType"] for one in entities]
    by = [one for one in written.get("groupByEntities") or [] if one in mapped] or mapped[:1]
    method = written.get("matchingMethod", "Selected") if by else "AnyAlert"
    length = iso_duration(written.get("lookbackDuration", "PT5H"))
    return {"lookbackDuration": length, "matchingMethod": method} | ({"groupByEntities": by} if by else {})
