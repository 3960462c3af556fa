"""How bad an alert is: as bad as its rule says, or worse where its evidence is what the rule names. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import accumulate, chain, groupby
from typing import NamedTuple

from detection.correlate import Chain
from detection.events import Event
from detection.incidents.alert import Alert
from detection.incidents.grouping import Verdict
from detection.rule import SEVERITIES, Raise, Rule

Changes = Mapping[str, Sequence[Event]]
NEVER = datetime.max.replace(tzinfo=UTC)


def by_actor(changes: Iterable[Event]) -> Changes:
    """All changes that were read, by actor."""
    theirs: dict[str, list[Event]] = {}
    for change in changes:
        theirs.setdefault(change.actor, []).append(change)
    return theirs


def weighed(verdict: Verdict, rule: Rule, read: Changes) -> Verdict:
    """The verdict; its alert names the addresses that are new for the actor, and is as severe as its evidence makes it."""
    if verdict.alert is None:
        return verdict
    alert = replace(verdict.alert, new_addresses=_new_addresses(verdict.told, read, rule))
    raises = [one for one in rule.on_call.severity if _is_met(one, verdict.told, alert)]
    worst = max((alert.severity, *(one.to for one in raises)), key=SEVERITIES.index)
    return replace(verdict, alert=replace(alert, severity=worst, raised=worst != rule.severity))


def _is_met(one: Raise, told: Sequence[Chain], alert: Alert) -> bool:
    """Whether all that a rise asks for is there: a pair of such a change and such a signal, a new address."""
    return (not one.new_address or bool(alert.new_addresses)) and any(_has_pair(part, one) for part in told)


def _has_pair(part: Chain, one: Raise) -> bool:
    wanted = [not one.signals or signal.kind.lower() in one.signals for signal in part.signals]
    before = [0, *accumulate(map(int, wanted))]
    return any(
        before[span.stop] > before[span.start] and (not one.changes or change.kind.lower() in one.changes)
        for change, span in zip(part.changes, part.spans, strict=True)
    )


def _new_addresses(told: Sequence[Chain], read: Changes, rule: Rule) -> list[str]:
    """The addresses of the changes told from which no earlier change of their actor came; none where there is no earlier."""
    places = rule.places("IP", rule.sequence.changes)
    new: dict[str, None] = {}
    for actor, some in groupby(told, key=lambda one: one.actor):
        first = _first_seen(read.get(actor, ()), places)
        for change in chain.from_iterable(one.changes for one in some):
            if change.time > first.any:
                own = (change.row[at] for at in places if change.row[at])
                new |= {
                    address: None for address in own if first.times.get(address, change.time) >= change.time
                }
    return list(new)


class _First(NamedTuple):
    """When an actor's first change came, and when the first from each address."""

    any: datetime
    times: Mapping[str, datetime]


def _first_seen(changes: Sequence[Event], places: Sequence[int]) -> _First:
    times: dict[str, datetime] = {}
    for change in changes:
        for address in filter(None, (change.row[at] for at in places)):
            times[address] = min(change.time, times.get(address, change.time))
    return _First(min((change.time for change in changes), default=NEVER), times)
