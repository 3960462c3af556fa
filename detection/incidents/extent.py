"""The extent of an incident: the events of all its alerts, for its title and size in lists.

Several alerts of an incident count the same change, so the largest number of a quarter of an hour counts. A
signal is new in one alert, with few exceptions, so the numbers of signals are added up.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import add

from detection.correlation.output import row_time
from detection.incidents.alert import Alert
from detection.incidents.changed_object import ChangedObject
from detection.incidents.evidence import KINDS, OTHER_KINDS, QUARTER, Evidence, Histogram
from detection.rules.model import Rule

CHANGES = 20  # changes with their objects
# The number of events of a side, by kind and by quarter of an hour (its beginning in seconds since 1970).
Quarters = Mapping[str, Mapping[int, int]]


@dataclass(frozen=True, slots=True)
class Extent:
    """The events of all alerts of an incident. `actor` is that of the newest alert.

    `began` is the time of the first change, `ended` that of the last signal (UTC). `changed_objects` are the
    objects of the newest changes, at most CHANGES, in order of time.
    """

    actor: str
    began: datetime
    ended: datetime
    changes: Quarters
    signals: Mapping[str, int]
    changed_objects: Sequence[ChangedObject]

    @property
    def change_kinds(self) -> dict[str, int]:
        """The number of changes by kind, the most frequent first."""
        return totals_by_kind(self.changes)


def extended(extent: Extent | None, alert: Alert, evidence: Evidence, rule: Rule) -> Extent:
    """The extent with another alert; None: of an incident without alerts."""
    sequence = rule.sequence
    began, ended = (
        row_time(alert.first_pair, sequence.changes),
        row_time(alert.last_pair, sequence.signals),
    )
    changes, signals = quarters_of(evidence.changes), totals_by_kind(quarters_of(evidence.signals))
    objects = {changed.event: changed for changed in alert.changed_objects}
    if extent:
        began, ended = min(began, extent.began), max(ended, extent.ended)
        changes = merged([extent.changes, changes], max)
        former = {kind: {0: number} for kind, number in extent.signals.items()}
        newer = {kind: {0: number} for kind, number in signals.items()}
        signals = totals_by_kind(merged([former, newer], add))
        objects = {changed.event: changed for changed in extent.changed_objects} | objects
    newest = newest_objects(objects.values())
    return Extent(alert.actor, began, ended, changes, signals, newest)


def newest_objects(objects: Iterable[ChangedObject]) -> list[ChangedObject]:
    """The objects of the newest changes, at most CHANGES, in order of time."""
    return sorted(objects, key=lambda changed: changed.time)[-CHANGES:]


def quarters_of(histogram: Histogram) -> Quarters:
    """The events of a histogram by the beginning of their quarter."""
    begin = int(histogram.begin.timestamp())
    return {
        kind: {begin + offset * QUARTER: number for offset, number in counts.items()}
        for kind, counts in histogram.kinds.items()
    }


def merged(sides: Iterable[Quarters], combine: Callable[[int, int], int]) -> Quarters:
    """The events of one side of several alerts. `combine` merges the numbers of the same quarter.

    The kinds that come first are counted separately, as many as an alert has.
    """
    events: dict[str, dict[int, int]] = {}
    for side in sides:
        for name, counts in side.items():
            kind = name if name in events or len(events) < KINDS else OTHER_KINDS
            kind_counts = events.setdefault(kind, {})
            for quarter, number in counts.items():
                kind_counts[quarter] = combine(kind_counts.get(quarter, 0), number)
    return events


def totals_by_kind(events: Quarters) -> dict[str, int]:
    """The number of events by kind, the most frequent first."""
    totals = {kind: sum(times.values()) for kind, times in events.items()}
    return dict(sorted(totals.items(), key=lambda kind_total: kind_total[1], reverse=True))
