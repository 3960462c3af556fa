"""The severity of an alert: its rule's, or a higher one where the evidence meets a condition of the rule."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import accumulate, groupby
from itertools import chain as flatten

from detection.correlation.correlate import Chain
from detection.incidents.alert import Alert, RaisedBy
from detection.logs.events import Event
from detection.rules.model import SEVERITIES, Rule, SeverityCondition

ChangesByActor = Mapping[str, Sequence[Event]]
NEVER = datetime.max.replace(tzinfo=UTC)


def group_by_actor(changes: Iterable[Event]) -> ChangesByActor:
    """The changes by actor."""
    changes_by_actor: dict[str, list[Event]] = {}
    for change in changes:
        changes_by_actor.setdefault(change.actor, []).append(change)
    return changes_by_actor


def with_severity(
    alert: Alert, new_pairs: Sequence[Chain], rule: Rule, changes_by_actor: ChangesByActor
) -> Alert:
    """The alert for the pairs, with the actor's new addresses and the severity of its evidence."""
    new_addresses = _new_addresses(new_pairs, changes_by_actor, rule)
    alert = replace(alert, new_addresses=new_addresses)
    for condition in rule.on_call.severity:
        if (
            SEVERITIES.index(condition.severity) > SEVERITIES.index(alert.severity)
            and (new_addresses or not condition.new_address)
            and any(_has_pair(chain, condition) for chain in new_pairs)
        ):
            raised_by = RaisedBy(condition.changes, condition.signals, condition.new_address)
            alert = replace(alert, severity=condition.severity, severity_raised=True, raised_by=raised_by)
    return alert


def _has_pair(chain: Chain, condition: SeverityCondition) -> bool:
    """Whether the chain has a pair of a change and a signal of the kinds that the condition names."""
    matching = [not condition.signals or signal.kind.lower() in condition.signals for signal in chain.signals]
    counts = [0, *accumulate(map(int, matching))]
    return any(
        counts[span.stop] > counts[span.start]
        and (not condition.changes or change.kind.lower() in condition.changes)
        for change, span in zip(chain.changes, chain.spans, strict=True)
    )


def _new_addresses(new_pairs: Sequence[Chain], changes_by_actor: ChangesByActor, rule: Rule) -> list[str]:
    """The addresses that no earlier change of the same actor came from; none for an actor's first change."""
    places = rule.entity_places("IP", rule.sequence.changes)
    new: dict[str, None] = {}
    for actor, chains in groupby(new_pairs, key=lambda chain: chain.actor):
        changes = changes_by_actor.get(actor, ())
        earliest = min((change.time for change in changes), default=NEVER)
        first_times: dict[str, datetime] = {}
        for change in changes:
            for address in filter(None, (change.row[place] for place in places)):
                first_times[address] = min(change.time, first_times.get(address, change.time))
        for change in flatten.from_iterable(chain.changes for chain in chains):
            if change.time > earliest:
                addresses = (change.row[place] for place in places if change.row[place])
                new |= {
                    address: None
                    for address in addresses
                    if first_times.get(address, change.time) >= change.time
                }
    return list(new)
