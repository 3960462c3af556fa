"""Which of a chain's pairs a silence or an exclusion takes."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import translate
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Literal

from detection.correlation.correlate import Chain, make_chain
from detection.logs.events import Event
from detection.rules.model import Rule
from detection.rules.silences import ENTITIES, MAX_COMPARED, Silence

CriterionSide = Literal["changes", "signals", "neither side"]


def drop_silenced(
    chains: Iterable[Chain], silences: Sequence[Silence], rule: Rule
) -> tuple[list[Chain], Mapping[str, int]]:
    """The pairs that nobody silenced, as chains; and how many pairs the first silence that names them took, by its name."""
    remaining: list[Chain] = []
    silenced: Counter[str] = Counter()
    for chain in chains:
        for names, part in _parts(chain, silences, rule):
            if names:
                silenced[names[0]] += part.count()
            else:
                remaining.append(part)
    return remaining, dict(silenced)


def _parts(chain: Chain, silences: Sequence[Silence], rule: Rule) -> Iterator[tuple[list[str], Chain]]:
    """A chain by the silences that name its pairs."""
    applicable = [
        silence for silence in silences if not silence.actor or _pattern_matcher(silence.actor)(chain.actor)
    ]
    if not applicable:
        yield [], chain
        return
    changes = _by_silences(chain.changes, "changes", applicable, rule)
    signals = _by_silences(chain.signals, "signals", applicable, rule)
    for change_silences, part_changes in changes.items():
        for signal_silences, part_signals in signals.items():
            part = make_chain(chain.actor, part_changes, part_signals, rule.sequence.within, once=chain.once)
            if part.spans:
                yield (
                    [applicable[position].name for position in sorted(change_silences & signal_silences)],
                    part,
                )


def _by_silences(
    events: Iterable[Event], side: CriterionSide, silences: Sequence[Silence], rule: Rule
) -> dict[frozenset[int], list[Event]]:
    """The events of a side by the silences whose criteria for that side they meet."""
    tests = [_tests(silence, side, rule) for silence in silences]
    parts: dict[frozenset[int], list[Event]] = {}
    for event in events:
        met = frozenset(
            position
            for position, test in enumerate(tests)
            if all(criterion_met(event) for criterion_met in test)
        )
        parts.setdefault(met, []).append(event)
    return parts


def _tests(silence: Silence, event_side: CriterionSide, rule: Rule) -> list[Callable[[Event], bool]]:
    """What an event of a side must meet."""
    return [
        _test(_address_matcher(pattern) if name == "address" else _pattern_matcher(pattern), places)
        for name, pattern in silence.criteria.items()
        if name != "actor"
        for side, places in [_place_of(name, rule)]
        if side in (event_side, "neither side")
    ]


def _test(matches: Callable[[str], bool], places: Sequence[int]) -> Callable[[Event], bool]:
    """Whether one of the values in some places of an event's row is like something; without places none is."""
    return lambda event: any(matches(str(event.row[place] or "")) for place in places)


def _place_of(criterion: str, rule: Rule) -> tuple[CriterionSide, list[int]]:
    """The side that a criterion looks at, and the places of its columns there: changes first."""
    sequence = rule.sequence
    if criterion == "change":
        return "changes", [sequence.changes.place_of(sequence.changes.kind)]
    if criterion == "signal":
        return "signals", [sequence.signals.place_of(sequence.signals.kind)]
    if places := rule.entity_places(ENTITIES[criterion], sequence.changes):
        return "changes", places
    places = rule.entity_places(ENTITIES[criterion], sequence.signals)
    return ("signals" if places else "neither side"), places


@lru_cache(maxsize=1_024)
def _pattern_matcher(pattern: str) -> Callable[[str], bool]:
    """Tells values that a pattern describes, whatever their case."""
    wanted = re.compile(translate(pattern.lower()))
    return lambda value: wanted.match(value[:MAX_COMPARED].lower()) is not None


@lru_cache(maxsize=1_024)
def _address_matcher(pattern: str) -> Callable[[str], bool]:
    """Tells addresses in a network; what is no network is a pattern."""
    try:
        network = ip_network(pattern, strict=False)
    except ValueError:
        return _pattern_matcher(pattern)
    return lambda value: _is_in(value, network)


def _is_in(value: str, network: IPv4Network | IPv6Network) -> bool:
    try:
        return ip_address(value.strip()) in network
    except ValueError:
        return False
