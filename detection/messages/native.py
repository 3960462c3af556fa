"""An alert as this project's own JSON, for machines. Schema: docs/schemas/native.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from itertools import islice
from typing import Literal

from detection.base.json_types import type_adapter
from detection.correlation.output import OutputRow, truncate_row
from detection.incidents.alert import Action, AlertContent
from detection.messages.changes import UndoStep, runbook_steps, undo_steps
from detection.messages.context import PAIRS_SHOWN, AlertContext
from detection.messages.links import MessageLinks
from detection.messages.steps import Step
from detection.messages.text import (
    WIDTH,
    WORDS,
    changes_in_words,
    first_that_fits,
    in_words,
    severity_text,
    targets_by_kind,
    title,
)
from detection.rules.model import Rule

# The message shares a transaction with its alert and the messages to other destinations.
MESSAGE_BYTES = 64_000
LIMITS = (PAIRS_SHOWN, 10, 5, 2, 1, 0)  # of pairs, steps, entities and kinds
STEP_KINDS = 20

MessageType = Literal["detection.alert.opened", "detection.alert.updated"]


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
    """The incident that the alert belongs to, after the alert; times are UTC."""

    id: str
    action: Action
    number: int
    opened: datetime
    updated: datetime
    alerts: int
    pairs: int
    predecessor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertPayload(AlertContent):
    """The alert as stored, with its rule and incident, in words, as steps and with its newest pairs.

    `more_steps` and `more_pairs` count the steps and pairs that the message omits, `more_changes` the changes
    whose objects are not in `changed_objects`: an alert keeps few. Entities, kinds, new
    addresses, changed objects and `undo` may be cut too. `severity_raised` says that the evidence raised the
    severity above the rule's, by the condition `raised_by`; `severity_text` is the severity with its reason.
    `changed_objects` are the objects of the newest changes of every type, `undo` the steps that undo these
    changes. `flood_until` is set at high volume: the alert covers all signals of `actor` up to that moment,
    from its first signal of `actor` on.
    `matched_by` counts the signals by the identity matching option that assigns them to the actor. `runbook`
    holds the first steps of the rule's runbook. Times are UTC.
    """

    alert: str
    title: str
    rule: RulePayload
    incident: IncidentPayload
    severity_text: str
    changes: str
    signals: str
    more_changes: int
    undo: Sequence[UndoStep]
    steps: Sequence[Step]
    more_steps: int
    pairs: Sequence[OutputRow]
    more_pairs: int
    queries: Mapping[str, str]
    links: MessageLinks
    runbook: Sequence[str]


@dataclass(frozen=True, slots=True)
class NativeMessage:
    """The message, in the shape that Standard Webhooks recommends."""

    type: MessageType
    timestamp: datetime
    data: AlertPayload


def native(context: AlertContext) -> bytes:
    """The message as JSON in ASCII. Over MESSAGE_BYTES it shows fewer pairs, steps, entities and kinds."""
    alert = context.alert
    message_type: MessageType = (
        "detection.alert.opened" if alert.action == "opened" else "detection.alert.updated"
    )
    messages = (NativeMessage(message_type, alert.time, _payload(context, limit)) for limit in LIMITS)
    dump_json = type_adapter(NativeMessage).dump_json
    return first_that_fits((dump_json(message, ensure_ascii=True) for message in messages), MESSAGE_BYTES)


def _payload(context: AlertContext, limit: int) -> AlertPayload:
    """The message with at most `limit` pairs, steps, entities and kinds, and with long values cut."""
    alert, incident, rule = context.alert, context.incident, context.rule
    cut_alert = replace(
        alert,
        entities=alert.entities[:limit],
        new_addresses=[address[:WIDTH] for address in alert.new_addresses[:limit]],
        changed_objects=alert.changed_objects[:limit],
        change_kinds=dict(islice(alert.change_kinds.items(), limit)),
        signal_kinds=dict(islice(alert.signal_kinds.items(), limit)),
        first_pair=truncate_row(alert.first_pair, WIDTH),
        last_pair=truncate_row(alert.last_pair, WIDTH),
    )
    steps = [
        replace(
            step,
            kinds={kind[:WIDTH]: number for kind, number in islice(step.kinds.items(), STEP_KINDS)},
            targets={
                kind[:WIDTH]: [target[:WIDTH] for target in targets]
                for kind, targets in islice(step.targets.items(), STEP_KINDS)
            },
            entity_values=[text[:WIDTH] for text in step.entity_values],
        )
        for step in context.steps[:limit]
    ]
    pairs = [truncate_row(row, WIDTH) for row in context.pairs[:limit]]
    return AlertPayload(
        **{content.name: getattr(cut_alert, content.name) for content in fields(AlertContent)},
        alert=alert.alert,
        title=title(alert, rule)[:WORDS],
        rule=rule_payload(rule),
        incident=IncidentPayload(
            id=incident.id,
            action=alert.action,
            number=incident.number,
            opened=incident.opened,
            updated=incident.updated,
            alerts=incident.alerts,
            pairs=incident.pairs,
            predecessor=incident.predecessor,
        ),
        severity_text=severity_text(alert, rule),
        changes=changes_in_words(alert.change_kinds, targets_by_kind(alert.changed_objects), rule)[:WORDS],
        signals=in_words(alert.signal_kinds, rule.sequence.signals)[:WORDS],
        more_changes=alert.counts.changes - len(cut_alert.changed_objects),
        undo=undo_steps(cut_alert, rule),
        steps=steps,
        more_steps=len(context.steps) - len(steps),
        pairs=pairs,
        more_pairs=context.more_pairs + len(context.pairs) - len(pairs),
        queries=context.queries,
        links=context.links,
        runbook=runbook_steps(cut_alert, rule, limit),
    )


def rule_payload(rule: Rule) -> RulePayload:
    return RulePayload(
        rule=rule.folder,
        id=str(rule.id),
        name=rule.name,
        description=rule.description,
        version=rule.version,
        tactics=rule.tactics,
        techniques=rule.relevant_techniques,
    )
