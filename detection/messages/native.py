"""An alert as this project's own JSON: everything that is known, for machines. Schema: docs/schemas/native.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

from detection.adapter import adapter
from detection.incidents.alert import Action, AlertWindows, Counts
from detection.messages.leads import Leads
from detection.messages.steps import Step
from detection.messages.telling import NEWEST, Telling
from detection.messages.text import WIDTH, WORDS, in_words, title
from detection.rows import OutputRow, shown_row
from detection.rule import Rule
from detection.timestamps import iso


@dataclass(frozen=True, slots=True)
class RuleTold:
    """The rule that fired."""

    rule: str
    id: str
    name: str
    description: str
    version: str
    tactics: Sequence[str]
    techniques: Sequence[str]


@dataclass(frozen=True, slots=True)
class IncidentTold:
    """The incident that the alert belongs to, as it is after it; times are ISO 8601 in UTC."""

    id: str
    action: Action
    number: int
    opened: str
    updated: str
    alerts: int
    pairs: int
    predecessor: str | None


@dataclass(frozen=True, slots=True)
class AlertTold:
    """What was found: in words, counted, in steps and as the newest pairs; `more_steps`, `more_pairs` are not shown.

    Of entities and kinds too there may be more than are shown. The severity is `raised` where the evidence makes it
    worse than the rule's. `runbook` are the rule's first steps for whoever is woken. `flood` says up to when (ISO 8601) everything of
    the key counts as told, where there were too many signals to remember each. `bridges` counts the signals by the
    bridge over which they are the actor's: exact, unless the rule has others.
    """

    alert: str
    title: str
    severity: str
    at: str
    rule: RuleTold
    incident: IncidentTold
    actor: str
    key: Mapping[str, str]
    entities: Sequence[Mapping[str, str]]
    new_addresses: Sequence[str]
    raised: bool
    steps: Sequence[Step]
    more_steps: int
    changes: str
    signals: str
    counts: Counts
    change_kinds: Mapping[str, int]
    signal_kinds: Mapping[str, int]
    first_pair: OutputRow
    last_pair: OutputRow
    pairs: Sequence[OutputRow]
    more_pairs: int
    windows: AlertWindows
    queries: Mapping[str, str]
    links: Leads
    runbook: Sequence[str]
    flood: str | None
    bridges: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Native:
    """The message, in the shape that Standard Webhooks recommends."""

    type: Literal["detection.alert.opened", "detection.alert.updated"]
    timestamp: str
    data: AlertTold


MESSAGE_BYTES = 64_000  # it shares a transaction with its alert, and with the messages to other destinations
KINDS = 20  # of one step


def native(told: Telling) -> bytes:
    """The message as JSON bytes, plain ASCII; where values are long, it shows fewer of them."""
    shown, message = NEWEST, _message(told, NEWEST)
    while shown and len(message) > MESSAGE_BYTES:
        shown //= 2
        message = _message(told, shown)
    return message


def _message(told: Telling, shown: int) -> bytes:
    """The message with so many pairs, entities and kinds at most."""
    alert = told.alert
    kind: Literal["detection.alert.opened", "detection.alert.updated"]
    kind = "detection.alert.opened" if alert.action == "opened" else "detection.alert.updated"
    return adapter(Native).dump_json(Native(kind, alert.at, _data(told, shown)), ensure_ascii=True)


def _data(told: Telling, shown: int) -> AlertTold:
    alert, sequence = told.alert, told.rule.sequence
    pairs = told.pairs[:shown]
    return AlertTold(
        alert=alert.alert,
        title=title(alert, told.rule)[:WORDS],
        severity=alert.severity,
        at=alert.at,
        rule=rule_told(told.rule),
        incident=_incident(told),
        actor=alert.actor,
        key=alert.key,
        entities=alert.entities[:shown],
        new_addresses=[one[:WIDTH] for one in alert.new_addresses[:shown]],
        raised=alert.raised,
        steps=[_short(one) for one in told.steps[:shown]],
        more_steps=max(len(told.steps) - shown, 0),
        changes=in_words(alert.change_kinds, sequence.changes)[:WORDS],
        signals=in_words(alert.signal_kinds, sequence.signals)[:WORDS],
        counts=alert.counts,
        change_kinds=dict(islice(alert.change_kinds.items(), shown)),
        signal_kinds=dict(islice(alert.signal_kinds.items(), shown)),
        first_pair=shown_row(alert.first_pair, WIDTH),
        last_pair=shown_row(alert.last_pair, WIDTH),
        pairs=[shown_row(row, WIDTH) for row in pairs],
        more_pairs=told.more + len(told.pairs) - len(pairs),
        windows=alert.windows,
        queries=told.queries,
        links=told.links,
        runbook=told.rule.on_call.runbook,
        flood=alert.flood,
        bridges=alert.bridges,
    )


def _short(step: Step) -> Step:
    """A step with its long values cut."""
    kinds = {kind[:WIDTH]: number for kind, number in islice(step.kinds.items(), KINDS)}
    return replace(step, kinds=kinds, of=[one[:WIDTH] for one in step.of])


def rule_told(rule: Rule) -> RuleTold:
    """What a message says of the rule."""
    return RuleTold(
        rule=rule.folder,
        id=str(rule.id),
        name=rule.name,
        description=rule.description,
        version=rule.version,
        tactics=rule.tactics,
        techniques=rule.relevant_techniques,
    )


def _incident(told: Telling) -> IncidentTold:
    incident = told.incident
    return IncidentTold(
        id=incident.id,
        action=told.alert.action,
        number=incident.number,
        opened=iso(incident.opened),
        updated=iso(incident.updated),
        alerts=incident.alerts,
        pairs=incident.pairs,
        predecessor=incident.predecessor,
    )
