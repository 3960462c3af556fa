"""The decision of a run for one grouping key: which pairs are new, which alert and incident they make.

A pair is new if either of its events is unmarked for the key. Alerting it marks both, so marks grow with
events, never with pairs. A key with more new events than fit into one commit is alerted in parts: each part
marks some events and alerts exactly the pairs that thereby become fully marked.

A key never keeps more marks of signals than a limit. Where new signals would exceed it, the actor with the
most signals floods, then the next, until the marks of the others fit. A flood alerts all new pairs of its
actor at once and marks nothing: the time from its first to its last signal counts as alerted for that actor,
rows that arrive later too (floods.py). Pairs of other actors, and of other times, are decided as ever.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain as joined
from itertools import islice

from detection.correlation.correlate import Chain
from detection.correlation.detection import Detection
from detection.correlation.thresholds import split_by_kind
from detection.incidents.alert import Action, Alert, AlertIdentity, make_alert
from detection.incidents.floods import (
    SIGNALS_PER_KEY,
    actor_digest,
    after_flood,
    chains_by_actor,
    floods_of,
    merge_floods,
)
from detection.incidents.incident import ALERTS_PER_INCIDENT, Incident
from detection.incidents.key_state import (
    GroupingMarks,
    KeyState,
    merge_in_time_order,
    new_events,
    newly_marked,
    not_yet_alerted,
    own_pairs,
    split_by_past_threshold,
)
from detection.incidents.keys import Key, group_by_key, grouping_of, stable_id
from detection.incidents.marks import Mark, with_marks
from detection.incidents.severity import ChangesByActor, with_severity
from detection.incidents.silencing import drop_silenced
from detection.logs.events import Event
from detection.logs.window import Window, Windows
from detection.rules.model import Rule
from detection.rules.silences import Silence

FLOOD = 500_000  # signals of a key that are marked one by one
# Events that one commit marks: 8 bytes each, in base64 2.7 MB of the 4 MiB that a transaction may have.
EVENTS_PER_PART = 250_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to commit for one key: its state as it will be, the new marks with their events, and the alert.

    `new_pairs` holds the alerted pairs as chains; where it is empty there is no alert, and the incident stays
    as it is. `silenced` counts the new pairs that page nobody, by the silence or exclusion;
    `silenced_by_actor` counts those of silences by actor. `has_more` says that another part follows.
    """

    state: KeyState
    new_pairs: Sequence[Chain]
    change_marks: Mapping[Mark, Event] = field(default_factory=dict)
    signal_marks: Mapping[Mark, Event] = field(default_factory=dict)
    alert: Alert | None = None
    silenced: Mapping[str, int] = field(default_factory=dict)
    silenced_by_actor: Mapping[str, int] = field(default_factory=dict)
    has_more: bool = False

    @property
    def pairs(self) -> int:
        """How many pairs the alert holds."""
        return self.alert.counts.pairs if self.alert else 0

    def without_events(self) -> "Verdict":
        """The verdict for the run's record: without the events, of which a long reading has more than fit
        into memory.
        """
        state = replace(self.state, changes={}, signals={})
        alert = replace(self.alert, evidence=None) if self.alert else None
        return replace(self, state=state, change_marks={}, signal_marks={}, new_pairs=(), alert=alert)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a decision goes by besides a key's chains and state.

    `changes_by_actor` are all changes that were read. `silences` are those of the rule, exclusions too.
    `groupings` are those with marks, the rule's own too. Of a chunk (`is_chunk`) the run sees some signals of
    an actor only, who has too many to be read at once. `open_gaps` are left to other readings.
    """

    rule: Rule
    windows: Windows
    changes_by_actor: ChangesByActor = field(default_factory=dict)
    silences: Sequence[Silence] = ()
    groupings: Sequence[GroupingMarks] = ()
    is_chunk: bool = False
    events_per_part: int = EVENTS_PER_PART
    flood_signals: int = FLOOD
    open_gaps: Sequence[Window] = ()

    @property
    def new_signals(self) -> Sequence[Window]:
        """Where unmarked signals alert: outside the gaps."""
        return self.windows.new_signals(self.open_gaps)


def decide(chains: Sequence[Chain], circumstances: Circumstances, state: KeyState) -> Verdict | None:
    """What to commit next for the key with this state, or None; decide again on the new state while there is
    more.

    Marked changes and signals grow from (C, S) to (C', S'), and the alert holds exactly the pairs of C' x S'
    that are not in C x S: so every pair is alerted once, wherever a crash comes between two parts. Silenced
    pairs are marked, too.
    """
    rule, windows = circumstances.rule, circumstances.windows
    chains, ordinary = _new_events(chains, circumstances, state)
    if not ordinary:
        return None
    flooding = {
        actor: ordinary.pop(actor) for actor in _flooding_actors(chains, ordinary, circumstances, state)
    }
    flood_pairs = {actor: events.new_pairs(state, rule) for actor, events in flooding.items()}
    floods = {
        actor: floods_of(
            actor, pairs, circumstances.new_signals, (SIGNALS_PER_KEY - len(state.floods)) // len(flooding)
        )
        for actor, pairs in flood_pairs.items()
    }
    changes = merge_in_time_order([events.changes for events in ordinary.values()])
    signals = merge_in_time_order([events.signals for events in ordinary.values()])
    limit = circumstances.events_per_part
    new_changes = dict(islice(changes.items(), limit))
    new_signals = dict(islice(signals.items(), limit - len(new_changes)))
    marked = replace(
        state.mark(new_changes, new_signals),
        commits=state.next_commit(windows.now),
        decided_at=windows.now,
        floods=merge_floods([*state.floods, *joined.from_iterable(floods.values())]),
    )
    ordinary_chains = joined.from_iterable(events.chains for events in ordinary.values())
    new_pairs: Iterator[Chain] = joined(
        joined.from_iterable(flood_pairs.values()),
        (part for chain in ordinary_chains for part in newly_marked(chain, state, marked, rule)),
    )
    for marks in circumstances.groupings:
        if marks.grouping != grouping_of(rule):
            new_pairs = not_yet_alerted(new_pairs, marks, rule)
    remaining, silenced, silenced_by_actor = drop_silenced(new_pairs, circumstances.silences, rule)
    # The next part moves the marks of flooding actors whose events moved to a later day.
    has_moved = any(events.has_moved for events in flooding.values())
    has_more = has_moved or len(new_changes) + len(new_signals) < len(changes) + len(signals)
    verdict = Verdict(
        marked,
        remaining,
        new_changes,
        new_signals,
        silenced=silenced,
        silenced_by_actor=silenced_by_actor,
        has_more=has_more,
    )
    if remaining:
        actor = remaining[0].actor
        ends = (flood.end for flood in floods.get(actor, ()) if flood.subject == actor_digest(actor))
        verdict = _with_alert(verdict, circumstances, next(ends, None))
    if silenced and (incident := verdict.state.incident):  # counted in the key's incident, if there is one
        counted = replace(incident, silenced=incident.silenced + sum(silenced.values()))
        verdict = replace(verdict, state=replace(verdict.state, incident=counted))
    return verdict


def keep_past_threshold(detection: Detection, circumstances: Circumstances) -> Detection:
    """The detection with the chains of changes that are below an edited threshold and were alerted before:
    these stay past it.
    """
    rule = circumstances.rule
    split = [split_by_past_threshold(chain, circumstances.groupings, rule) for chain in detection.below]
    return replace(
        detection,
        chains=[*detection.chains, *(past for past, _ in split if past.spans)],
        below=[below for _, below in split if below.spans],
    )


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision on a grouping key, for whatever state the key is in when it is committed."""

    chains: Sequence[Chain]
    circumstances: Circumstances

    def verdict(self, state: KeyState) -> Verdict | None:
        """What `decide` says of the state."""
        return decide(self.chains, self.circumstances, state)

    def has_new_events(self, state: KeyState) -> bool:
        """Whether the state lacks marks, so that there may be a verdict. The state need not have floods."""
        return bool(_new_events(self.chains, self.circumstances, state)[1])


def decisions(detection: Detection, circumstances: Circumstances) -> dict[Key, Decision]:
    """The decision for each grouping key of the chains."""
    chains_by_key = group_by_key(detection.chains, circumstances.rule)
    return {key: Decision(chains, circumstances) for key, chains in chains_by_key.items()}


def _new_events(
    chains: Iterable[Chain], circumstances: Circumstances, state: KeyState
) -> tuple[Sequence[Chain], dict[str, "_ActorEvents"]]:
    """The chains whose pairs this run may alert, each of one kind; and the events of each actor, if any is to
    be marked.
    """
    rule = circumstances.rule
    chains = [part for chain in chains for part in split_by_kind(chain, rule) if part.spans]
    chains = [
        part for chain in chains if (part := own_pairs(chain, circumstances.new_signals, state, rule)).spans
    ]
    ordinary = {
        actor: _ActorEvents(actor_chains, state)
        for actor, actor_chains in chains_by_actor(after_flood(chains, state.floods, rule)).items()
    }
    has_new = any(events.changes or events.signals for events in ordinary.values())
    return chains, ordinary if has_new else {}


class _ActorEvents:
    """The chains of an actor in a key with their marks, and the events to mark in them, in time order.

    `new_changes` and `new_signals` count these without the events whose mark moves to a later day.
    """

    def __init__(self, chains: Sequence[Chain], state: KeyState) -> None:
        self.chains = list(map(with_marks, chains))
        self.changes, self.signals = new_events(self.chains, state)
        self.new_changes = len(self.changes) - sum(map(state.changes.__contains__, self.changes))
        self.new_signals = len(self.signals) - sum(map(state.signals.__contains__, self.signals))

    @property
    def has_moved(self) -> bool:
        """Whether a mark moves to a later day."""
        return len(self.changes) + len(self.signals) > self.new_changes + self.new_signals

    def new_pairs(self, state: KeyState, rule: Rule) -> list[Chain]:
        """All new pairs, as chains."""
        marked = state.mark(self.changes, self.signals)
        return [part for chain in self.chains for part in newly_marked(chain, state, marked, rule)]


def _flooding_actors(
    chains: Sequence[Chain],
    actors: Mapping[str, _ActorEvents],
    circumstances: Circumstances,
    state: KeyState,
) -> Sequence[str]:
    """The actors that flood now, those with the most signals in view first; mostly none.

    In a chunk every actor with a new event floods: the chunk does not show all signals of a change, so the
    change cannot be marked. Otherwise actors flood until the new signals of all others fit into the limit.
    """
    if circumstances.is_chunk:
        return [actor for actor, events in actors.items() if events.new_changes or events.new_signals]
    excess = len(state.signals) - circumstances.flood_signals
    excess += sum(events.new_signals for events in actors.values())
    if excess <= 0:
        return ()
    signals_in_view = {
        actor: len({signal.id for chain in actor_chains for signal in chain.signals})
        for actor, actor_chains in chains_by_actor(chains).items()
    }
    flooding: list[str] = []
    for actor in sorted(actors, key=lambda actor: (-signals_in_view[actor], actor)):
        if actors[actor].new_signals and excess > 0:
            flooding.append(actor)
            excess -= actors[actor].new_signals
    return flooding


def _with_alert(verdict: Verdict, circumstances: Circumstances, flood_until: datetime | None) -> Verdict:
    """The verdict with the alert for its new pairs, in its incident, with its severity."""
    rule, windows, state = circumstances.rule, circumstances.windows, verdict.state
    pairs = sum(chain.count() for chain in verdict.new_pairs)
    action, incident = next_incident(state, pairs, rule, windows.now)
    identity = AlertIdentity(stable_id("al", rule, state.key, state.commits), incident.id, action, state.key)
    alert = make_alert(identity, verdict.new_pairs, rule, windows)
    alert = with_severity(alert, verdict.new_pairs, rule, circumstances.changes_by_actor)
    alert = replace(alert, flood_until=flood_until)
    return replace(verdict, state=replace(state, incident=incident), alert=alert)


def next_incident(state: KeyState, pairs: int, rule: Rule, now: datetime) -> tuple[Action, Incident]:
    """The incident that an alert at `now` joins: the key's current incident, or else a new one.

    `state` is the state after the commit, whose number makes the id of a new incident.
    """
    current = state.incident
    # Sentinel says "up to" the look-back after the first alert; exactly that is taken to be inside.
    if (
        current
        and current.takes_alerts
        and now <= current.opened + rule.grouping.lookback_duration
        and current.alerts < ALERTS_PER_INCIDENT
    ):
        updated = max(current.updated, now)  # two runs may differ in their moments by a little
        alerts, pairs = current.alerts + 1, current.pairs + pairs
        return "updated", replace(current, updated=updated, alerts=alerts, pairs=pairs)
    opened = Incident(
        id=stable_id("in", rule, state.key, state.commits),
        number=current.number + 1 if current else 1,
        opened=now,
        updated=now,
        alerts=1,
        pairs=pairs,
        predecessor=current.id if current else None,
    )
    return "opened", opened
