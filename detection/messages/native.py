"""An alert as this project's own JSON: everything that is known, for machines. Schema: docs/schemas/native.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

from detection.base.json_types import type_adapter
from detection.base.timestamps import iso
from detection.correlation.output import OutputRow, truncate_row
from detection.incidents.alert import Action, AlertWindows, Counts
from detection.messages.context import PAIRS_SHOWN, AlertContext
from detection.messages.links import MessageLinks
from detection.messages.steps import Step
from detection.messages.text import WIDTH, WORDS, in_words, title
from detection.rules.model import Rule


@dataclass(frozen=True, slots=True)
class RulePayload:
    """The rule that fired."""

    rule: str
    id: str
    name: str
    description: str
    version: str
    tactics: Sequence[str]
    techniques: Sequence[str]


@dataclass(frozen=True, slots=True)
class IncidentPayload:
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
class AlertPayload:
    """What was found: in words, counted, in steps and as the newest pairs; `more_steps`, `more_pairs` are not shown.

    Of entities and kinds too there may be more than are shown. `severity_raised` says where the evidence makes it
    worse than the rule's. `runbook` are the rule's first steps for whoever is woken. `flood_until` says up to when (ISO 8601) everything of
    the key counts as told, where there were too many signals to remember each. `matched_by` counts the signals by the
    bridge over which they are the actor's: exact, unless the rule has others.
    """

    alert: str
    title: str
    severity: str
    time: str
    rule: RulePayload
    incident: IncidentPayload
    actor: str
    key: Mapping[str, str]
    entities: Sequence[Mapping[str, str]]
    new_addresses: Sequence[str]
    severity_raised: bool
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
    links: MessageLinks
    runbook: Sequence[str]
    flood_until: str | None
    matched_by: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class NativeMessage:
    """The message, in the shape that Standard Webhooks recommends."""

    type: Literal["detection.alert.opened", "detection.alert.updated"]
    timestamp: str
    data: AlertPayload


MESSAGE_BYTES = 64_000  # it shares a transaction with its alert, and with the messages to other destinations
KINDS = 20  # of one step


def native(context: AlertContext) -> bytes:
    """The message as JSON bytes, plain ASCII; where values are long, it shows fewer of them."""
    limit, message = PAIRS_SHOWN, _message(context, PAIRS_SHOWN)
    while limit and len(message) > MESSAGE_BYTES:
        limit //= 2
        message = _message(context, limit)
    return message


def _message(context: AlertContext, limit: int) -> bytes:
    """The message with so many pairs, entities and kinds at most."""
    alert = context.alert
    message_type: Literal["detection.alert.opened", "detection.alert.updated"]
    message_type = "detection.alert.opened" if alert.action == "opened" else "detection.alert.updated"
    return type_adapter(NativeMessage).dump_json(
        NativeMessage(message_type, alert.time, _alert_payload(context, limit)), ensure_ascii=True
    )


def _alert_payload(context: AlertContext, limit: int) -> AlertPayload:
    alert, sequence = context.alert, context.rule.sequence
    pairs = context.pairs[:limit]
    return AlertPayload(
        alert=alert.alert,
        title=title(alert, context.rule)[:WORDS],
        severity=alert.severity,
        time=alert.time,
        rule=rule_payload(context.rule),
        incident=_incident_payload(context),
        actor=alert.actor,
        key=alert.key,
        entities=alert.entities[:limit],
        new_addresses=[address[:WIDTH] for address in alert.new_addresses[:limit]],
        severity_raised=alert.severity_raised,
        steps=[_shorten(step) for step in context.steps[:limit]],
        more_steps=max(len(context.steps) - limit, 0),
        changes=in_words(alert.change_kinds, sequence.changes)[:WORDS],
        signals=in_words(alert.signal_kinds, sequence.signals)[:WORDS],
        counts=alert.counts,
        change_kinds=dict(islice(alert.change_kinds.items(), limit)),
        signal_kinds=dict(islice(alert.signal_kinds.items(), limit)),
        first_pair=truncate_row(alert.first_pair, WIDTH),
        last_pair=truncate_row(alert.last_pair, WIDTH),
        pairs=[truncate_row(row, WIDTH) for row in pairs],
        more_pairs=context.more_pairs + len(context.pairs) - len(pairs),
        windows=alert.windows,
        queries=context.queries,
        links=context.links,
        runbook=context.rule.on_call.runbook,
        flood_until=alert.flood_until,
        matched_by=alert.matched_by,
    )


def _shorten(step: Step) -> Step:
    """A step with its long values cut."""
    kinds = {kind[:WIDTH]: number for kind, number in islice(step.kinds.items(), KINDS)}
    return replace(step, kinds=kinds, entity_values=[value[:WIDTH] for value in step.entity_values])


def rule_payload(rule: Rule) -> RulePayload:
    """What a message says of the rule."""
    return RulePayload(
        rule=rule.folder,
        id=str(rule.id),
        name=rule.name,
        description=rule.description,
        version=rule.version,
        tactics=rule.tactics,
        techniques=rule.relevant_techniques,
    )


def _incident_payload(context: AlertContext) -> IncidentPayload:
    incident = context.incident
    return IncidentPayload(
        id=incident.id,
        action=context.alert.action,
        number=incident.number,
        opened=iso(incident.opened),
        updated=iso(incident.updated),
        alerts=incident.alerts,
        pairs=incident.pairs,
        predecessor=incident.predecessor,
    )
