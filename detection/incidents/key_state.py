"""The state of a grouping key: its incident, and the events that are marked for it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b

from detection.correlation.correlate import Chain, make_chain
from detection.incidents.incident import Incident
from detection.incidents.keys import Grouping, Key, split_by
from detection.logs.events import Event
from detection.rules.model import Rule

Mark = bytes


@dataclass(frozen=True, slots=True)
class KeyState:
    """What is known of a key: how often it was committed, its newest incident, and the marked events.

    `version` is the store's token for the key's head; None before the first commit. `writer` names the
    reading of the logs that it was last committed from; `run` is that run's number, `decided_at` its moment.
    `latest_signal` is the latest time of a marked signal. Everything of the key up to `flood_until` counts as
    alerted, marked or not; the marks of signals up to commit `flood_commit` are of no more use. Times are
    UTC.
    """

    key: Key
    commits: int = 0
    writer: str = ""
    run: int = 0
    decided_at: datetime | None = None
    incident: Incident | None = None
    changes: frozenset[Mark] = frozenset()
    signals: frozenset[Mark] = frozenset()
    latest_signal: datetime | None = None
    flood_until: datetime | None = None
    flood_commit: int = 0
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Former:
    """How the last complete run grouped, and the states of the keys that the chains had then.

    Marks belong to keys. In the first run after the grouping was edited they belong to the former keys, so a
    pair counts as alerted if both its events are marked for its former key; deciding marks them for the new
    key. Once a run with the new grouping is complete, everything in its windows is marked anew.
    """

    grouping: Grouping
    states: Mapping[Key, KeyState]


def mark(event: Event) -> Mark:
    """Eight bytes for an event's id and own time; two of a million are equal with a chance of 3 in 10^8."""
    return blake2b(f"{event.id}\0{event.time.isoformat()}".encode(), digest_size=8).digest()


def new_events(chains: Sequence[Chain], state: KeyState) -> tuple[dict[Mark, Event], dict[Mark, Event]]:
    """The changes and the signals without a mark, in time order."""
    changes = _unmarked((event for chain in chains for event in chain.changes), state.changes)
    return changes, _unmarked((event for chain in chains for event in chain.signals), state.signals)


def _unmarked(events: Iterable[Event], marked: frozenset[Mark]) -> dict[Mark, Event]:
    marks = {mark(event): event for event in sorted(events, key=lambda event: event.time)}
    return {key: event for key, event in marks.items() if key not in marked}


def newly_marked(chain: Chain, old_state: KeyState, new_state: KeyState, rule: Rule) -> Iterator[Chain]:
    """The pairs of a chain that are marked in full after but not before, as up to two chains."""
    changes = [(event, mark(event)) for event in chain.changes]
    signals = [(event, mark(event)) for event in chain.signals]
    old_changes = [event for event, key in changes if key in old_state.changes]
    new_changes = [
        event for event, key in changes if key in new_state.changes and key not in old_state.changes
    ]
    marked_signals = [event for event, key in signals if key in new_state.signals]
    new_signals = [
        event for event, key in signals if key in new_state.signals and key not in old_state.signals
    ]
    for part_changes, part_signals in ((new_changes, marked_signals), (old_changes, new_signals)):
        part = make_chain(chain.actor, part_changes, part_signals, rule.sequence.within, once=chain.once)
        if part.spans:
            yield part


def not_yet_alerted(chains: Iterable[Chain], former: Former, rule: Rule) -> Iterator[Chain]:
    """The pairs of the chains that were not alerted under their former keys, as chains."""
    for chain in chains:
        for key, part in split_by(chain, former.grouping, rule):
            state = former.states[key]
            for later in after_flood([part], state.flood_until, rule):
                changes, signals = frozenset(map(mark, later.changes)), frozenset(map(mark, later.signals))
                yield from newly_marked(later, state, KeyState(key, changes=changes, signals=signals), rule)


def after_flood(chains: Sequence[Chain], until: datetime | None, rule: Rule) -> Sequence[Chain]:
    """The pairs of a key's chains whose signals came after `until`; all of them where it is None."""
    if until is None or all(chain.signals[0].time > until for chain in chains):
        return chains
    later = (
        make_chain(
            chain.actor,
            chain.changes,
            [signal for signal in chain.signals if signal.time > until],
            rule.sequence.within,
            once=chain.once,
        )
        for chain in chains
    )
    return [part for part in later if part.spans]
