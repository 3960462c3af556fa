"""Which pairs a silence or an exclusion covers."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import translate
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Literal

from detection.correlation.correlate import Chain, make_chain
from detection.logs.events import Event
from detection.rules.model import Rule
from detection.rules.silences import ENTITIES, MAX_COMPARED, Silence

CriterionSide = Literal["changes", "signals", "neither side"]


def drop_silenced(
    chains: Iterable[Chain], silences: Sequence[Silence], rule: Rule
) -> tuple[list[Chain], Mapping[str, int]]:
    """The pairs that no silence covers, as chains; and the number of covered pairs by their first silence."""
    remaining: list[Chain] = []
    silenced: Counter[str] = Counter()
    for chain in chains:
        applicable = [
            silence
            for silence in silences
            if not silence.actor or _pattern_matcher(silence.actor)(chain.actor)
        ]
        if not applicable:
            remaining.append(chain)
            continue
        changes = _by_silences(chain.changes, "changes", applicable, rule)
        signals = _by_silences(chain.signals, "signals", applicable, rule)
        for change_silences, part_changes in changes.items():
            for signal_silences, part_signals in signals.items():
                part = make_chain(
                    chain.actor, part_changes, part_signals, rule.sequence.within, once=chain.once
                )
                covering = change_silences & signal_silences
                if part.spans and covering:
                    silenced[applicable[min(covering)].name] += part.count()
                elif part.spans:
                    remaining.append(part)
    return remaining, dict(silenced)


def _by_silences(
    events: Iterable[Event], side: CriterionSide, silences: Sequence[Silence], rule: Rule
) -> dict[frozenset[int], list[Event]]:
    """The events of a side by the silences whose criteria for that side they meet."""
    criteria = [list(_criteria(silence, side, rule)) for silence in silences]
    parts: dict[frozenset[int], list[Event]] = {}
    for event in events:
        met = frozenset(
            position
            for position, criteria_of_silence in enumerate(criteria)
            if all(
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
            places = rule.entity_places(ENTITIES[name], sequence.signals)
            side = "signals" if places else "neither side"
        if side in (event_side, "neither side"):
            yield _address_matcher(pattern) if name == "address" else _pattern_matcher(pattern), places


@lru_cache(maxsize=1_024)
def _pattern_matcher(pattern: str) -> Callable[[str], bool]:
    """A matcher of values by a pattern with wildcards, case-insensitive."""
    regex = re.compile(translate(pattern.lower()))
    return lambda value: regex.match(value[:MAX_COMPARED].lower()) is not None


@lru_cache(maxsize=1_024)
def _address_matcher(pattern: str) -> Callable[[str], bool]:
    """A matcher of IP addresses in a network; by wildcards if the pattern is not a network."""
    try:
        network = ip_network(pattern, strict=False)
    except ValueError:
        return _pattern_matcher(pattern)

    def is_in_network(value: str) -> bool:
        try:
            return ip_address(value.strip()) in network
        except ValueError:
            return False

    return is_in_network
