"""An alert: what one run found new for one key, as plain values ready to be written as JSON."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate, islice
from typing import Literal

from detection.base.timestamps import iso
from detection.correlation.correlate import Chain, Pair
from detection.correlation.output import MAX_VALUE_LENGTH, OutputRow, RowWriter, truncate, truncate_row
from detection.incidents.evidence import Evidence
from detection.incidents.keys import Key
from detection.logs.actors import count_by_option
from detection.logs.events import Event, without_duplicates
from detection.logs.window import Window, Windows
from detection.rules.model import Rule, Severity, Side

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
class AlertWindow:
    """The stretch (after, until] that was read, ISO 8601 in UTC; no `until` means no upper bound."""

    after: str
    until: str | None


@dataclass(frozen=True, slots=True)
class AlertWindows:
    """What the run read of both logs, and the stretch that no run could read any more."""

    changes: AlertWindow
    signals: AlertWindow
    gap: AlertWindow | None


@dataclass(frozen=True, slots=True)
class Alert:
    """What one run found new for one grouping key.

    `alert` and `incident` are stable ids; `action` says what became of the incident; `time` is the run's
    frozen moment. `first_pair` and `last_pair` are rows as the rule's query returns them, by the time of
    the signal. `change_kinds` and `signal_kinds` count the changes and signals by kind. There were too many
    signals to remember where `flood_until` says up to when (ISO 8601) everything of the key counts as told.
    `new_addresses` are those from which its changes came and no earlier change of the same actor that was read, where
    there is one. `severity_raised` where the evidence makes it worse than the rule's. `matched_by` counts the
    signals by the bridge over which they are the actor's, in the order of the rule's `identity`.
    `evidence` is kept for the incident's page; no message has it.
    """

    alert: str
    incident: str
    action: Action
    rule: str
    time: str
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
    flood_until: str | None = None
    new_addresses: Sequence[str] = field(default_factory=list)
    severity_raised: bool = False
    matched_by: Mapping[str, int] = field(default_factory=dict)
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True)
class AlertIdentity:
    """What an alert is called and belongs to, decided by the commit."""

    alert: str
    incident: str
    action: Action
    key: Key


def make_alert(identity: AlertIdentity, new_pairs: Sequence[Chain], rule: Rule, windows: Windows) -> Alert:
    """The alert for the pairs of the chains; there is at least one."""
    changes = without_duplicates([event for chain in new_pairs for event in chain.changes])
    signals = without_duplicates([event for chain in new_pairs for event in chain.signals])
    output = RowWriter(rule)
    return Alert(
        alert=identity.alert,
        incident=identity.incident,
        action=identity.action,
        rule=rule.folder,
        time=iso(windows.now),
        key={name: truncate(value) for name, value in identity.key},
        actor=truncate(new_pairs[0].actor),
        severity=rule.severity,
        first_pair=truncate_row(
            output.row(min((chain.first_pair for chain in new_pairs), key=_when), windows.now),
            MAX_VALUE_LENGTH,
        ),
        last_pair=truncate_row(
            output.row(max((chain.last_pair for chain in new_pairs), key=_when), windows.now),
            MAX_VALUE_LENGTH,
        ),
        counts=Counts(len(changes), len(signals), sum(chain.count() for chain in new_pairs)),
        change_kinds=_kinds(changes),
        signal_kinds=_kinds(signals),
        entities=_entities(changes, signals, rule),
        windows=AlertWindows(
            _alert_window(windows.changes),
            _alert_window(windows.signals),
            _alert_window(windows.gap) if windows.gap else None,
        ),
        matched_by=_matched_by(new_pairs, rule),
    )


def _when(pair: Pair) -> tuple[datetime, datetime]:
    change, signal = pair
    return signal.time, change.time


def _kinds(events: Iterable[Event]) -> dict[str, int]:
    return dict(Counter(truncate(event.kind) for event in events).most_common())


def _matched_by(new_pairs: Sequence[Chain], rule: Rule) -> dict[str, int]:
    """How many signals are an actor's by which bridge; a signal of several actors counts for each."""
    by_actor: dict[str, tuple[list[Event], list[Event]]] = {}
    for chain in new_pairs:
        changes, signals = by_actor.setdefault(chain.actor, ([], []))
        changes += chain.changes
        signals += chain.signals
    counts = Counter[str]()
    for actor, (changes, signals) in by_actor.items():
        counts.update(count_by_option(actor, changes, without_duplicates(signals), rule))
    return {option.name: counts[option.name] for option in rule.sequence.identity if counts[option.name]}


def _alert_window(window: Window) -> AlertWindow:
    return AlertWindow(iso(window.after), iso(window.until) if window.until else None)


def _entities(changes: Iterable[Event], signals: Iterable[Event], rule: Rule) -> list[dict[str, str]]:
    """The entities that rule.yaml maps, each once, in the order of the mappings and then of the events."""
    sides = ((rule.sequence.changes, changes), (rule.sequence.signals, signals))
    entities: dict[tuple[tuple[str, str], ...], None] = {}
    for mapping in rule.entity_mappings:
        for side, events in sides:
            columns = [(field.identifier, field.column_name) for field in mapping.field_mappings]
            for identifiers in _identifiers(events, columns, side):
                entities[(("type", mapping.entity_type), *identifiers)] = None
    sizes = accumulate(sum(len(value) for _, value in entity) for entity in entities)
    fitting = (entity for entity, size in zip(entities, sizes, strict=True) if size <= ENTITY_CHARACTERS)
    return [dict(entity) for entity in islice(fitting, ENTITIES_PER_ALERT)]


def _identifiers(
    events: Iterable[Event], columns: Sequence[tuple[str, str]], side: Side
) -> Iterable[tuple[tuple[str, str], ...]]:
    """The identifiers that each event of a side gives an entity, where it gives any."""
    places = [(name, side.place_of(column)) for name, column in columns if column in side.columns]
    rows = (
        tuple((name, truncate(str(event.row[place]))) for name, place in places if event.row[place])
        for event in events
    )
    return filter(None, rows)
