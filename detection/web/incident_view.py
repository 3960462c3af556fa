"""An incident as its page shows it: all its alerts as one, as its extent has them (incidents/extent.py)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from operator import add

from detection.correlation.output import row_time
from detection.desk import IncidentDetail
from detection.incidents.alert import Alert
from detection.incidents.extent import Quarters, merged, newest_objects, quarters_of, totals_by_kind
from detection.logs.kql import bounds, queries, with_bounds
from detection.logs.window import Windows
from detection.messages.changes import UndoStep, change_text, undo_steps, without_object
from detection.messages.context import AlertContext
from detection.messages.facts import facts
from detection.messages.links import MessageLinks
from detection.messages.text import escape_name, severity_text, title
from detection.rules.model import SEVERITIES, Rule, Severity
from detection.web.evidence import NO_EVIDENCE, EvidencePage, evidence_page

# Facts that the page shows in other places.
SHOWN_ELSEWHERE = {"Incident", "So far", "New", "Severity", "Changed"}


@dataclass(frozen=True, slots=True)
class IncidentView:
    """The content of the page. The title may begin with one of the `names`.

    `changed` are the newest changes with their objects in words, `more_changes` counts the others,
    `without_object` notes of how many no object is kept, and `undo` are the steps that undo them.
    `severity_text` is the severity with its reason. `began` is the time of the first change, `ended` that of
    the last signal.
    """

    title: str
    names: Sequence[str]
    severity: Severity
    severity_text: str
    changed: Sequence[str]
    more_changes: int
    without_object: str
    undo: Sequence[UndoStep]
    facts: Sequence[tuple[str, str]]
    changes: Quarters
    signals: Quarters
    evidence: EvidencePage
    began: datetime | None
    ended: datetime | None
    queries: Mapping[str, str]


def incident_view(detail: IncidentDetail, rule: Rule, page: int = 1) -> IncidentView:
    """The view of an incident with a page of its evidence, numbered from 1.

    It has neither facts nor evidence if the alerts have expired.
    """
    incident = detail.incident
    evidences = [alert.evidence for alert in detail.alerts if alert.evidence]
    changes = merged([quarters_of(evidence.changes) for evidence in evidences], max)
    signals = merged([quarters_of(evidence.signals) for evidence in evidences], add)
    severity = incident.severity or rule.severity
    if not detail.alerts:
        names = [value for _, value in detail.key]
        return IncidentView(
            title=incident.title or ", ".join(map(escape_name, names)),
            names=names,
            severity=severity,
            severity_text="",
            changed=[],
            more_changes=0,
            without_object="",
            undo=[],
            facts=[],
            changes=changes,
            signals=signals,
            evidence=NO_EVIDENCE,
            began=None,
            ended=None,
            queries={},
        )
    entities = {tuple(entity.items()): entity for alert in detail.alerts for entity in alert.entities}
    addresses = dict.fromkeys(address for alert in detail.alerts for address in alert.new_addresses)
    objects = {changed.event: changed for alert in detail.alerts for changed in alert.changed_objects}
    newest = newest_objects(objects.values())
    worst = max(detail.alerts, key=lambda alert: SEVERITIES.index(alert.severity))
    sequence = rule.sequence
    whole = replace(  # a later alert may have earlier events
        detail.alerts[-1],
        change_kinds=totals_by_kind(changes),
        signal_kinds=totals_by_kind(signals),
        first_pair=min(
            (alert.first_pair for alert in detail.alerts), key=lambda row: row_time(row, sequence.changes)
        ),
        last_pair=max(
            (alert.last_pair for alert in detail.alerts), key=lambda row: row_time(row, sequence.signals)
        ),
        entities=list(entities.values()),
        new_addresses=list(addresses),
        changed_objects=newest,
        severity=worst.severity,
        severity_raised=worst.severity_raised,
        raised_by=worst.raised_by,
    )
    change_count = sum(whole.change_kinds.values())
    rows = [row for evidence in evidences for row in evidence.pairs]
    context = AlertContext(whole, incident, rule, rows, incident.pairs - len(rows), [], {}, MessageLinks())
    texts, time_bounds = queries(rule), bounds(windows_of(detail.alerts[-1]))
    return IncidentView(
        title=title(whole, rule),
        names=[whole.actor],
        severity=severity,
        severity_text=severity_text(whole, rule),
        changed=[change_text(changed, whole, rule) for changed in newest],
        more_changes=max(change_count - len(newest), 0),
        without_object=without_object(change_count, len(objects)) if objects else "",
        undo=undo_steps(whole, rule),
        facts=[(name, value) for name, value in facts(context) if name not in SHOWN_ELSEWHERE],
        changes=changes,
        signals=signals,
        evidence=evidence_page(rows, objects, rule, page),
        began=row_time(whole.first_pair, sequence.changes),
        ended=row_time(whole.last_pair, sequence.signals),
        queries={side: with_bounds(texts[side], time_bounds) for side in sequence.sides},
    )


def windows_of(alert: Alert) -> Windows:
    """The windows of the run that raised an alert."""
    return Windows(alert.time, alert.windows.changes, alert.windows.signals, alert.windows.gap)


def duration_text(began: datetime, ended: datetime) -> str:
    """The time between two moments in the unit that fits: 3 h, 95 min, 12 s."""
    length = ended - began
    for unit, name in ((timedelta(days=2), "d"), (timedelta(hours=2), "h"), (timedelta(minutes=2), "min")):
        if length >= unit:
            return f"{round(length / unit * 2)} {name}"
    return f"{int(length.total_seconds())} s"
