"""An incident as its page tells it: all its alerts as one. Pure.

An alert counts its changes, though an earlier one of the incident may have told them already: of a quarter of an hour
the largest number counts. Signals are new with nearly every alert, and are added up.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain
from operator import add

from detection.incidents.alert import Alert, Stretch
from detection.incidents.evidence import PAIRS, QUARTER, Histogram
from detection.job import KnownIncident
from detection.kql import bounds, queries, with_bounds
from detection.messages.facts import facts
from detection.messages.leads import Leads
from detection.messages.telling import Telling
from detection.messages.text import inert, title
from detection.rows import BEYOND, OutputRow
from detection.rule import Rule, Severity, Side
from detection.timestamps import moment
from detection.window import Window, Windows

# What the page says elsewhere.
ELSEWHERE = {"Incident", "So far", "New", "Severity"}
# Events of a side by kind and the beginning of their quarter of an hour, in seconds since 1970.
Quarters = Mapping[str, Mapping[int, int]]


@dataclass(frozen=True, slots=True)
class Cell:
    """One side of a pair: when, what in words, the other values, and ids for looking it up."""

    time: str
    what: str
    values: Sequence[str]
    ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class PairTold:
    """A pair, and why the published rule does not return it; empty if it does."""

    change: Cell
    signal: Cell
    beyond: Sequence[str]


@dataclass(frozen=True, slots=True)
class Story:
    """What the page tells. `more` pairs are not shown; `began` and `ended` are its first change and its last signal."""

    title: str
    severity: Severity
    facts: Sequence[tuple[str, str]]
    changes: Quarters
    signals: Quarters
    pairs: Sequence[PairTold]
    more: int
    beyond: int
    began: datetime | None
    ended: datetime | None
    queries: Mapping[str, str]


def story(known: KnownIncident, rule: Rule) -> Story:
    """What there is to tell of an incident; little of one whose alerts have expired."""
    incident, sequence = known.incident, rule.sequence
    kept = [one.evidence for one in known.alerts if one.evidence]
    changes = quarters([one.changes for one in kept], max)
    signals = quarters([one.signals for one in kept], add)
    severity = incident.severity or rule.severity
    if not known.alerts:
        name = incident.title or inert(", ".join(value for _, value in known.key))
        return Story(name, severity, [], changes, signals, [], incident.pairs, 0, None, None, {})
    whole = _as_one(known.alerts, changes, signals, rule)
    rows = _newest(known.alerts, sequence.signals, sequence.changes)
    told = Telling(whole, incident, rule, rows, incident.pairs - len(rows), [], {}, Leads())
    pairs = [_pair(row, rule) for row in rows]
    return Story(
        title=title(whole, rule),
        severity=severity,
        facts=[(name, value) for name, value in facts(told) if name not in ELSEWHERE],
        changes=changes,
        signals=signals,
        pairs=pairs,
        more=incident.pairs - len(rows),
        beyond=sum(bool(pair.beyond) for pair in pairs),
        began=moment(str(whole.first_pair[sequence.changes.time])),
        ended=moment(str(whole.last_pair[sequence.signals.time])),
        queries=kql(known.alerts[-1], rule),
    )


def quarters(histograms: Iterable[Histogram], joined: Callable[[int, int], int]) -> Quarters:
    """The events of a side of all alerts, by kind and quarter of an hour."""
    found: dict[str, dict[int, int]] = {}
    for histogram in histograms:
        begin = int(moment(histogram.begin).timestamp())
        for kind, counted in histogram.kinds.items():
            own = found.setdefault(kind, {})
            for offset, number in counted.items():
                at = begin + offset * QUARTER
                own[at] = joined(own.get(at, 0), number)
    return found


def kql(alert: Alert, rule: Rule) -> dict[str, str]:
    """The queries that found an alert, to paste into the portal."""
    texts, stretch = queries(rule), bounds(windows_of(alert))
    return {side: with_bounds(texts[side], stretch) for side in rule.sequence.sides}


def _as_one(alerts: Sequence[Alert], changes: Quarters, signals: Quarters, rule: Rule) -> Alert:
    """The newest alert, saying what all of them say together. A later one may tell of earlier events."""
    first, last = rule.sequence.changes.time, rule.sequence.signals.time
    entities = {tuple(one.items()): one for alert in alerts for one in alert.entities}
    return replace(
        alerts[-1],
        change_kinds=_counted(changes) or _kinds([one.change_kinds for one in alerts], max),
        signal_kinds=_counted(signals) or _kinds([one.signal_kinds for one in alerts], add),
        first_pair=min((one.first_pair for one in alerts), key=lambda row: moment(str(row[first]))),
        last_pair=max((one.last_pair for one in alerts), key=lambda row: moment(str(row[last]))),
        entities=list(entities.values()),
        new_addresses=list(dict.fromkeys(one for alert in alerts for one in alert.new_addresses)),
    )


def _counted(events: Quarters) -> dict[str, int]:
    """How many of each kind, the most frequent first."""
    counted = {kind: sum(times.values()) for kind, times in events.items()}
    return dict(sorted(counted.items(), key=lambda one: one[1], reverse=True))


def _kinds(counts: Iterable[Mapping[str, int]], joined: Callable[[int, int], int]) -> dict[str, int]:
    """The same of alerts from before there was evidence."""
    found: dict[str, int] = {}
    for counted in counts:
        for kind, number in counted.items():
            found[kind] = joined(found.get(kind, 0), number)
    return found


def _newest(alerts: Sequence[Alert], later: Side, earlier: Side) -> list[OutputRow]:
    """The newest pairs of all alerts; of one from before there was evidence, its first and its last."""
    rows = chain.from_iterable(
        one.evidence.pairs if one.evidence else [one.last_pair, one.first_pair][: min(2, one.counts.pairs)]
        for one in alerts
    )
    return sorted(rows, key=lambda row: (str(row[later.time]), str(row[earlier.time])), reverse=True)[:PAIRS]


def _pair(row: OutputRow, rule: Rule) -> PairTold:
    reasons = row.get(BEYOND, [])
    return PairTold(
        change=_cell(row, rule.sequence.changes),
        signal=_cell(row, rule.sequence.signals),
        beyond=[str(reason) for reason in reasons] if isinstance(reasons, list) else [str(reasons)],
    )


def _cell(row: OutputRow, side: Side) -> Cell:
    kind = row.get(side.kind)
    beside = (side.time, side.kind, side.actor)
    others = {name: _flat(row[name]) for name in row if name in side.columns and name not in beside}
    ids = [value for name, value in others.items() if _is_id(name, side) and value]
    values = [value for name, value in others.items() if not _is_id(name, side) and value]
    return Cell(str(row[side.time]), side.label(str(kind)) if kind else "", values, ids)


def _is_id(name: str, side: Side) -> bool:
    return name == side.id or name.endswith("Id")


def _flat(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def windows_of(alert: Alert) -> Windows:
    """What the run read that made an alert."""
    read = alert.windows
    gap = _window(read.gap) if read.gap else None
    return Windows(moment(alert.at), _window(read.changes), _window(read.signals), gap)


def _window(stretch: Stretch) -> Window:
    return Window(moment(stretch.after), moment(stretch.until) if stretch.until else None)


def span(began: datetime, ended: datetime) -> str:
    """How long something took, in the unit that fits."""
    length = ended - began
    for unit, name in ((timedelta(days=2), "d"), (timedelta(hours=2), "h"), (timedelta(minutes=2), "min")):
        if length >= unit:
            return f"{round(length / unit * 2)} {name}"
    return f"{int(length.total_seconds())} s"
