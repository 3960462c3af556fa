"""Which pairs a silence or an exclusion covers."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal

from detection.correlation.correlate import Chain
from detection.incidents.alert import Alert
from detection.logs.events import Event
from detection.rules.model import Rule
from detection.rules.patterns import address_matcher, pattern_matcher
from detection.rules.silences import ENTITIES, Silence

CriterionSide = Literal["changes", "signals"]


def drop_silenced(
    chains: Iterable[Chain], silences: Sequence[Silence], rule: Rule
) -> tuple[list[Chain], Mapping[str, int], Mapping[str, int]]:
    """The pairs that no silence covers, as chains; the number of covered pairs by their first silence; and of
    those, by actor, the pairs whose first silence is not an exclusion.

    A silence covers a pair by its criteria and by the own time of the pair's signal.
    """
    remaining: list[Chain] = []
    silenced: Counter[str] = Counter()
    silenced_by_actor: Counter[str] = Counter()
    for chain in chains:
        applicable = [
            silence
            for silence in silences
            if silence.covers(chain.signals[0].time, chain.signals[-1].time)
            and (not silence.actor or pattern_matcher(silence.actor)(chain.actor))
        ]
        if not applicable:
            remaining.append(chain)
            continue
        changes = _by_silences(chain.changes, "changes", applicable, rule)
        signals = _by_silences(chain.signals, "signals", applicable, rule)
        for change_silences, part_changes in changes.items():
            for signal_silences, part_signals in signals.items():
                part = chain.part(part_changes, part_signals, rule.sequence.within)
                covering = change_silences & signal_silences
                if part.spans and covering:
                    silence = applicable[min(covering)]
                    silenced[silence.name] += part.count()
                    if silence not in rule.exclusions:
                        silenced_by_actor[chain.actor] += part.count()
                elif part.spans:
                    remaining.append(part)
    return remaining, dict(silenced), dict(silenced_by_actor)


def matches_alert(silence: Silence, alert: Alert) -> bool:
    """Whether an alert has, for each criterion of a silence, a value that matches.

    The alert may hold more pairs than the silence would have taken.
    """

    def matches_criterion(name: str, pattern: str) -> bool:
        if name in ENTITIES:
            texts: Iterable[str] = (
                text
                for entity in alert.entities
                if entity["type"] == ENTITIES[name]
                for identifier, text in entity.items()
                if identifier != "type"
            )
        else:
            texts = {"actor": [alert.actor], "change": alert.change_kinds, "signal": alert.signal_kinds}[name]
        return any(map(_matcher(name, pattern), texts))

    return all(matches_criterion(name, pattern) for name, pattern in silence.criteria.items())


def _by_silences(
    events: Iterable[Event], side: CriterionSide, silences: Sequence[Silence], rule: Rule
) -> dict[frozenset[int], list[Event]]:
    """The events of a side by the silences whose criteria for that side they meet.

    A silence covers signals by their own time, and changes at any time.
    """
    criteria = [(silence, list(_criteria(silence, side, rule))) for silence in silences]
    parts: dict[frozenset[int], list[Event]] = {}
    for event in events:
        met = frozenset(
            position
            for position, (silence, criteria_of_silence) in enumerate(criteria)
            if (side == "changes" or silence.covers(event.time, event.time))
            and all(
                any(matches(str(event.row[place] or "")) for place in places)
                for matches, places in criteria_of_silence
            )
        )
        parts.setdefault(met, []).append(event)
    return parts


def _criteria(
    silence: Silence, event_side: CriterionSide, rule: Rule
) -> Iterator[tuple[Callable[[str], bool], list[int]]]:
    """The matchers of a silence for events of a side, each with the places in an event's row to look at.

    One place has to match. A criterion without a column looks at no place: it never matches.
    """
    sequence = rule.sequence
    for name, pattern in silence.criteria.items():
        if name == "actor":
            continue
        side: CriterionSide = "changes"
        if name in ("change", "signal"):
            side = "changes" if name == "change" else "signals"
            places = [sequence.sides[side].place_of(sequence.sides[side].kind)]
        elif not (places := rule.entity_places(ENTITIES[name], sequence.changes)):
            side, places = "signals", rule.entity_places(ENTITIES[name], sequence.signals)
        if side == event_side:
            yield _matcher(name, pattern), places


def _matcher(criterion: str, pattern: str) -> Callable[[str], bool]:
    return address_matcher(pattern) if criterion == "address" else pattern_matcher(pattern)
