"""Whose a signal is: the actors of changes that it may be of by the rule's bridges.

The keys of both sides come with the rows, made by the query; here they are only compared. A signal is paired
with every actor that it may be of: two people of one local part are both told of. For each actor the first of the
rule's bridges counts that leads to him.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

from detection.logs.events import Event, Row
from detection.rules.identity import EXACT, MatchingOption
from detection.rules.model import Rule


class ActorMatch(NamedTuple):
    """An actor that a signal may be of, and the bridge that says so."""

    actor: str
    option: MatchingOption


class ActorResolver:
    """Says of the rows of signals whose they are, among the actors of some changes."""

    def __init__(self, rule: Rule, changes: Iterable[Row]) -> None:
        sequence = rule.sequence
        self._options = sequence.identity
        key_columns = [sequence.key_columns(number) for number, _ in enumerate(self._options)]
        rows = list(changes)
        self._all_actors = dict.fromkeys(
            filter(None, map(itemgetter(sequence.changes.place_of(sequence.changes.actor)), rows))
        )
        self._actor_tables = [
            self._actors_by_key(rule, rows, option, sequence.changes.place_of(change_column))
            for option, (change_column, _) in zip(self._options, key_columns, strict=True)
        ]
        self._key_places = [sequence.signals.place_of(signal_column) for _, signal_column in key_columns]
        self._matches_by_keys: dict[tuple[str, ...], tuple[ActorMatch, ...]] = {}

    def resolve(self, row: Row) -> tuple[ActorMatch, ...]:
        """Whose a signal may be; nobody's: ()."""
        keys = tuple([row[place] for place in self._key_places])
        if (matches := self._matches_by_keys.get(keys)) is None:
            matches = self._matches_by_keys[keys] = tuple(self._find_matches(keys))
        return matches

    def group_names(self) -> Callable[[Row], str]:
        """Names for signals so that all those of an actor have one name: whose signals may have several owners, share it.

        Where signals are known by several columns, any of them may belong together, and they all have one name.
        """
        if len(set(self._key_places)) > 1 or self._options[0].kind == "none":
            return lambda _row: ""
        (key_place,) = set(self._key_places)
        groups = _ActorGroups()
        for key in dict.fromkeys(key for table in self._actor_tables for key in table):
            groups.join([actor for table in self._actor_tables for actor in table.get(key, ())])
        tables = self._actor_tables

        def group_name(row: Row) -> str:
            actors = next(filter(None, (table.get(row[key_place]) for table in tables)), [row[key_place]])
            return groups.representative(actors[0])

        return group_name

    def _find_matches(self, keys: tuple[str, ...]) -> Iterator[ActorMatch]:
        if self._options[0].kind == "none":
            yield from (ActorMatch(actor, self._options[0]) for actor in self._all_actors)
            return
        matched_actors: set[str] = set()
        for option, table, key in zip(self._options, self._actor_tables, keys, strict=True):
            for actor in table.get(key, ()):
                if actor not in matched_actors:
                    matched_actors.add(actor)
                    yield ActorMatch(actor, option)

    def _actors_by_key(
        self, rule: Rule, rows: Sequence[Row], option: MatchingOption, place: int
    ) -> Mapping[str, list[str]]:
        """The actors by their keys."""
        if option.kind == "none":
            return {}
        if option.kind == "mapping":
            known_users = (
                (user, [email for email in emails if email in self._all_actors])
                for user, emails in rule.emails_by_user.items()
            )
            return {user: actors for user, actors in known_users if actors}
        actor_place = rule.sequence.changes.place_of(rule.sequence.changes.actor)
        key_actor_pairs = dict.fromkeys(
            (row[place], row[actor_place]) for row in rows if row[place] and row[actor_place]
        )
        actors_by_key: dict[str, list[str]] = {}
        for key, actor in key_actor_pairs:
            actors_by_key.setdefault(key, []).append(actor)
        return actors_by_key


# To whom events of signals belong, one pair for each actor; the changes are those of the actors in question.
Resolve = Callable[[Iterable[Event], Iterable[Event]], Iterator[tuple[str, Event]]]


def resolver_for(rule: Rule) -> Resolve | None:
    """How signals find their actors; None where each is of the actor that it names."""
    if rule.sequence.exact:
        return None

    def resolve(changes: Iterable[Event], signals: Iterable[Event]) -> Iterator[tuple[str, Event]]:
        resolver = ActorResolver(rule, (change.row for change in changes))
        return ((match.actor, signal) for signal in signals for match in resolver.resolve(signal.row))

    return resolve


def count_by_option(
    actor: str, changes: Iterable[Event], signals: Iterable[Event], rule: Rule
) -> dict[str, int]:
    """How many of the signals are an actor's by which bridge, by the bridges' names in the rule's order."""
    signals = list(signals)
    if rule.sequence.exact:
        return {EXACT.name: len(signals)}
    resolver = ActorResolver(rule, (change.row for change in changes))
    options = [
        match.option for signal in signals for match in resolver.resolve(signal.row) if match.actor == actor
    ]
    return {option.name: options.count(option) for option in rule.sequence.identity if option in options}


class _ActorGroups:
    """Actors that belong together, named by the first of them (union-find)."""

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
