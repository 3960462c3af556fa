"""An incident as its page shows it: all its alerts as one, as its extent has them (incidents/extent.py)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from operator import add

from detection.correlation.output import BEYOND, OutputRow, row_time
from detection.desk import IncidentDetail
from detection.incidents.alert import Alert
from detection.incidents.evidence import PAIRS
from detection.incidents.extent import Quarters, merged, newest_objects, quarters_of, totals_by_kind
from detection.logs.kql import bounds, queries, with_bounds
from detection.logs.window import Windows
from detection.messages.changes import UndoStep, change_text, undo_steps
from detection.messages.context import AlertContext
from detection.messages.facts import facts
from detection.messages.links import MessageLinks
from detection.messages.text import change_phrase, escape_name, severity_text, title
from detection.rules.model import SEVERITIES, Rule, Severity, Side

# Facts that the page shows in other places.
SHOWN_ELSEWHERE = {"Incident", "So far", "New", "Severity", "Changed"}


@dataclass(frozen=True, slots=True)
class Cell:
    """One side of a pair: the time, the label of the kind, the ids, and the other values."""

    time: datetime
    label: str
    values: Sequence[str]
    ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class PairView:
    """A pair, and the reasons why the published rule does not return it; none if it does."""

    change: Cell
    signal: Cell
    beyond: Sequence[str]


@dataclass(frozen=True, slots=True)
class IncidentView:
    """The content of the page. `more_pairs` is the number of pairs that are not shown.

    The title may begin with one of the `names`. `changed` are the newest changes with their objects in words,
    `more_changes` counts the others, and `undo` are the steps that undo them. `severity_text` is the severity
    with its reason. `began` is the time of the first change, `ended` that of the last signal.
    """

    title: str
    names: Sequence[str]
    severity: Severity
    severity_text: str
    changed: Sequence[str]
    more_changes: int
    undo: Sequence[UndoStep]
    facts: Sequence[tuple[str, str]]
    changes: Quarters
    signals: Quarters
    pairs: Sequence[PairView]
    more_pairs: int
    beyond_pairs: int
    began: datetime | None
    ended: datetime | None
    queries: Mapping[str, str]


def incident_view(detail: IncidentDetail, rule: Rule) -> IncidentView:
    """The view of an incident. It has neither facts nor pairs if the alerts have expired."""
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
            undo=[],
            facts=[],
            changes=changes,
            signals=signals,
            pairs=[],
            more_pairs=incident.pairs,
            beyond_pairs=0,
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
    change_time, signal_time = sequence.changes.time, sequence.signals.time
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
    rows = sorted(
        (row for evidence in evidences for row in evidence.pairs),
        key=lambda row: (str(row[signal_time]), str(row[change_time])),
        reverse=True,
    )[:PAIRS]
    context = AlertContext(whole, incident, rule, rows, incident.pairs - len(rows), [], {}, MessageLinks())
    pairs = []
    for row in rows:
        reasons = row.get(BEYOND, [])
        beyond = [str(reason) for reason in reasons] if isinstance(reasons, list) else [str(reasons)]
        change, signal = _cell(row, sequence.changes), _cell(row, sequence.signals)
        if changed := objects.get(str(row.get(sequence.changes.id))):
            change = replace(change, label=change_phrase(changed.kind, changed.target, rule))
        pairs.append(PairView(change, signal, beyond))
    texts, time_bounds = queries(rule), bounds(windows_of(detail.alerts[-1]))
    return IncidentView(
        title=title(whole, rule),
        names=[whole.actor],
        severity=severity,
        severity_text=severity_text(whole, rule),
        changed=[change_text(changed, whole, rule) for changed in newest],
        more_changes=max(sum(whole.change_kinds.values()) - len(newest), 0),
        undo=undo_steps(whole, rule),
        facts=[(name, value) for name, value in facts(context) if name not in SHOWN_ELSEWHERE],
        changes=changes,
        signals=signals,
        pairs=pairs,
        more_pairs=incident.pairs - len(rows),
        beyond_pairs=sum(bool(pair.beyond) for pair in pairs),
        began=row_time(whole.first_pair, sequence.changes),
        ended=row_time(whole.last_pair, sequence.signals),
        queries={side: with_bounds(texts[side], time_bounds) for side in sequence.sides},
    )


def _cell(row: OutputRow, side: Side) -> Cell:
    kind = row.get(side.kind)
    ids: list[str] = []
    values: list[str] = []
    for name, value in row.items():
        if name not in side.columns or name in (side.time, side.kind, side.actor) or value in (None, "", []):
            continue
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        (ids if name == side.id or name.endswith("Id") else values).append(text)
    return Cell(row_time(row, side), side.label(str(kind)) if kind else "", values, ids)


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
