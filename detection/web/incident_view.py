"""An incident as its page tells it: all its alerts as one.

An alert counts its changes, though an earlier one of the incident may have told them already: of a quarter of an hour
the largest number counts. Signals are new with nearly every alert, and are added up.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain
from operator import add

from detection.correlation.output import BEYOND, OutputRow
from detection.desk import IncidentDetail
from detection.incidents.alert import Alert
from detection.incidents.evidence import PAIRS, QUARTER, Histogram
from detection.logs.kql import bounds, queries, with_bounds
from detection.logs.window import Windows
from detection.messages.context import AlertContext
from detection.messages.facts import facts
from detection.messages.links import MessageLinks
from detection.messages.text import escape_line, row_time, title
from detection.rules.model import Rule, Severity, Side

# What the page says elsewhere.
SHOWN_ELSEWHERE = {"Incident", "So far", "New", "Severity"}
# Events of a side by kind and the beginning of their quarter of an hour, in seconds since 1970.
Quarters = Mapping[str, Mapping[int, int]]


@dataclass(frozen=True, slots=True)
class Cell:
    """One side of a pair: when, what in words, the other values, and ids for looking it up."""

    time: datetime
    label: str
    values: Sequence[str]
    ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class PairView:
    """A pair, and why the published rule does not return it; empty if it does."""

    change: Cell
    signal: Cell
    beyond: Sequence[str]


@dataclass(frozen=True, slots=True)
class IncidentView:
    """What the page tells. `more` pairs are not shown; `began` and `ended` are its first change and its last signal."""

    title: str
    severity: Severity
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
    """What there is to tell of an incident; little of one whose alerts have expired."""
    incident, sequence = detail.incident, rule.sequence
    evidences = [alert.evidence for alert in detail.alerts if alert.evidence]
    changes = merge_histograms([evidence.changes for evidence in evidences], max)
    signals = merge_histograms([evidence.signals for evidence in evidences], add)
    severity = incident.severity or rule.severity
    if not detail.alerts:
        name = incident.title or escape_line(", ".join(value for _, value in detail.key))
        return IncidentView(name, severity, [], changes, signals, [], incident.pairs, 0, None, None, {})
    merged = _merged_alert(detail.alerts, changes, signals, rule)
    rows = _newest_rows(detail.alerts, sequence.signals, sequence.changes)
    context = AlertContext(merged, incident, rule, rows, incident.pairs - len(rows), [], {}, MessageLinks())
    pairs = [_pair(row, rule) for row in rows]
    return IncidentView(
        title=title(merged, rule),
        severity=severity,
        facts=[(name, value) for name, value in facts(context) if name not in SHOWN_ELSEWHERE],
        changes=changes,
        signals=signals,
        pairs=pairs,
        more_pairs=incident.pairs - len(rows),
        beyond_pairs=sum(bool(pair.beyond) for pair in pairs),
        began=row_time(merged.first_pair, sequence.changes),
        ended=row_time(merged.last_pair, sequence.signals),
        queries=kql(detail.alerts[-1], rule),
    )


def merge_histograms(histograms: Iterable[Histogram], combine: Callable[[int, int], int]) -> Quarters:
    """The events of a side of all alerts, by kind and quarter of an hour."""
    events: dict[str, dict[int, int]] = {}
    for histogram in histograms:
        begin = int(histogram.begin.timestamp())
        for kind, counts in histogram.kinds.items():
            kind_counts = events.setdefault(kind, {})
            for offset, number in counts.items():
                quarter = begin + offset * QUARTER
                kind_counts[quarter] = combine(kind_counts.get(quarter, 0), number)
    return events


def kql(alert: Alert, rule: Rule) -> dict[str, str]:
    """The queries that found an alert, to paste into the portal."""
    texts, time_bounds = queries(rule), bounds(windows_of(alert))
    return {side: with_bounds(texts[side], time_bounds) for side in rule.sequence.sides}


def _merged_alert(alerts: Sequence[Alert], changes: Quarters, signals: Quarters, rule: Rule) -> Alert:
    """The newest alert, saying what all of them say together. A later one may tell of earlier events."""
    sequence = rule.sequence
    entities = {tuple(entity.items()): entity for alert in alerts for entity in alert.entities}
    return replace(
        alerts[-1],
        change_kinds=_totals_by_kind(changes) or _merged_kinds([alert.change_kinds for alert in alerts], max),
        signal_kinds=_totals_by_kind(signals) or _merged_kinds([alert.signal_kinds for alert in alerts], add),
        first_pair=min(
            (alert.first_pair for alert in alerts), key=lambda row: row_time(row, sequence.changes)
        ),
        last_pair=max((alert.last_pair for alert in alerts), key=lambda row: row_time(row, sequence.signals)),
        entities=list(entities.values()),
        new_addresses=list(dict.fromkeys(address for alert in alerts for address in alert.new_addresses)),
    )


def _totals_by_kind(events: Quarters) -> dict[str, int]:
    """How many of each kind, the most frequent first."""
    totals = {kind: sum(times.values()) for kind, times in events.items()}
    return dict(sorted(totals.items(), key=lambda kind_total: kind_total[1], reverse=True))


def _merged_kinds(counts: Iterable[Mapping[str, int]], combine: Callable[[int, int], int]) -> dict[str, int]:
    """The same of alerts from before there was evidence."""
    merged: dict[str, int] = {}
    for kind_counts in counts:
        for kind, number in kind_counts.items():
            merged[kind] = combine(merged.get(kind, 0), number)
    return merged


def _newest_rows(alerts: Sequence[Alert], later: Side, earlier: Side) -> list[OutputRow]:
    """The newest pairs of all alerts; of one from before there was evidence, its first and its last."""
    rows = chain.from_iterable(
        alert.evidence.pairs
        if alert.evidence
        else [alert.last_pair, alert.first_pair][: min(2, alert.counts.pairs)]
        for alert in alerts
    )
    return sorted(rows, key=lambda row: (str(row[later.time]), str(row[earlier.time])), reverse=True)[:PAIRS]


def _pair(row: OutputRow, rule: Rule) -> PairView:
    reasons = row.get(BEYOND, [])
    return PairView(
        change=_cell(row, rule.sequence.changes),
        signal=_cell(row, rule.sequence.signals),
        beyond=[str(reason) for reason in reasons] if isinstance(reasons, list) else [str(reasons)],
    )


def _cell(row: OutputRow, side: Side) -> Cell:
    kind = row.get(side.kind)
    main_columns = (side.time, side.kind, side.actor)
    values_by_column = {
        name: _flat(row[name]) for name in row if name in side.columns and name not in main_columns
    }
    ids = [value for name, value in values_by_column.items() if _is_id(name, side) and value]
    values = [value for name, value in values_by_column.items() if not _is_id(name, side) and value]
    return Cell(row_time(row, side), side.label(str(kind)) if kind else "", values, ids)


def _is_id(name: str, side: Side) -> bool:
    return name == side.id or name.endswith("Id")


def _flat(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def windows_of(alert: Alert) -> Windows:
    """What the run read that made an alert."""
    return Windows(alert.time, alert.windows.changes, alert.windows.signals, alert.windows.gap)


def duration_text(began: datetime, ended: datetime) -> str:
    """How long something took, in the unit that fits."""
    length = ended - began
    for unit, name in ((timedelta(days=2), "d"), (timedelta(hours=2), "h"), (timedelta(minutes=2), "min")):
        if length >= unit:
            return f"{round(length / unit * 2)} {name}"
    return f"{int(length.total_seconds())} s"
