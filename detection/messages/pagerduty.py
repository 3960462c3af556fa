"""An alert as an event of PagerDuty (Events API v2).

An incident has one incident in PagerDuty: its id is the `dedup_key`, so an update joins it and does not page
again, and acknowledging or closing the incident acknowledges or resolves it there. A digest has an incident
of its own there, which is resolved when the last incident of the digest is closed. The routing key is a
secret; the webhook adds it when it sends the event. Limits: 1,024 characters in the summary, 255 in the
dedup_key, and 512 KB in all.
"""

from collections.abc import Mapping
from datetime import datetime

from pydantic_core import to_json

from detection.base.timestamps import iso
from detection.messages.changes import organization
from detection.messages.context import AlertContext
from detection.messages.facts import cut, evidence, facts, headline, origin, pair_lines, runbook, sequence
from detection.messages.text import decreasing_counts, escape_name, first_that_fits

CLIENT = "openai-config-to-abuse"
SUMMARY = 1_024
# The message shares a transaction with its alert and the messages to other destinations.
MESSAGE_BYTES = 60_000
SEVERITIES = {"High": "critical", "Medium": "error", "Low": "warning", "Informational": "info"}

Event = dict[str, object]


def pagerduty(context: AlertContext) -> bytes:
    """The event that opens or updates the incident, as JSON bytes."""
    alert, pairs = context.alert, pair_lines(context)

    def render(pair_count: int) -> bytes:
        details = {
            **dict(facts(context)),
            "What happened": "\n".join(sequence(context)),
            "Pairs": evidence(context, pairs[:pair_count]),
            "First steps": "\n".join(runbook(context)),
            "From": origin(context),
        }
        source, links = escape_name(organization(alert)) or context.rule.name, context.links.urls_by_label()
        event = trigger(
            context.incident.id, headline(context), alert.severity, source, alert.time, details, links
        )
        return to_json(event, ensure_ascii=True)

    return first_that_fits(map(render, decreasing_counts(len(pairs))), MESSAGE_BYTES)


def trigger(
    dedup_key: str,
    summary: str,
    severity: str,
    source: str,
    time: datetime,
    details: Mapping[str, object],
    links: Mapping[str, str],
) -> Event:
    """An event that opens an incident in PagerDuty, or joins the incident of the same key.

    `source` is the affected organization. `links` are URLs by their text; the first is that of the client.
    """
    client_url = next(iter(links.values()), None)
    return {
        "event_action": "trigger",
        "dedup_key": dedup_key,
        "payload": {
            "summary": cut(summary, SUMMARY),
            "source": source,
            "severity": SEVERITIES[severity],
            "timestamp": iso(time),
            "custom_details": dict(details),
        },
        "client": CLIENT,
        **({"client_url": client_url} if client_url else {}),
        "links": [{"href": url, "text": text} for text, url in links.items()],
    }


def acknowledge(dedup_key: str) -> bytes:
    return to_json({"event_action": "acknowledge", "dedup_key": dedup_key})


def resolve(dedup_key: str) -> bytes:
    return to_json({"event_action": "resolve", "dedup_key": dedup_key})
