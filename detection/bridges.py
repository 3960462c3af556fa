"""Whose a signal is: the actors of changes that it may be of by the rule's bridges. Pure.

The keys of both sides come with the rows, made by the query; here they are only compared. A signal is paired
with every actor that it may be of: two people of one local part are both told of. For each actor the first of the
rule's bridges counts that leads to him.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

from detection.events import Event, Row
from detection.identity import EXACT, Bridge
from detection.rule import Rule


class Owner(NamedTuple):
    """An actor that a signal may be of, and the bridge that says so."""

    actor: str
    bridge: Bridge


class Owners:
    """Says of the rows of signals whose they are, among the actors of some changes."""

    def __init__(self, rule: Rule, changes: Iterable[Row]) -> None:
        sequence = rule.sequence
        self._bridges = sequence.identity
        columns = [sequence.keys(number) for number, _ in enumerate(self._bridges)]
        rows = list(changes)
        self._everybody = dict.fromkeys(
            filter(None, map(itemgetter(sequence.changes.at(sequence.changes.actor)), rows))
        )
        self._tables = [
            self._table(rule, rows, bridge, sequence.changes.at(ours))
            for bridge, (ours, _) in zip(self._bridges, columns, strict=True)
        ]
        self._places = [sequence.signals.at(theirs) for _, theirs in columns]
        self._known: dict[tuple[str, ...], tuple[Owner, ...]] = {}

    def of(self, row: Row) -> tuple[Owner, ...]:
        """Whose a signal may be; nobody's: ()."""
        keys = tuple([row[place] for place in self._places])
        if (known := self._known.get(keys)) is None:
            known = self._known[keys] = tuple(self._found(keys))
        return known

    def groups(self) -> Callable[[Row], str]:
        """Names for signals so that all those of an actor have one name: whose signals may have several owners, share it.

        Where signals are known by several columns, any of them may belong together, and they all have one name.
        """
        if len(set(self._places)) > 1 or self._bridges[0].kind == "none":
            return lambda _row: ""
        (place,) = set(self._places)
        groups = _Groups()
        for key in dict.fromkeys(key for table in self._tables for key in table):
            groups.join([actor for table in self._tables for actor in table.get(key, ())])
        tables = self._tables

        def name(row: Row) -> str:
            actors = next(filter(None, (table.get(row[place]) for table in tables)), [row[place]])
            return groups.first(actors[0])

        return name

    def _found(self, keys: tuple[str, ...]) -> Iterator[Owner]:
        if self._bridges[0].kind == "none":
            yield from (Owner(actor, self._bridges[0]) for actor in self._everybody)
            return
        told: set[str] = set()
        for bridge, table, key in zip(self._bridges, self._tables, keys, strict=True):
            for actor in table.get(key, ()):
                if actor not in told:
                    told.add(actor)
                    yield Owner(actor, bridge)

    def _table(self, rule: Rule, rows: Sequence[Row], bridge: Bridge, place: int) -> Mapping[str, list[str]]:
        """The actors by their keys."""
        if bridge.kind == "none":
            return {}
        if bridge.kind == "mapping":
            there = (
                (user, [one for one in emails if one in self._everybody])
                for user, emails in rule.mapped.items()
            )
            return {user: actors for user, actors in there if actors}
        actor = rule.sequence.changes.at(rule.sequence.changes.actor)
        pairs = dict.fromkeys((row[place], row[actor]) for row in rows if row[place] and row[actor])
        table: dict[str, list[str]] = {}
        for key, name in pairs:
            table.setdefault(key, []).append(name)
        return table


# To whom events of signals belong, one pair for each actor; the changes are those of the actors in question.
Assign = Callable[[Iterable[Event], Iterable[Event]], Iterator[tuple[str, Event]]]


def assign_for(rule: Rule) -> Assign | None:
    """How signals find their actors; None where each is of the actor that it names."""
    if rule.sequence.exact:
        return None

    def assign(changes: Iterable[Event], signals: Iterable[Event]) -> Iterator[tuple[str, Event]]:
        owners = Owners(rule, (change.row for change in changes))
        return ((owner.actor, signal) for signal in signals for owner in owners.of(signal.row))

    return assign


def bridges_of(actor: str, changes: Iterable[Event], signals: Iterable[Event], rule: Rule) -> dict[str, int]:
    """How many of the signals are an actor's by which bridge, by the bridges' names in the rule's order."""
    signals = list(signals)
    if rule.sequence.exact:
        return {EXACT.name: len(signals)}
    owners = Owners(rule, (change.row for change in changes))
    found = [owner.bridge for signal in signals for owner in owners.of(signal.row) if owner.actor == actor]
    return {one.name: found.count(one) for one in rule.sequence.identity if one in found}


class _Groups:
    """Actors that belong together, named by the first of them (union-find)."""

    def __init__(self) -> None:
        self._of: dict[str, str] = {}

    def first(self, actor: str) -> str:
        while (other := self._of.get(actor, actor)) != actor:
            actor = other
        return actor

    def join(self, actors: Sequence[str]) -> None:
        for actor in actors[1:]:
            one, other = self.first(actors[0]), self.first(actor)
            if one != other:
                self._of[other] = one
