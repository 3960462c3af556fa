"""An alert as a Detection Finding of the Open Cybersecurity Schema Framework (OCSF), for SIEM and data lakes.

The finding is the incident: an update has the incident's id as `finding_info.uid`, and an id of its own as
`metadata.uid`. Times are milliseconds since 1970-01-01 UTC. Class and attributes: schema.ocsf.io, version
1.8.0, class 2004. Content without an attribute there is in `unmapped`, under its name in the native message.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from ipaddress import ip_address

from pydantic_core import to_json

from detection.incidents.alert import Action, Alert
from detection.incidents.changed_object import ChangedObject
from detection.incidents.incident import Status
from detection.messages.changes import change_text, runbook_steps, undo_steps
from detection.messages.context import AlertContext
from detection.messages.native import LIMITS, MESSAGE_BYTES
from detection.messages.text import WIDTH, WORDS, first_that_fits, severity_text, title
from detection.rules.model import Rule, Severity

VERSION = "1.8.0"
PRODUCT = {"name": "openai-config-to-abuse"}
CLASS = 2004
SEVERITY_IDS = {"Informational": 1, "Low": 2, "Medium": 3, "High": 4}
ACTIVITIES: Mapping[Action, tuple[int, str]] = {"opened": (1, "Create"), "updated": (2, "Update")}
STATUSES: Mapping[Status, tuple[int, str]] = {
    "new": (1, "New"),
    "acknowledged": (2, "In Progress"),
    "closed": (4, "Resolved"),
}
OBSERVABLES = {"Account": (4, "User Name"), "IP": (2, "IP Address")}  # by the type of the rule's entity

Attributes = dict[str, object]


def ocsf(context: AlertContext) -> bytes:
    """The event as JSON bytes in ASCII. An event over MESSAGE_BYTES shows fewer changes and entities."""
    events = (to_json(_event(context, limit), ensure_ascii=True) for limit in LIMITS)
    return first_that_fits(events, MESSAGE_BYTES)


def finding(
    uid: str, action: Action, severity: Severity, time: datetime, message: str, info: Attributes
) -> Attributes:
    """A Detection Finding with the attributes that every one has; `info` becomes its `finding_info`."""
    activity, activity_name = ACTIVITIES[action]
    return {
        "activity_id": activity,
        "activity_name": activity_name,
        "category_uid": 2,
        "category_name": "Findings",
        "class_uid": CLASS,
        "class_name": "Detection Finding",
        "type_uid": CLASS * 100 + activity,
        "type_name": f"Detection Finding: {activity_name}",
        "time": milliseconds(time),
        "severity_id": SEVERITY_IDS[severity],
        "severity": severity,
        "is_alert": True,
        "message": message[:WORDS],
        "metadata": {"version": VERSION, "product": PRODUCT, "uid": uid, "correlation_uid": info["uid"]},
        "finding_info": info,
    }


def analytic(rule_id: str, name: str, version: str) -> Attributes:
    """A rule as the analytic of a finding."""
    return {"uid": rule_id, "name": name, "version": version, "type_id": 1, "type": "Rule"}


def milliseconds(time: datetime) -> int:
    """A time as OCSF has it."""
    return int(time.timestamp() * 1000)


def _event(context: AlertContext, limit: int) -> Attributes:
    alert, incident, rule, links = context.alert, context.incident, context.rule, context.links
    status, status_name = STATUSES[incident.status]
    info: Attributes = {
        "uid": incident.id,
        "title": title(alert, rule)[:WORDS],
        "desc": rule.description,
        "analytic": analytic(str(rule.id), rule.name, rule.version),
        "attacks": [
            *({"tactic": {"name": tactic}} for tactic in rule.tactics),
            *({"technique": {"uid": technique}} for technique in rule.relevant_techniques),
        ],
        "data_sources": sorted(rule.tables),
        "created_time": milliseconds(incident.opened),
        "modified_time": milliseconds(incident.updated),
        "first_seen_time": milliseconds(context.steps[0].begin),
        "last_seen_time": milliseconds(max(step.end for step in context.steps)),
    }
    if incident.predecessor:
        info["related_events"] = [{"uid": incident.predecessor, "type_uid": CLASS * 100 + 1}]
    if links.page:
        info["src_url"] = links.page
    changes = alert.changed_objects[-limit:] if limit else []
    remediation = {"desc": "\n".join(runbook_steps(alert, rule, limit))}
    return {
        **finding(alert.alert, alert.action, alert.severity, alert.time, title(alert, rule), info),
        "status_id": status,
        "status": status_name,
        "evidences": [_evidence(changed, alert, rule) for changed in changes],
        "resources": [
            {"uid": changed.id or changed.target, "name": changed.target, "type": changed.kind}
            for changed in changes
            if changed.target
        ],
        "observables": _observables(alert.entities[:limit]),
        "remediation": remediation | ({"references": [links.runbook]} if links.runbook else {}),
        "unmapped": {
            "severity_text": severity_text(alert, rule),
            "counts": asdict(alert.counts),
            "change_kinds": dict(list(alert.change_kinds.items())[:limit]),
            "signal_kinds": dict(list(alert.signal_kinds.items())[:limit]),
            "new_addresses": [address[:WIDTH] for address in alert.new_addresses[:limit]],
            "flood_until": alert.flood_until,
            "links": links.urls_by_label(),
            "undo": [asdict(step) for step in undo_steps(alert, rule)[:limit]],
        },
    }


def _evidence(changed: ChangedObject, alert: Alert, rule: Rule) -> Attributes:
    """A change as evidence: its words, who made it, from where, and its values."""
    user: Attributes = {"name": alert.actor[:WIDTH]}
    if changed.organization:
        user["org"] = {"name": changed.organization}
    evidence: Attributes = {
        "uid": changed.event,
        "name": change_text(changed, alert, rule),
        "actor": {"user": user},
        "data": {"time": milliseconds(changed.time), "type": changed.kind, **changed.values},
    }
    if changed.address:
        evidence["src_endpoint"] = _endpoint(changed.address)
    if changed.client:
        evidence["http_request"] = {"user_agent": changed.client}
    return evidence


def _endpoint(address: str) -> Attributes:
    """The endpoint of an address; an attribute `ip` must be one."""
    with suppress(ValueError):
        return {"ip": ip_address(address).compressed.partition("%")[0]}
    return {"name": address}


def _observables(entities: Sequence[Mapping[str, str]]) -> list[Attributes]:
    observables: list[Attributes] = []
    for entity in entities:
        entity_type = entity["type"]
        type_id, type_name = OBSERVABLES.get(entity_type, (99, entity_type))
        observables += [
            {
                "name": f"{entity_type}.{name}",
                "type_id": type_id,
                "type": type_name,
                "value": identifier[:WIDTH],
            }
            for name, identifier in entity.items()
            if name != "type"
        ]
    return observables
