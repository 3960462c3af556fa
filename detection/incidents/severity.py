"""How bad an alert is: as bad as its rule says, or worse where its evidence is what the rule names."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import accumulate, groupby
from itertools import chain as flatten
from typing import NamedTuple

from detection.correlation.correlate import Chain
from detection.incidents.alert import Alert
from detection.incidents.grouping import Verdict
from detection.logs.events import Event
from detection.rules.model import SEVERITIES, Rule, SeverityCondition

ChangesByActor = Mapping[str, Sequence[Event]]
NEVER = datetime.max.replace(tzinfo=UTC)


def group_by_actor(changes: Iterable[Event]) -> ChangesByActor:
    """All changes that were read, by actor."""
    changes_by_actor: dict[str, list[Event]] = {}
    for change in changes:
        changes_by_actor.setdefault(change.actor, []).append(change)
    return changes_by_actor


def with_severity(verdict: Verdict, rule: Rule, changes_by_actor: ChangesByActor) -> Verdict:
    """The verdict; its alert names the addresses that are new for the actor, and is as severe as its evidence makes it."""
    if verdict.alert is None:
        return verdict
    alert = replace(verdict.alert, new_addresses=_new_addresses(verdict.new_pairs, changes_by_actor, rule))
    raises = [
        condition for condition in rule.on_call.severity if _is_met(condition, verdict.new_pairs, alert)
    ]
    worst = max((alert.severity, *(condition.severity for condition in raises)), key=SEVERITIES.index)
    return replace(verdict, alert=replace(alert, severity=worst, severity_raised=worst != rule.severity))


def _is_met(condition: SeverityCondition, new_pairs: Sequence[Chain], alert: Alert) -> bool:
    """Whether all that a rise asks for is there: a pair of such a change and such a signal, a new address."""
    return (not condition.new_address or bool(alert.new_addresses)) and any(
        _has_pair(part, condition) for part in new_pairs
    )


def _has_pair(part: Chain, condition: SeverityCondition) -> bool:
    wanted = [not condition.signals or signal.kind.lower() in condition.signals for signal in part.signals]
    counts = [0, *accumulate(map(int, wanted))]
    return any(
        counts[span.stop] > counts[span.start]
        and (not condition.changes or change.kind.lower() in condition.changes)
        for change, span in zip(part.changes, part.spans, strict=True)
    )


def _new_addresses(new_pairs: Sequence[Chain], changes_by_actor: ChangesByActor, rule: Rule) -> list[str]:
    """The addresses of the changes told from which no earlier change of their actor came; none where there is no earlier."""
    places = rule.entity_places("IP", rule.sequence.changes)
    new: dict[str, None] = {}
    for actor, chains in groupby(new_pairs, key=lambda chain: chain.actor):
        first_times = _first_seen(changes_by_actor.get(actor, ()), places)
        for change in flatten.from_iterable(chain.changes for chain in chains):
            if change.time > first_times.earliest:
                own = (change.row[place] for place in places if change.row[place])
                new |= {
                    address: None
                    for address in own
                    if first_times.times.get(address, change.time) >= change.time
                }
    return list(new)


class _FirstTimes(NamedTuple):
    """When an actor's first change came, and when the first from each address."""

    earliest: datetime
    times: Mapping[str, datetime]


def _first_seen(changes: Sequence[Event], places: Sequence[int]) -> _FirstTimes:
    times: dict[str, datetime] = {}
    for change in changes:
        for address in filter(None, (change.row[place] for place in places)):
            times[address] = min(change.time, times.get(address, change.time))
    return _FirstTimes(min((change.time for change in changes), default=NEVER), times)
