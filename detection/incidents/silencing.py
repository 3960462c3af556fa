"""Which of a chain's pairs a silence or an exclusion takes. Pure."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import translate
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Literal

from detection.correlate import Chain, chain
from detection.events import Event
from detection.rule import Rule
from detection.silences import ENTITIES, READ, Silence

Where = Literal["changes", "signals", "neither side"]


def sifted(
    chains: Iterable[Chain], silences: Sequence[Silence], rule: Rule
) -> tuple[list[Chain], Mapping[str, int]]:
    """The pairs that nobody silenced, as chains; and how many pairs the first silence that names them took, by its name."""
    told: list[Chain] = []
    silenced: Counter[str] = Counter()
    for one in chains:
        for names, part in _parts(one, silences, rule):
            if names:
                silenced[names[0]] += part.count()
            else:
                told.append(part)
    return told, dict(silenced)


def _parts(one: Chain, silences: Sequence[Silence], rule: Rule) -> Iterator[tuple[list[str], Chain]]:
    """A chain by the silences that name its pairs."""
    near = [silence for silence in silences if not silence.actor or _like(silence.actor)(one.actor)]
    if not near:
        yield [], one
        return
    changes = _by_silences(one.changes, "changes", near, rule)
    signals = _by_silences(one.signals, "signals", near, rule)
    for some, left in changes.items():
        for others, right in signals.items():
            part = chain(one.actor, left, right, rule.sequence.within, once=one.once)
            if part.spans:
                yield [near[at].name for at in sorted(some & others)], part


def _by_silences(
    events: Iterable[Event], where: Where, silences: Sequence[Silence], rule: Rule
) -> dict[frozenset[int], list[Event]]:
    """The events of a side by the silences whose criteria for that side they meet."""
    tests = [_tests(silence, where, rule) for silence in silences]
    parts: dict[frozenset[int], list[Event]] = {}
    for event in events:
        met = frozenset(at for at, test in enumerate(tests) if all(one(event) for one in test))
        parts.setdefault(met, []).append(event)
    return parts


def _tests(silence: Silence, where: Where, rule: Rule) -> list[Callable[[Event], bool]]:
    """What an event of a side must meet."""
    return [
        _test(_like_address(pattern) if name == "address" else _like(pattern), places)
        for name, pattern in silence.criteria.items()
        if name != "actor"
        for side, places in [_looked_at(name, rule)]
        if side in (where, "neither side")
    ]


def _test(like: Callable[[str], bool], places: Sequence[int]) -> Callable[[Event], bool]:
    """Whether one of the values in some places of an event's row is like something; without places none is."""
    return lambda event: any(like(str(event.row[at] or "")) for at in places)


def _looked_at(criterion: str, rule: Rule) -> tuple[Where, list[int]]:
    """The side that a criterion looks at, and the places of its columns there: changes first."""
    sequence = rule.sequence
    if criterion == "change":
        return "changes", [sequence.changes.at(sequence.changes.kind)]
    if criterion == "signal":
        return "signals", [sequence.signals.at(sequence.signals.kind)]
    if places := rule.places(ENTITIES[criterion], sequence.changes):
        return "changes", places
    places = rule.places(ENTITIES[criterion], sequence.signals)
    return ("signals" if places else "neither side"), places


@lru_cache(maxsize=1_024)
def _like(pattern: str) -> Callable[[str], bool]:
    """Tells values that a pattern describes, whatever their case."""
    wanted = re.compile(translate(pattern.lower()))
    return lambda value: wanted.match(value[:READ].lower()) is not None


@lru_cache(maxsize=1_024)
def _like_address(pattern: str) -> Callable[[str], bool]:
    """Tells addresses in a network; what is no network is a pattern."""
    try:
        network = ip_network(pattern, strict=False)
    except ValueError:
        return _like(pattern)
    return lambda value: _is_in(value, network)


def _is_in(value: str, network: IPv4Network | IPv6Network) -> bool:
    try:
        return ip_address(value.strip()) in network
    except ValueError:
        return False
