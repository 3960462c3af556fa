"""The decision of a run for one grouping key: which pairs are new, which alert and incident they make.

A pair is new if either of its events is unmarked for the key. Alerting it marks both, so marks grow with
events, never with pairs. A key with more new events than fit into one commit is alerted in parts: each part
marks some events and alerts exactly the pairs that thereby become fully marked.

A key with more signals than are marked one by one is a flood. Its marks become a time: everything of the key
up to there counts as alerted, rows that arrive later too. Signals after that time are marked again, one by
one. So a key never keeps more marks of signals than the limit.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from itertools import islice

from detection.correlation.correlate import Chain
from detection.correlation.detection import Detection
from detection.correlation.thresholds import split_by_kind
from detection.incidents.alert import Action, Alert, AlertIdentity, make_alert
from detection.incidents.incident import ALERTS_PER_INCIDENT, Incident
from detection.incidents.key_state import (
    Former,
    KeyState,
    Mark,
    after_flood,
    days_of,
    new_events,
    newly_marked,
    not_yet_alerted,
    past_threshold,
)
from detection.incidents.keys import Key, group_by_key, stable_id
from detection.incidents.severity import ChangesByActor, with_severity
from detection.incidents.silencing import drop_silenced
from detection.logs.events import Event
from detection.logs.window import Windows
from detection.rules.model import Rule
from detection.rules.silences import Silence

FLOOD = 500_000  # signals of a key that are marked one by one
# Events that one commit marks: 8 bytes each, in base64 2.7 MB of the 4 MiB that a transaction may have.
EVENTS_PER_PART = 250_000


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
        state = replace(self.state, changes={}, signals={})
        alert = replace(self.alert, evidence=None) if self.alert else None
        return replace(self, state=state, change_marks={}, signal_marks={}, new_pairs=(), alert=alert)


# Decides on the present state of a key.
Decide = Callable[[KeyState], Verdict | None]


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a decision goes by besides a key's chains and state.

    `changes_by_actor` are all changes that were read. `silences` are those of the rule, exclusions too.
    `former` is set while the rule's grouping is another than that of the last complete run. Of a chunk
    (`is_chunk`) the run sees some signals of an actor only, who has too many to be read at once.
    """

    rule: Rule
    windows: Windows
    changes_by_actor: ChangesByActor = field(default_factory=dict)
    silences: Sequence[Silence] = ()
    former: Former | None = None
    is_chunk: bool = False
    events_per_part: int = EVENTS_PER_PART
    flood_signals: int = FLOOD


def decide(
    chains: Sequence[Chain], circumstances: Circumstances, state: KeyState, below: Sequence[Chain] = ()
) -> Verdict | None:
    """What to commit next for the key with this state, or None; decide again on the new state while there is
    more. `below` are the chains of changes below their threshold.

    Marked changes and signals grow from (C, S) to (C', S'), and the alert holds exactly the pairs of C' x S'
    that are not in C x S: so every pair is alerted once, wherever a crash comes between two parts. Silenced
    pairs are marked, too.
    """
    rule, windows = circumstances.rule, circumstances.windows
    chains = [
        *(part for chain in chains for part in split_by_kind(chain, rule)),
        *(past_threshold(chain, state, circumstances.former, rule) for chain in below),
    ]
    chains = after_flood([chain for chain in chains if chain.spans], state.flood_until, rule)
    changes, signals = new_events(chains, state)
    if not changes and not signals:
        return None
    is_flood = circumstances.is_chunk or len(state.signals) + len(signals) > circumstances.flood_signals
    limit = len(changes) + len(signals) if is_flood else circumstances.events_per_part
    new_changes = dict(islice(changes.items(), limit))
    new_signals = dict(islice(signals.items(), limit - len(new_changes)))
    marked = replace(
        state,
        commits=state.commits + 1,
        decided_at=windows.now,
        changes={**state.changes, **days_of(new_changes)},
        signals={**state.signals, **days_of(new_signals)},
        latest_signal=max(
            (*(signal.time for signal in new_signals.values()), *filter(None, [state.latest_signal])),
            default=None,
        ),
    )
    new_pairs: Iterator[Chain] = (
        part for chain in chains for part in newly_marked(chain, state, marked, rule)
    )
    if circumstances.former:
        new_pairs = not_yet_alerted(new_pairs, circumstances.former, rule)
    remaining, silenced = drop_silenced(new_pairs, circumstances.silences, rule)
    if is_flood:
        verdict = Verdict(_flooded(chains, state, windows), remaining, silenced=silenced)
    else:
        has_more = len(new_changes) + len(new_signals) < len(changes) + len(signals)
        verdict = Verdict(marked, remaining, new_changes, new_signals, silenced=silenced, has_more=has_more)
    if remaining:
        verdict = _with_alert(
            verdict, circumstances, flood_until=verdict.state.flood_until if is_flood else None
        )
    if silenced and (incident := verdict.state.incident):  # counted in the key's incident, if there is one
        counted = replace(incident, silenced=incident.silenced + sum(silenced.values()))
        verdict = replace(verdict, state=replace(verdict.state, incident=counted))
    return verdict


def decisions(detection: Detection, circumstances: Circumstances) -> dict[Key, Decide]:
    """The decision for each grouping key of the chains, for whatever state the key is in when it is
    committed.
    """
    chains = group_by_key(detection.chains, circumstances.rule)
    below = group_by_key(detection.below, circumstances.rule)
    return {
        key: partial(decide, chains.get(key, ()), circumstances, below=below.get(key, ()))
        for key in dict.fromkeys([*chains, *below])  # in the order of the logs
    }


def _flooded(chains: Sequence[Chain], state: KeyState, windows: Windows) -> KeyState:
    """The state after a flood: its marks are of no more use, unless some lie beyond the flood's end.

    They do where a clock went back, or where a chunk does not see all signals.
    """
    until, commit = max(chain.signals[-1].time for chain in chains), state.commits + 1
    beyond = state.latest_signal is not None and state.latest_signal > until
    return replace(
        state,
        commits=commit,
        decided_at=windows.now,
        latest_signal=max(until, state.latest_signal or until),
        flood_until=until,
        flood_commit=state.flood_commit if beyond else commit,
    )


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
    """The incident that an alert at `now` joins: the key's current incident, or else a new one."""
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
