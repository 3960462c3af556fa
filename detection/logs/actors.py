"""Identity matching: the changes' actors that a signal may belong to, by the options that the rule lists in
`identity`.

The rule's queries compute the keys of both sides; this module only compares them. A signal is paired with
every actor that it may belong to: if two people have the same local part, both are alerted. The first option
in the rule's order that leads to an actor is the option that counts for that actor.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import starmap
from operator import itemgetter
from typing import NamedTuple

from detection.logs.events import Event, Row
from detection.rules.identity import EXACT, MatchingOption
from detection.rules.model import Rule


class ActorMatch(NamedTuple):
    """An actor that a signal may belong to, and the identity matching option that leads to the actor."""

    actor: str
    option: MatchingOption


class ActorResolver:
    """Finds the actors of signal rows among the actors of the changes."""

    def __init__(self, rule: Rule, changes: Iterable[Row]) -> None:
        sequence, rows = rule.sequence, list(changes)
        self._options = sequence.identity
        key_columns = [sequence.key_columns(number) for number, _ in enumerate(self._options)]
        self._key_places = [sequence.signals.place_of(signal_column) for _, signal_column in key_columns]
        self._matches_by_keys: dict[tuple[str, ...], tuple[ActorMatch, ...]] = {}
        actor_place = sequence.changes.place_of(sequence.changes.actor)
        self._all_actors = dict.fromkeys(filter(None, map(itemgetter(actor_place), rows)))
        # For each option, the actors by their keys.
        self._actor_tables: list[Mapping[str, Sequence[str]]] = []
        for option, (change_column, _) in zip(self._options, key_columns, strict=True):
            table: dict[str, list[str]] = {}
            if option.kind == "mapping":
                for user, emails in rule.emails_by_user.items():
                    if actors := [email for email in emails if email in self._all_actors]:
                        table[user] = actors
            elif option.kind != "none":
                key_place = sequence.changes.place_of(change_column)
                for key, actor in dict.fromkeys((row[key_place], row[actor_place]) for row in rows):
                    if key and actor:
                        table.setdefault(key, []).append(actor)
            self._actor_tables.append(table)

    def resolve(self, row: Row) -> tuple[ActorMatch, ...]:
        """Returns the actors that the signal may belong to; () if there are none."""
        keys = tuple([row[place] for place in self._key_places])
        if (matches := self._matches_by_keys.get(keys)) is None:
            option_by_actor: dict[str, MatchingOption] = {}
            if self._options[0].kind == "none":
                option_by_actor = dict.fromkeys(self._all_actors, self._options[0])
            for option, table, key in zip(self._options, self._actor_tables, keys, strict=True):
                for actor in table.get(key, ()):
                    option_by_actor.setdefault(actor, option)
            matches = self._matches_by_keys[keys] = tuple(starmap(ActorMatch, option_by_actor.items()))
        return matches

    def group_names(self) -> Callable[[Row], str]:
        """Returns a function that names the group of a signal. All signals of an actor are in the same group.

        Actors who share a signal share a group. If the options read several columns of the signals, any two
        signals may belong together, so there is only one group.
        """
        if len(set(self._key_places)) > 1 or self._options[0].kind == "none":
            return lambda _row: ""
        (key_place,) = set(self._key_places)
        groups, tables = _ActorGroups(), self._actor_tables
        for key in dict.fromkeys(key for table in tables for key in table):
            groups.join([actor for table in tables for actor in table.get(key, ())])

        def group_name(row: Row) -> str:
            actors = next(filter(None, (table.get(row[key_place]) for table in tables)), [row[key_place]])
            return groups.representative(actors[0])

        return group_name


# Takes changes and signals; yields an (actor, signal) pair for each actor that a signal may belong to.
Resolve = Callable[[Iterable[Event], Iterable[Event]], Iterator[tuple[str, Event]]]


def resolver_for(rule: Rule) -> Resolve | None:
    """The function that finds the actors of signals; None if every signal names its actor exactly."""
    if rule.sequence.exact:
        return None

    def resolve(changes: Iterable[Event], signals: Iterable[Event]) -> Iterator[tuple[str, Event]]:
        resolver = ActorResolver(rule, (change.row for change in changes))
        return ((match.actor, signal) for signal in signals for match in resolver.resolve(signal.row))

    return resolve


def count_by_option(
    actor: str, changes: Iterable[Event], signals: Iterable[Event], rule: Rule
) -> dict[str, int]:
    """Counts the signals of an actor by the name of the option that matched them, in the rule's order."""
    signals = list(signals)
    if rule.sequence.exact:
        return {EXACT.name: len(signals)}
    resolver = ActorResolver(rule, (change.row for change in changes))
    options = [
        match.option for signal in signals for match in resolver.resolve(signal.row) if match.actor == actor
    ]
    return {option.name: options.count(option) for option in rule.sequence.identity if option in options}


class _ActorGroups:
    """Groups of actors (union-find). The representative of a group is the first actor that joined it."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}

    def representative(self, actor: str) -> str:
        while (parent := self._parents.get(actor, actor)) != actor:
            actor = parent
        return actor

    def join(self, actors: Sequence[str]) -> None:
        for actor in actors[1:]:
            first_name, actor_name = self.representative(actors[0]), self.representative(actor)
            if first_name != actor_name:
                self._parents[actor_name] = first_name
