"""An alert: what one run found new for one key, as plain values ready to be written as JSON. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate, islice
from typing import Literal

from detection.bridges import bridges_of
from detection.correlate import Chain, Pair
from detection.events import Event, unique
from detection.incidents.evidence import Evidence
from detection.incidents.keys import Key
from detection.rows import SHOWN, Output, OutputRow, shown, shown_row
from detection.rule import Rule, Severity, Side
from detection.timestamps import iso
from detection.window import Window, Windows

# Sentinel's limits of one alert ("Sentinel service limits"): entities, and their size in all.
ENTITIES_PER_ALERT = 500
ENTITY_CHARACTERS = 64 * 2**10

Action = Literal["opened", "updated"]


@dataclass(frozen=True, slots=True)
class Counts:
    """How many changes, signals and pairs."""

    changes: int
    signals: int
    pairs: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """The stretch (after, until] that was read, ISO 8601 in UTC; no `until` means no upper bound."""

    after: str
    until: str | None


@dataclass(frozen=True, slots=True)
class AlertWindows:
    """What the run read of both logs, and the stretch that no run could read any more."""

    changes: Stretch
    signals: Stretch
    gap: Stretch | None


@dataclass(frozen=True, slots=True)
class Alert:
    """What one run found new for one grouping key.

    `alert` and `incident` are stable ids; `action` says what became of the incident; `at` is the run's
    frozen moment. `first_pair` and `last_pair` are rows as the rule's query returns them, by the time of
    the signal. `change_kinds` and `signal_kinds` count the changes and signals by kind. There were too many
    signals to remember where `flood` says up to when (ISO 8601) everything of the key counts as told.
    `new_addresses` are those from which its changes came and no earlier change of the same actor that was read, where
    there is one. The severity is `raised` where the evidence makes it worse than the rule's. `bridges` counts the
    signals by the bridge over which they are the actor's, in the order of the rule's `identity`.
    `evidence` is kept for the incident's page; no message has it.
    """

    alert: str
    incident: str
    action: Action
    rule: str
    at: str
    key: Mapping[str, str]
    actor: str
    severity: Severity
    first_pair: OutputRow
    last_pair: OutputRow
    counts: Counts
    change_kinds: Mapping[str, int]
    signal_kinds: Mapping[str, int]
    entities: Sequence[Mapping[str, str]]
    windows: AlertWindows
    flood: str | None = None
    new_addresses: Sequence[str] = field(default_factory=list)
    raised: bool = False
    bridges: Mapping[str, int] = field(default_factory=dict)
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """What an alert is called and belongs to, decided by the commit."""

    alert: str
    incident: str
    action: Action
    key: Key


def alert(identity: Identity, told: Sequence[Chain], rule: Rule, windows: Windows) -> Alert:
    """The alert for the pairs of the chains; there is at least one."""
    changes = unique([event for one in told for event in one.changes])
    signals = unique([event for one in told for event in one.signals])
    output = Output(rule)
    return Alert(
        alert=identity.alert,
        incident=identity.incident,
        action=identity.action,
        rule=rule.folder,
        at=iso(windows.now),
        key={name: shown(value) for name, value in identity.key},
        actor=shown(told[0].actor),
        severity=rule.severity,
        first_pair=shown_row(output.row(min((one.first for one in told), key=_when), windows.now), SHOWN),
        last_pair=shown_row(output.row(max((one.last for one in told), key=_when), windows.now), SHOWN),
        counts=Counts(len(changes), len(signals), sum(one.count() for one in told)),
        change_kinds=_kinds(changes),
        signal_kinds=_kinds(signals),
        entities=_entities(changes, signals, rule),
        windows=AlertWindows(
            _stretch(windows.changes),
            _stretch(windows.signals),
            _stretch(windows.gap) if windows.gap else None,
        ),
        bridges=_bridges(told, rule),
    )


def _when(pair: Pair) -> tuple[datetime, datetime]:
    change, signal = pair
    return signal.time, change.time


def _kinds(events: Iterable[Event]) -> dict[str, int]:
    return dict(Counter(shown(event.kind) for event in events).most_common())


def _bridges(told: Sequence[Chain], rule: Rule) -> dict[str, int]:
    """How many signals are an actor's by which bridge; a signal of several actors counts for each."""
    by_actor: dict[str, tuple[list[Event], list[Event]]] = {}
    for one in told:
        changes, signals = by_actor.setdefault(one.actor, ([], []))
        changes += one.changes
        signals += one.signals
    counted = Counter[str]()
    for actor, (changes, signals) in by_actor.items():
        counted.update(bridges_of(actor, changes, unique(signals), rule))
    return {bridge.name: counted[bridge.name] for bridge in rule.sequence.identity if counted[bridge.name]}


def _stretch(window: Window) -> Stretch:
    return Stretch(iso(window.after), iso(window.until) if window.until else None)


def _entities(changes: Iterable[Event], signals: Iterable[Event], rule: Rule) -> list[dict[str, str]]:
    """The entities that rule.yaml maps, each once, in the order of the mappings and then of the events."""
    sides = ((rule.sequence.changes, changes), (rule.sequence.signals, signals))
    found: dict[tuple[tuple[str, str], ...], None] = {}
    for mapping in rule.entity_mappings:
        for side, events in sides:
            columns = [(one.identifier, one.column_name) for one in mapping.field_mappings]
            for identifiers in _identifiers(events, columns, side):
                found[(("type", mapping.entity_type), *identifiers)] = None
    sizes = accumulate(sum(len(value) for _, value in entity) for entity in found)
    fitting = (entity for entity, size in zip(found, sizes, strict=True) if size <= ENTITY_CHARACTERS)
    return [dict(entity) for entity in islice(fitting, ENTITIES_PER_ALERT)]


def _identifiers(
    events: Iterable[Event], columns: Sequence[tuple[str, str]], side: Side
) -> Iterable[tuple[tuple[str, str], ...]]:
    """The identifiers that each event of a side gives an entity, where it gives any."""
    places = [(name, side.at(column)) for name, column in columns if column in side.columns]
    rows = (
        tuple((name, shown(str(event.row[at]))) for name, at in places if event.row[at]) for event in events
    )
    return filter(None, rows)
