"""Keys, their marks, and their incidents.

Incidents follow Sentinel's documented rules (azure-docs, sentinel/scheduled-rules-overview.md): alerts join
the key's incident up to `lookbackDuration` after its *first* alert, at most 150 of them; a closed incident is
never reopened, and the next incident names it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import blake2b
from typing import Literal

from detection.correlation.correlate import Chain, make_chain
from detection.incidents.alert import Action, Alert
from detection.incidents.keys import Grouping, Key, split_by, stable_id
from detection.logs.events import Event
from detection.rules.model import Rule, Severity

ALERTS_PER_INCIDENT = 150  # Sentinel's limit (scheduled-rules-overview.md, "Alert grouping")
HISTORY_LIMIT = 100  # of an incident's history that are kept

Mark = bytes
Classification = Literal["true-positive", "benign", "false-positive", "undetermined"]


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """What somebody did with an incident: who, when (UTC), and why.

    The name is as they said themselves, unless whoever let them in knows it.
    """

    action: Literal["acknowledged", "silenced", "closed"]
    author: str
    time: datetime
    note: str = ""
    self_declared: bool = True


@dataclass(frozen=True, slots=True)
class Incident:
    """Alerts of one key that belong together; `number` counts the key's incidents from 1, times are UTC.

    A closed one says how it was judged, and takes no more alerts. `history` is what people did with it, in
    order. `silenced` pairs of its key paged nobody while it was the newest. `title` is that of its newest
    alert, `severity` that of its worst.
    """

    id: str
    number: int
    opened: datetime
    updated: datetime
    alerts: int
    pairs: int
    predecessor: str | None
    status: Literal["new", "acknowledged", "closed"] = "new"
    classification: Classification | None = None
    history: tuple[HistoryEntry, ...] = ()
    silenced: int = 0
    title: str = ""
    severity: Severity | None = None


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
class Verdict:
    """What to commit for one key: its state as it will be, the new marks with their events, and the alert.

    `new_pairs` holds the alerted pairs as chains; where it is empty there is no alert, and the incident stays
    as it is. `silenced` counts the new pairs that page nobody, by the silence or exclusion. `has_more` says
    that another part follows.
    """

    state: KeyState
    new_pairs: Sequence[Chain]
    change_marks: Mapping[Mark, Event] = field(default_factory=dict)
    signal_marks: Mapping[Mark, Event] = field(default_factory=dict)
    alert: Alert | None = None
    silenced: Mapping[str, int] = field(default_factory=dict)
    has_more: bool = False

    @property
    def pairs(self) -> int:
        """How many pairs the alert holds."""
        return self.alert.counts.pairs if self.alert else 0

    def without_events(self) -> "Verdict":
        """The verdict for the run's record: without the events, of which a long reading has more than fit
        into memory.
        """
        state = replace(self.state, changes=frozenset(), signals=frozenset())
        alert = replace(self.alert, evidence=None) if self.alert else None
        return replace(self, state=state, change_marks={}, signal_marks={}, new_pairs=(), alert=alert)


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


def acknowledged(
    incident: Incident, author: str, time: datetime, note: str = "", *, self_declared: bool = True
) -> Incident:
    """The incident after somebody has taken it on; it goes on taking alerts. A closed one stays closed."""
    entry = HistoryEntry("acknowledged", author, time, note, self_declared)
    status = incident.status if incident.status == "closed" else "acknowledged"
    return replace(incident, status=status, history=(*incident.history, entry)[-HISTORY_LIMIT:])


def silenced(
    incident: Incident, author: str, time: datetime, note: str = "", *, self_declared: bool = True
) -> Incident:
    """The incident after somebody has silenced what it tells of."""
    entry = HistoryEntry("silenced", author, time, note, self_declared)
    return replace(incident, history=(*incident.history, entry)[-HISTORY_LIMIT:])


def closed(
    incident: Incident,
    classification: Classification,
    author: str,
    time: datetime,
    note: str = "",
    *,
    self_declared: bool = True,
) -> Incident:
    """The incident after somebody has judged it; it takes no more alerts."""
    entry = HistoryEntry("closed", author, time, note, self_declared)
    return replace(
        incident,
        status="closed",
        classification=classification,
        history=(*incident.history, entry)[-HISTORY_LIMIT:],
    )


def next_incident(state: KeyState, pairs: int, rule: Rule, now: datetime) -> tuple[Action, Incident]:
    """The incident that an alert at `now` with so many pairs goes into: the accepting one, else the next."""
    current = state.incident
    # Sentinel says "up to" the look-back after the first alert; exactly that is taken to be inside.
    if (
        current
        and current.status != "closed"
        and now <= current.opened + rule.grouping.lookback_duration
        and current.alerts < ALERTS_PER_INCIDENT
    ):
        updated = max(current.updated, now)  # two runs may differ in their moments by a little
        alerts, pairs = current.alerts + 1, current.pairs + pairs
        return "updated", replace(current, updated=updated, alerts=alerts, pairs=pairs)
    number = current.number + 1 if current else 1
    opened = Incident(
        id=stable_id("in", rule, state.key, number),
        number=number,
        opened=now,
        updated=now,
        alerts=1,
        pairs=pairs,
        predecessor=current.id if current else None,
    )
    return "opened", opened


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
