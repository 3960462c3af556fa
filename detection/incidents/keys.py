"""The grouping key: which alerts belong together, and the ids that follow from it."""

import json
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Literal

from detection.correlation.correlate import Chain
from detection.logs.events import Event
from detection.rules.model import Rule, Side

# The decisive entities with their values, sorted by name, as in (("Account", "alice@example.com"),).
Key = tuple[tuple[str, str], ...]
# Name and column of everything that two alerts must share to be of one incident, as in (("Account",
# "ActorEmail"),).
Grouping = tuple[tuple[str, str], ...]


def group_by_key(chains: Iterable[Chain], rule: Rule) -> dict[Key, list[Chain]]:
    """The chains by grouping key: the values of the entities that `matchingMethod` makes decisive."""
    keys: dict[Key, list[Chain]] = {}
    grouping = grouping_of(rule)
    for chain in chains:
        for key, part in split_by(chain, grouping, rule):
            keys.setdefault(key, []).append(part)
    return keys


def stable_id(kind: Literal["al", "dg", "in"], rule: Rule, key: Key, number: int | str) -> str:
    """A stable id from committed state alone: the rule's folder, the key, and a number that only commits
    raise.

    For a digest the number is the name of its draft.
    """
    text = json.dumps([kind, rule.folder, key, number])
    return f"{kind}_{sha256(text.encode()).hexdigest()[:20]}"


def split_by(chain: Chain, grouping: Grouping, rule: Rule) -> Iterator[tuple[Key, Chain]]:
    """A chain by the values of the decisive columns on either side; pairs of equal values stay together."""
    changes = _by_values(chain.changes, grouping, rule.sequence.changes)
    signals = _by_values(chain.signals, grouping, rule.sequence.signals)
    for change_key, changes_of_key in changes.items():
        for signal_key, signals_of_key in signals.items():
            part = chain.part(changes_of_key, signals_of_key, rule.sequence.within)
            if part.spans:
                yield tuple(sorted(change_key + signal_key)), part


def grouping_of(rule: Rule) -> Grouping:
    """The columns that two alerts of the rule must share to belong to one incident."""
    method, chosen = rule.grouping.matching_method, rule.grouping.group_by_entities
    if method == "AnyAlert":
        return ()
    mappings = [
        mapping
        for mapping in rule.entity_mappings
        if method == "AllEntities" or mapping.entity_type in chosen
    ]
    # In one order: entities in another order of the rule make the same keys.
    return tuple(
        sorted(
            # An entity with several identifiers needs their names, too.
            (
                mapping.entity_type
                if len(mapping.field_mappings) == 1
                else f"{mapping.entity_type}.{field.identifier}",
                field.column_name,
            )
            for mapping in mappings
            for field in mapping.field_mappings
        )
    )


def describe_grouping(grouping: Grouping) -> str:
    """A grouping in words: "by Account (ActorEmail)"."""
    return (
        "by " + " and ".join(f"{name} ({column})" for name, column in grouping)
        if grouping
        else "into one incident"
    )


def _by_values(events: Sequence[Event], grouping: Grouping, side: Side) -> dict[Key, Sequence[Event]]:
    places = [(name, side.place_of(column)) for name, column in grouping if column in side.columns]
    if not places:
        return {(): events}
    parts: dict[Key, list[Event]] = {}
    for event in events:
        parts.setdefault(tuple((name, str(event.row[place] or "")) for name, place in places), []).append(
            event
        )
    return dict(parts)
