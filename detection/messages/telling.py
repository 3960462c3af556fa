"""What every format tells of an alert, gathered once: the alert, its incident, and the newest pairs. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import nlargest
from itertools import chain, islice

from detection.correlate import Chain, Pair
from detection.events import Event
from detection.incidents.alert import Alert
from detection.incidents.grouping import Incident, Verdict
from detection.kql import bounds, queries, with_bounds
from detection.rows import Output, OutputRow
from detection.rule import Rule
from detection.window import Windows

NEWEST = 20  # pairs that a message shows


@dataclass(frozen=True, slots=True)
class Telling:
    """An alert with what a reader needs beside it: `pairs` are the newest, `more` says how many there are beyond.

    `new_addresses` are those from which its changes came and no earlier change of the same actor that was read, where
    there is one. `queries` are the KQL texts that the run sent, by side.
    """

    alert: Alert
    incident: Incident
    rule: Rule
    pairs: Sequence[OutputRow]
    more: int
    new_addresses: Sequence[str]
    queries: dict[str, str]


def telling(verdict: Verdict, rule: Rule, windows: Windows, changes: Iterable[Event]) -> Telling:
    """What is to be told of a verdict, beside all changes that were read. Raises ValueError for one that tells nothing."""
    if verdict.alert is None or verdict.memory.incident is None:
        raise ValueError("a verdict without an alert has nothing to tell")
    newest = nlargest(NEWEST, chain.from_iterable(map(_newest, verdict.told)), key=_when)
    output, texts = Output(rule), queries(rule)
    return Telling(
        alert=verdict.alert,
        incident=verdict.memory.incident,
        rule=rule,
        pairs=[output.row(pair, windows.now) for pair in newest],
        more=verdict.pairs - len(newest),
        new_addresses=_new_addresses(verdict.told, changes, rule),
        queries={side: with_bounds(texts[side], bounds(windows)) for side in rule.sequence.sides},
    )


def _new_addresses(told: Sequence[Chain], changes: Iterable[Event], rule: Rule) -> list[str]:
    """The addresses of the changes told from which no earlier change of their actor came; none where there is no earlier."""
    actors = {one.actor for one in told}
    theirs = [event for event in changes if event.actor in actors]
    new: dict[str, None] = {}
    for change in chain.from_iterable(one.changes for one in told):
        earlier = [one for one in theirs if one.actor == change.actor and one.time < change.time]
        known = {address for one in earlier for address in _addresses(one, rule)}
        new |= {address: None for address in _addresses(change, rule) if earlier and address not in known}
    return list(new)


def _addresses(change: Event, rule: Rule) -> list[str]:
    """The IP addresses that a change came from, by the rule's entities."""
    side = rule.sequence.changes
    columns = [
        field.column_name
        for mapping in rule.entity_mappings
        if mapping.entity_type == "IP"
        for field in mapping.field_mappings
    ]
    return [
        change.row[side.at(name)] for name in columns if name in side.columns and change.row[side.at(name)]
    ]


def _newest(one: Chain) -> Iterator[Pair]:
    """A chain's newest pairs; where a pair of ids is one pair, it stands there once, as the latest."""
    return islice(_distinct(one.newest()) if one.once else one.newest(), NEWEST)


def _distinct(pairs: Iterator[Pair]) -> Iterator[Pair]:
    seen: set[tuple[str, str]] = set()
    for change, signal in pairs:
        if (change.id, signal.id) not in seen:
            seen.add((change.id, signal.id))
            yield change, signal


def _when(pair: Pair) -> tuple[object, object]:
    change, signal = pair
    return signal.time, change.time
