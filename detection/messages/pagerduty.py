"""An alert as an event of PagerDuty (Events API v2). Pure.

An incident here is one there: its id is the `dedup_key`, so an update joins it and does not page again, and
acknowledging or closing it here does so there. The routing key is a secret, and is added when the event is sent. Limits: summary
1,024 characters, dedup_key 255, and 512 KB in all, of which a transaction's share is far less.
"""

from collections.abc import Mapping

from pydantic_core import to_json

from detection.messages.facts import cut, evidence, facts, headline, origin, pair_lines, runbook, sequence
from detection.messages.fitting import fewer, fitting
from detection.messages.telling import Telling

SUMMARY = 1_024
MESSAGE_BYTES = 60_000  # it shares a transaction with its alert, and with the messages to other destinations
SEVERITIES = {"High": "critical", "Medium": "error", "Low": "warning", "Informational": "info"}

Event = dict[str, object]


def pagerduty(told: Telling) -> bytes:
    """The event that opens or updates the incident, as JSON bytes."""
    alert, pairs = told.alert, pair_lines(told)

    def render(shown: int) -> bytes:
        details = {
            **dict(facts(told)),
            "What happened (UTC)": "\n".join(sequence(told)),
            "Pairs": evidence(told, pairs[:shown]),
            "First steps": "\n".join(runbook(told)),
            "From": origin(told),
        }
        event = trigger(told.incident.id, headline(told), alert.severity, told.rule.name, alert.at, details)
        event["links"] = [{"href": url, "text": name} for name, url in told.links.named().items()]
        return to_json(event, ensure_ascii=True)

    return fitting(fewer(len(pairs)), render, MESSAGE_BYTES)


def trigger(
    dedup_key: str, summary: str, severity: str, source: str, at: str, details: Mapping[str, object]
) -> Event:
    """An event that opens an incident there, or joins the one of the same key."""
    return {
        "event_action": "trigger",
        "dedup_key": dedup_key,
        "payload": {
            "summary": cut(summary, SUMMARY),
            "source": source,
            "severity": SEVERITIES[severity],
            "timestamp": at,
            "custom_details": dict(details),
        },
    }


def acknowledge(dedup_key: str) -> bytes:
    """The event that acknowledges the incident of a key."""
    return to_json({"event_action": "acknowledge", "dedup_key": dedup_key})


def resolve(dedup_key: str) -> bytes:
    """The event that resolves the incident of a key."""
    return to_json({"event_action": "resolve", "dedup_key": dedup_key})
