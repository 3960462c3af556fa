"""The state of a grouping key: its incident, and the events that are marked for it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from itertools import chain as joined
from itertools import groupby

from detection.correlation.correlate import Chain
from detection.incidents.floods import Flood, after_flood
from detection.incidents.incident import Incident
from detection.incidents.keys import Grouping, Key, split_by
from detection.incidents.marks import (
    NO_MARKS,
    Mark,
    MarkedChain,
    Marks,
    change_marks,
    signal_marks,
    with_marks,
)
from detection.logs.events import Event
from detection.logs.window import Window, holds
from detection.rules.model import Rule


@dataclass(frozen=True, slots=True)
class KeyState:
    """What is known of a key: the number of its last commit, its newest incident, and the marked events.

    `version` is the store's token for the key's head; None before the first commit. `writer` names the
    reading of the logs that it was last committed from; `run` is that run's number, `decided_at` its moment.
    Signals in `floods` count as alerted, marked or not. `stored_incident` is the incident as it was loaded.
    Times are UTC.
    """

    key: Key
    commits: int = 0
    writer: str = ""
    run: int = 0
    decided_at: datetime | None = None
    incident: Incident | None = None
    changes: Marks = field(default_factory=dict)
    signals: Marks = field(default_factory=dict)
    floods: tuple[Flood, ...] = ()
    version: str | None = None
    stored_incident: Incident | None = None

    def next_commit(self, now: datetime) -> int:
        """The number of the key's next commit. The first is `now` in whole seconds since 1970.

        So the number of a commit never returns, and no id that is made of it, even after the key's rows were
        deleted at the end of their retention.
        """
        return self.commits + 1 if self.commits else int(now.timestamp())

    def mark(self, changes: Mapping[Mark, Event], signals: Mapping[Mark, Event]) -> "KeyState":
        """The state with these events marked."""
        return replace(
            self,
            changes={**self.changes, **_days_of(changes)},
            signals={**self.signals, **_days_of(signals)},
        )


@dataclass(frozen=True, slots=True)
class GroupingMarks:
    """A grouping for whose keys marks are kept; `load` returns the state of such a key.

    Marks belong to keys. After the grouping was edited, earlier marks belong to former keys: a pair counts as
    alerted if both its events are marked for its key of any grouping. Deciding marks them for the new key.
    """

    grouping: Grouping
    load: Callable[[Key], KeyState]


def new_events(chains: Sequence[MarkedChain], state: KeyState) -> tuple[dict[Mark, Event], dict[Mark, Event]]:
    """The changes and the signals to mark, in time order: those without a mark, and those whose mark would be
    deleted too soon, with an earlier day.

    An event moves to a later day where its row is delivered again under a new stamp, and the first row is out
    of the window.
    """
    changes = joined.from_iterable(zip(marks, chain.changes, strict=True) for chain, marks, _ in chains)
    signals = joined.from_iterable(zip(marks, chain.signals, strict=True) for chain, _, marks in chains)
    return _unmarked(changes, state.changes), _unmarked(signals, state.signals)


def _unmarked(events: Iterable[tuple[Mark, Event]], marks: Marks) -> dict[Mark, Event]:
    return _in_time_order(
        (mark, event) for mark, event in events if (day := marks.get(mark)) is None or day < event.time.date()
    )


def _in_time_order(events: Iterable[tuple[Mark, Event]]) -> dict[Mark, Event]:
    return dict(sorted(events, key=lambda mark_and_event: mark_and_event[1].time))


def merge_in_time_order(actors: Sequence[Mapping[Mark, Event]]) -> Mapping[Mark, Event]:
    """The events of all actors by their marks, in the order of their times, as those of each actor are."""
    if len(actors) == 1:
        return actors[0]
    return _in_time_order(joined.from_iterable(events.items() for events in actors))


def marks_by_day(events: Mapping[Mark, Event]) -> Iterator[tuple[date, list[Mark]]]:
    """The marks of events by the day (UTC), in their order; of events in time order each day comes once."""
    for day, group in groupby(events.items(), key=lambda mark_and_event: mark_and_event[1].time.date()):
        yield day, [mark for mark, _ in group]


def _days_of(events: Mapping[Mark, Event]) -> Marks:
    return {mark: event.time.date() for mark, event in events.items()}


def newly_marked(
    marked: MarkedChain, old_state: KeyState, new_state: KeyState, rule: Rule
) -> Iterator[Chain]:
    """The pairs of a chain that are marked in full after but not before, as up to two chains."""
    chain = marked.chain
    old_changes = _events_in(old_state.changes, chain.changes, marked.change_marks)
    new_changes = _events_in(new_state.changes, chain.changes, marked.change_marks, old_state.changes)
    marked_signals = _events_in(new_state.signals, chain.signals, marked.signal_marks)
    new_signals = _events_in(new_state.signals, chain.signals, marked.signal_marks, old_state.signals)
    for part_changes, part_signals in ((new_changes, marked_signals), (old_changes, new_signals)):
        if part_changes and part_signals:
            part = chain.part(part_changes, part_signals, rule.sequence.within)
            if part.spans:
                yield part


def _events_in(
    marks: Marks, events: Sequence[Event], event_marks: Sequence[Mark], excluded: Marks = NO_MARKS
) -> list[Event]:
    """The events whose marks are in `marks` and not in `excluded`."""
    return [
        event
        for event, mark in zip(events, event_marks, strict=True)
        if mark in marks and mark not in excluded
    ]


def not_yet_alerted(chains: Iterable[Chain], former: GroupingMarks, rule: Rule) -> Iterator[Chain]:
    """The pairs of the chains that were not alerted under their keys of a former grouping, as chains."""
    for chain in chains:
        for key, part in split_by(chain, former.grouping, rule):
            state = former.load(key)
            for later in after_flood([part], state.floods, rule):
                marked, unmarked = with_marks(later), KeyState(key)
                whole = unmarked.mark(*new_events([marked], unmarked))
                yield from newly_marked(marked, state, whole, rule)


def split_by_past_threshold(
    chain: Chain, groupings: Iterable[GroupingMarks], rule: Rule
) -> tuple[Chain, Chain]:
    """The pairs of the changes that were marked for the chain's kind, and those of the other changes.

    Marked changes stay past an edited threshold. The chain is whole: a threshold belongs to the change, which
    may have a mark in some of its keys only.
    """
    marked: set[Mark] = set()
    for marks in groupings:
        marked.update(*(marks.load(key).changes for key, _ in split_by(chain, marks.grouping, rule)))
    past: list[Event] = []
    below: list[Event] = []
    for event, mark in zip(chain.changes, change_marks(chain), strict=True):
        (past if mark in marked else below).append(event)
    past_chain, below_chain = (
        chain.part(changes, chain.signals, rule.sequence.within) for changes in (past, below)
    )
    return past_chain, below_chain


def own_pairs(chain: Chain, windows: Sequence[Window], state: KeyState, rule: Rule) -> Chain:
    """The pairs whose signals lie in the windows, or are marked.

    Another run reads the unmarked ones outside, with all their changes. Marked ones are not left to it: it
    would find the change marked too, and take the pair for alerted.
    """
    if any(all(holds(window, chain.signals[end].time) for end in (0, -1)) for window in windows):
        return chain
    signals = [
        signal
        for signal, mark in zip(chain.signals, signal_marks(chain), strict=True)
        if mark in state.signals or any(holds(window, signal.time) for window in windows)
    ]
    return chain.part(chain.changes, signals, rule.sequence.within)
