"""What one grouping key gets from one run: which pairs are new, and in which incident.

A pair is new if either of its events is unmarked for the key. Telling it marks both, so memory grows
with events, never with pairs. A key with more new events than fit into one commit is told in parts:
every part marks some events and tells exactly the pairs that thereby become fully marked.

Incidents follow Sentinel's documented rules (azure-docs, sentinel/scheduled-rules-overview.md): alerts
join the key's incident up to `lookbackDuration` after its *first* alert, at most 150 of them; a closed
incident is never reopened, and the next one names it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import blake2b
from itertools import islice
from typing import Literal

from detection.correlation.correlate import Chain, make_chain
from detection.incidents.alert import Action, Alert, AlertIdentity, make_alert
from detection.incidents.keys import Key, stable_id
from detection.logs.events import Event
from detection.logs.window import Windows
from detection.rules.model import Rule, Severity

ALERTS_PER_INCIDENT = 150  # Sentinel's limit (scheduled-rules-overview.md, "Alert grouping")
# Events that one commit marks: 8 bytes each, in base64 2.7 MB of the 4 MiB that a transaction may have.
EVENTS_PER_PART = 250_000

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

    A closed one says how it was judged, and takes no more alerts. `history` is what people did with it, in order.
    `silenced` pairs of its key paged nobody while it was the newest.
    `title` is that of its newest alert, `severity` that of its worst.
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
    `latest_signal` is the latest time of a marked signal. Everything of the key up to `flood_until` counts as alerted, marked or
    not; the marks of signals up to commit `flood_commit` are of no more use. Times are UTC.
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
    """What to commit for one key: its memory as it will be, the new marks with their events, what is told.

    `new_pairs` holds them as chains; where it is empty there is no alert, and the incident stays as
    it is. `has_more` says that another part follows. `silenced` counts the new pairs that page nobody, by what took them.
    """

    state: KeyState
    change_marks: Mapping[Mark, Event]
    signal_marks: Mapping[Mark, Event]
    new_pairs: Sequence[Chain]
    alert: Alert | None
    has_more: bool
    silenced: Mapping[str, int] = field(default_factory=dict)

    @property
    def pairs(self) -> int:
        """How many pairs are told."""
        return self.alert.counts.pairs if self.alert else 0

    def without_events(self) -> "Verdict":
        """What is left to be said of it once it is told: so that memory need not hold all events of a long reading."""
        state = replace(self.state, changes=frozenset(), signals=frozenset())
        alert = replace(self.alert, evidence=None) if self.alert else None
        return replace(self, state=state, change_marks={}, signal_marks={}, new_pairs=(), alert=alert)


def mark(event: Event) -> Mark:
    """Eight bytes for an event's id and own time; among a million, two are equal with a chance of 3 in 10^8."""
    return blake2b(f"{event.id}\0{event.time.isoformat()}".encode(), digest_size=8).digest()


# Of newly marked pairs those that are to be told, and of the others how many were silenced by what.
PairFilter = Callable[[Iterable[Chain]], tuple[list[Chain], Mapping[str, int]]]


def no_filter(chains: Iterable[Chain]) -> tuple[list[Chain], Mapping[str, int]]:
    """All of it is to be told."""
    return list(chains), {}


def group(
    chains: Sequence[Chain],
    state: KeyState,
    rule: Rule,
    windows: Windows,
    limit: int = EVENTS_PER_PART,
    pair_filter: PairFilter = no_filter,
) -> Verdict | None:
    """The next part of what is new for a key, or None; call it again on its memory while there is more.

    The marked events grow from (C, S) to (C', S'), and what is told is exactly the pairs of C' x S' that
    are not of C x S: so every pair is told once, wherever a crash comes between two parts. A silenced pair is
    marked like any other.
    """
    changes, signals = new_events(chains, state)
    if not changes and not signals:
        return None
    new_changes = dict(islice(changes.items(), limit))
    new_signals = dict(islice(signals.items(), limit - len(new_changes)))
    marked_state = replace(
        state,
        commits=state.commits + 1,
        decided_at=windows.now,
        changes=state.changes | new_changes.keys(),
        signals=state.signals | new_signals.keys(),
        latest_signal=_latest(new_signals.values(), state),
    )
    new_pairs, silenced = pair_filter(
        part for chain in chains for part in newly_marked(chain, state, marked_state, rule)
    )
    has_more = len(new_changes) + len(new_signals) < len(changes) + len(signals)
    return conclude(
        Verdict(marked_state, new_changes, new_signals, new_pairs, None, has_more, silenced), rule, windows
    )


def new_events(chains: Sequence[Chain], state: KeyState) -> tuple[dict[Mark, Event], dict[Mark, Event]]:
    """The changes and the signals without a mark, in time order."""
    changes = _unmarked((event for chain in chains for event in chain.changes), state.changes)
    return changes, _unmarked((event for chain in chains for event in chain.signals), state.signals)


def _latest(signals: Iterable[Event], state: KeyState) -> datetime | None:
    """The latest time of these signals and of those that are marked."""
    return max((*(signal.time for signal in signals), *filter(None, [state.latest_signal])), default=None)


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
    if current and _accepts(current, rule, now):
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


def _accepts(incident: Incident, rule: Rule, now: datetime) -> bool:
    """Sentinel says "up to" the look-back after the first alert; exactly that is taken to be inside."""
    in_time = now <= incident.opened + rule.grouping.lookback_duration
    return incident.status != "closed" and in_time and incident.alerts < ALERTS_PER_INCIDENT


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


def conclude(verdict: Verdict, rule: Rule, windows: Windows) -> Verdict:
    """The verdict with its alert if it tells anything; what it silences is counted in the key's incident, if there is one."""
    alerted = _with_alert(verdict, rule, windows) if verdict.new_pairs else verdict
    incident, silenced = alerted.state.incident, sum(verdict.silenced.values())
    if not silenced or incident is None:
        return alerted
    counted = replace(incident, silenced=incident.silenced + silenced)
    return replace(alerted, state=replace(alerted.state, incident=counted))


def _with_alert(verdict: Verdict, rule: Rule, windows: Windows) -> Verdict:
    """The verdict with the alert that tells its pairs, in the incident where it belongs."""
    state = verdict.state
    pairs = sum(chain.count() for chain in verdict.new_pairs)
    action, incident = next_incident(state, pairs, rule, windows.now)
    identity = AlertIdentity(stable_id("al", rule, state.key, state.commits), incident.id, action, state.key)
    new = make_alert(identity, verdict.new_pairs, rule, windows)
    return replace(verdict, state=replace(state, incident=incident), alert=new)
