"""An alert: the new pairs of one grouping key in one run, as values that become JSON."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate, islice
from operator import attrgetter, itemgetter
from typing import Literal

from detection.correlation.correlate import Chain
from detection.correlation.output import MAX_VALUE_LENGTH, OutputRow, RowWriter, truncate, truncate_row
from detection.incidents.changed_object import ChangedObject, changed_objects
from detection.incidents.evidence import Evidence, pair_times
from detection.incidents.floods import chains_by_actor
from detection.incidents.keys import Key
from detection.logs.actors import count_by_option
from detection.logs.events import Event, without_duplicates
from detection.logs.window import Window, Windows
from detection.rules.model import Rule, Severity

# Sentinel's limits of one alert ("Sentinel service limits"): the number of entities, and their total size.
ENTITIES_PER_ALERT = 500
ENTITY_CHARACTERS = 64 * 2**10

ADDRESS = 100  # characters
Action = Literal["opened", "updated"]
_kind_of = attrgetter("kind")
_row_of = attrgetter("row")


@dataclass(frozen=True, slots=True)
class Counts:
    """The number of changes, signals and pairs."""

    changes: int
    signals: int
    pairs: int


@dataclass(frozen=True, slots=True)
class AlertWindows:
    """The windows of both logs that the run read, and the gap that no run could read.

    The moment of the run is the `time` of the alert.
    """

    changes: Window
    signals: Window
    gap: Window | None


@dataclass(frozen=True, slots=True)
class RaisedBy:
    """The condition that raised the severity: kinds of changes and signals, and a new address.

    An empty sequence means any kind.
    """

    changes: Sequence[str]
    signals: Sequence[str]
    new_address: bool


@dataclass(frozen=True, kw_only=True)
class AlertReference:
    """The ids of an alert and its incident, and the folder of its rule. See Alert."""

    alert: str
    incident: str
    action: Action
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertContent:
    """The content of an alert, in the store and in the native message alike. See Alert."""

    time: datetime
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
    flood_until: datetime | None
    new_addresses: Sequence[str]
    severity_raised: bool
    matched_by: Mapping[str, int]
    changed_objects: Sequence[ChangedObject] = ()
    raised_by: RaisedBy | None = None


# JSON has the fields of the last base first.
@dataclass(frozen=True, slots=True, kw_only=True)
class Alert(AlertContent, AlertReference):
    """The new pairs of one grouping key in one run. Times are UTC.

    `alert` and `incident` are stable ids. `action` says whether the alert opened or updated the incident.
    `time` is the frozen moment of the run. `first_pair` and `last_pair` are rows as the rule's query returns
    them, by the time of the signal. `change_kinds` and `signal_kinds` count the changes and signals by kind,
    `matched_by` the signals by the identity matching option that assigns them to the actor, in the order of
    the rule's `identity`. `flood_until` is set at high volume: the alert covers all signals of `actor` up to
    that moment, from its first signal of `actor` on. `new_addresses` are the addresses of changes from which
    no earlier change of the same actor came; empty if no earlier change was read. `severity_raised` says that
    the evidence raised the severity above the rule's, by the condition `raised_by`. `changed_objects` are the
    objects of the newest changes of every type, in order of time. `evidence` is for the page of the incident;
    no message contains it.
    """

    evidence: Evidence | None = None


def addresses_of(alert: AlertContent) -> list[str]:
    """The addresses among the entities of an alert, cut to ADDRESS characters."""
    return [
        text[:ADDRESS]
        for entity in alert.entities
        if entity["type"] == "IP"
        for name, text in entity.items()
        if name != "type"
    ]


@dataclass(frozen=True, slots=True)
class AlertIdentity:
    """The ids and the key of an alert, as the commit decides them."""

    alert: str
    incident: str
    action: Action
    key: Key


def make_alert(identity: AlertIdentity, new_pairs: Sequence[Chain], rule: Rule, windows: Windows) -> Alert:
    """The alert for the pairs of these chains; there is at least one pair."""
    changes = without_duplicates([event for chain in new_pairs for event in chain.changes])
    signals = without_duplicates([event for chain in new_pairs for event in chain.signals])
    first_pair = min((chain.first_pair for chain in new_pairs), key=pair_times)
    last_pair = max((chain.last_pair for chain in new_pairs), key=pair_times)
    output = RowWriter(rule)
    matched_by = Counter[str]()  # a signal of several actors counts for each of them
    for actor, chains in chains_by_actor(new_pairs).items():
        actor_signals = without_duplicates([event for chain in chains for event in chain.signals])
        actor_changes = [event for chain in chains for event in chain.changes]
        matched_by.update(count_by_option(actor, actor_changes, actor_signals, rule))
    return Alert(
        alert=identity.alert,
        incident=identity.incident,
        action=identity.action,
        rule=rule.folder,
        time=windows.now,
        key={name: truncate(value) for name, value in identity.key},
        actor=truncate(new_pairs[0].actor),
        severity=rule.severity,
        first_pair=truncate_row(output.row(first_pair, windows.now), MAX_VALUE_LENGTH),
        last_pair=truncate_row(output.row(last_pair, windows.now), MAX_VALUE_LENGTH),
        counts=Counts(len(changes), len(signals), sum(chain.count() for chain in new_pairs)),
        change_kinds=_kinds(changes),
        signal_kinds=_kinds(signals),
        entities=_entities(changes, signals, rule),
        windows=AlertWindows(windows.changes, windows.signals, windows.gap),
        flood_until=None,
        new_addresses=[],
        severity_raised=False,
        matched_by={
            option.name: matched_by[option.name]
            for option in rule.sequence.identity
            if matched_by[option.name]
        },
        changed_objects=changed_objects(changes, rule),
    )


def _kinds(events: Iterable[Event]) -> dict[str, int]:
    counts = Counter[str]()
    for kind, count in Counter(map(_kind_of, events)).items():
        counts[truncate(kind)] += count
    return dict(counts.most_common())


def _entities(changes: Iterable[Event], signals: Iterable[Event], rule: Rule) -> list[dict[str, str]]:
    """The entities that rule.yaml maps, without duplicates, by the order of the mappings and of the events.

    The result keeps Sentinel's limits: at most ENTITIES_PER_ALERT entities with ENTITY_CHARACTERS in all.
    """
    entities: dict[tuple[tuple[str, str], ...], None] = {}
    for mapping in rule.entity_mappings:
        for side, events in ((rule.sequence.changes, changes), (rule.sequence.signals, signals)):
            fields = [field for field in mapping.field_mappings if field.column_name in side.columns]
            cells = [
                map(itemgetter(side.place_of(field.column_name)), map(_row_of, events)) for field in fields
            ]
            for values in dict.fromkeys(zip(*cells, strict=True)):
                identifiers = [
                    (field.identifier, truncate(str(value)))
                    for field, value in zip(fields, values, strict=True)
                    if value
                ]
                if identifiers:
                    entities[(("type", mapping.entity_type), *identifiers)] = None
    sizes = accumulate(sum(len(text) for _, text in entity) for entity in entities)
    fitting = (entity for entity, size in zip(entities, sizes, strict=True) if size <= ENTITY_CHARACTERS)
    return [dict(entity) for entity in islice(fitting, ENTITIES_PER_ALERT)]
