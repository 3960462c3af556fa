"""What one grouping key gets from one run: which pairs are new, and in which incident. Pure.

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

from detection.correlate import Chain, chain
from detection.events import Event
from detection.incidents.alert import Action, Alert, Identity, alert
from detection.incidents.keys import Key, identity
from detection.rule import Rule
from detection.window import Windows

ALERTS_PER_INCIDENT = 150  # Sentinel's limit (scheduled-rules-overview.md, "Alert grouping")
# Events that one commit marks: 8 bytes each, in base64 2.7 MB of the 4 MiB that a transaction may have.
EVENTS_PER_PART = 250_000

ACTS = 100  # of an incident's history that are kept

Mark = bytes
Classification = Literal["true-positive", "benign", "false-positive", "undetermined"]


@dataclass(frozen=True, slots=True)
class Act:
    """What somebody did with an incident: who, as they said themselves, when (UTC), and why."""

    what: Literal["acknowledged", "silenced", "closed"]
    by: str
    at: datetime
    note: str = ""


@dataclass(frozen=True, slots=True)
class Incident:
    """Alerts of one key that belong together; `number` counts the key's incidents from 1, times are UTC.

    A closed one says how it was judged, and takes no more alerts. `history` is what people did with it, in order.
    `silenced` pairs of its key paged nobody while it was the newest.
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
    history: tuple[Act, ...] = ()
    silenced: int = 0


@dataclass(frozen=True, slots=True)
class Memory:
    """What is known of a key: how often it was committed, its newest incident, and the marked events.

    `version` is the store's token for the key's head; None before the first commit. `writer` names the
    reading of the logs that it was last committed from; `run` is that run's number, `judged` its moment.
    `latest` is the latest time of a marked signal. Everything of the key up to `flood` counts as told, marked or
    not; the marks of signals up to commit `flooded` are of no more use. Times are UTC.
    """

    key: Key
    commits: int = 0
    writer: str = ""
    run: int = 0
    judged: datetime | None = None
    incident: Incident | None = None
    changes: frozenset[Mark] = frozenset()
    signals: frozenset[Mark] = frozenset()
    latest: datetime | None = None
    flood: datetime | None = None
    flooded: int = 0
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to commit for one key: its memory as it will be, the new marks with their events, what is told.

    `told` holds the new pairs as chains; where it is empty there is no alert, and the incident stays as
    it is. `more` says that another part follows. `silenced` counts the new pairs that page nobody, by what took them.
    """

    memory: Memory
    change_marks: Mapping[Mark, Event]
    signal_marks: Mapping[Mark, Event]
    told: Sequence[Chain]
    alert: Alert | None
    more: bool
    silenced: Mapping[str, int] = field(default_factory=dict)

    @property
    def pairs(self) -> int:
        """How many pairs are told."""
        return self.alert.counts.pairs if self.alert else 0

    def without_events(self) -> "Verdict":
        """What is left to be said of it once it is told: so that memory need not hold all events of a long reading."""
        memory = replace(self.memory, changes=frozenset(), signals=frozenset())
        return replace(self, memory=memory, change_marks={}, signal_marks={}, told=())


def mark(event: Event) -> Mark:
    """Eight bytes for an event's id and own time; among a million, two are equal with a chance of 3 in 10^8."""
    return blake2b(f"{event.id}\0{event.time.isoformat()}".encode(), digest_size=8).digest()


# Of newly marked pairs those that are to be told, and of the others how many were silenced by what.
Sift = Callable[[Iterable[Chain]], tuple[list[Chain], Mapping[str, int]]]


def everything(chains: Iterable[Chain]) -> tuple[list[Chain], Mapping[str, int]]:
    """All of it is to be told."""
    return list(chains), {}


def group(
    chains: Sequence[Chain],
    memory: Memory,
    rule: Rule,
    windows: Windows,
    limit: int = EVENTS_PER_PART,
    sift: Sift = everything,
) -> Verdict | None:
    """The next part of what is new for a key, or None; call it again on its memory while there is more.

    The marked events grow from (C, S) to (C', S'), and what is told is exactly the pairs of C' x S' that
    are not of C x S: so every pair is told once, wherever a crash comes between two parts. A silenced pair is
    marked like any other.
    """
    changes, signals = new_events(chains, memory)
    if not changes and not signals:
        return None
    new_changes = dict(islice(changes.items(), limit))
    new_signals = dict(islice(signals.items(), limit - len(new_changes)))
    after = replace(
        memory,
        commits=memory.commits + 1,
        judged=windows.now,
        changes=memory.changes | new_changes.keys(),
        signals=memory.signals | new_signals.keys(),
        latest=_latest(new_signals.values(), memory),
    )
    told, silenced = sift(part for one in chains for part in newly_marked(one, memory, after, rule))
    more = len(new_changes) + len(new_signals) < len(changes) + len(signals)
    return concluded(Verdict(after, new_changes, new_signals, told, None, more, silenced), rule, windows)


def new_events(chains: Sequence[Chain], memory: Memory) -> tuple[dict[Mark, Event], dict[Mark, Event]]:
    """The changes and the signals without a mark, in time order."""
    changes = _unmarked((event for one in chains for event in one.changes), memory.changes)
    return changes, _unmarked((event for one in chains for event in one.signals), memory.signals)


def _latest(signals: Iterable[Event], memory: Memory) -> datetime | None:
    """The latest time of these signals and of those that are marked."""
    return max((*(signal.time for signal in signals), *filter(None, [memory.latest])), default=None)


def acknowledged(incident: Incident, by: str, at: datetime, note: str = "") -> Incident:
    """The incident after somebody has taken it on; it goes on taking alerts. A closed one stays closed."""
    act = Act("acknowledged", by, at, note)
    status = incident.status if incident.status == "closed" else "acknowledged"
    return replace(incident, status=status, history=(*incident.history, act)[-ACTS:])


def silenced(incident: Incident, by: str, at: datetime, note: str = "") -> Incident:
    """The incident after somebody has silenced what it tells of."""
    return replace(incident, history=(*incident.history, Act("silenced", by, at, note))[-ACTS:])


def closed(
    incident: Incident, classification: Classification, by: str, at: datetime, note: str = ""
) -> Incident:
    """The incident after somebody has judged it; it takes no more alerts."""
    act = Act("closed", by, at, note)
    return replace(
        incident, status="closed", classification=classification, history=(*incident.history, act)[-ACTS:]
    )


def next_incident(memory: Memory, pairs: int, rule: Rule, now: datetime) -> tuple[Action, Incident]:
    """The incident that an alert at `now` with so many pairs goes into: the accepting one, else the next."""
    current = memory.incident
    if current and _accepts(current, rule, now):
        updated = max(current.updated, now)  # two runs may differ in their moments by a little
        alerts, pairs = current.alerts + 1, current.pairs + pairs
        return "updated", replace(current, updated=updated, alerts=alerts, pairs=pairs)
    number = current.number + 1 if current else 1
    opened = Incident(
        id=identity("in", rule, memory.key, number),
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


def newly_marked(one: Chain, before: Memory, after: Memory, rule: Rule) -> Iterator[Chain]:
    """The pairs of a chain that are marked in full after but not before, as up to two chains."""
    changes = [(event, mark(event)) for event in one.changes]
    signals = [(event, mark(event)) for event in one.signals]
    known = [event for event, key in changes if key in before.changes]
    fresh = [event for event, key in changes if key in after.changes and key not in before.changes]
    reached = [event for event, key in signals if key in after.signals]
    arrived = [event for event, key in signals if key in after.signals and key not in before.signals]
    for some, others in ((fresh, reached), (known, arrived)):
        part = chain(one.actor, some, others, rule.sequence.within, once=one.once)
        if part.spans:
            yield part


def concluded(verdict: Verdict, rule: Rule, windows: Windows) -> Verdict:
    """The verdict with its alert if it tells anything; what it silences is counted in the key's incident, if there is one."""
    told = _with_alert(verdict, rule, windows) if verdict.told else verdict
    incident, silenced = told.memory.incident, sum(verdict.silenced.values())
    if not silenced or incident is None:
        return told
    counted = replace(incident, silenced=incident.silenced + silenced)
    return replace(told, memory=replace(told.memory, incident=counted))


def _with_alert(verdict: Verdict, rule: Rule, windows: Windows) -> Verdict:
    """The verdict with the alert that tells its pairs, in the incident where it belongs."""
    memory = verdict.memory
    pairs = sum(one.count() for one in verdict.told)
    action, incident = next_incident(memory, pairs, rule, windows.now)
    name = Identity(identity("al", rule, memory.key, memory.commits), incident.id, action, memory.key)
    return replace(
        verdict,
        memory=replace(memory, incident=incident),
        alert=alert(name, verdict.told, rule, windows),
    )
