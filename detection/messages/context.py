"""The context of a message, which every format renders: the alert, its incident, and its newest pairs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from detection.correlation.output import OutputRow, RowWriter
from detection.incidents.alert import Alert
from detection.incidents.decide import Verdict
from detection.incidents.evidence import newest_pairs
from detection.incidents.incident import Incident
from detection.logs.kql import bounds, queries, with_bounds
from detection.logs.window import Windows
from detection.messages.changes import organization
from detection.messages.links import MessageLinks
from detection.messages.steps import Step, steps
from detection.messages.text import WORDS, flood_note, severity_text, title
from detection.rules.model import Rule, Severity

RUNBOOK = "runbook"  # the part of an incident's page that has the whole runbook
PAIRS_SHOWN = 20  # pairs that a message shows
NO_LINKS = MessageLinks()


@dataclass(frozen=True, slots=True)
class AlertContext:
    """An alert with its incident and rule.

    `pairs` are the newest pairs, `more_pairs` counts the other pairs. `steps` are in order of time. `queries`
    are the KQL texts that the run sent, by side.
    """

    alert: Alert
    incident: Incident
    rule: Rule
    pairs: Sequence[OutputRow]
    more_pairs: int
    steps: Sequence[Step]
    queries: dict[str, str]
    links: MessageLinks


def alert_context(
    verdict: Verdict, rule: Rule, windows: Windows, links: MessageLinks = NO_LINKS
) -> AlertContext:
    """The context of a verdict's alert. Raises ValueError for a verdict without an alert."""
    if verdict.alert is None or verdict.state.incident is None:
        raise ValueError("this verdict has no alert; render messages only for verdicts with an alert")
    newest = newest_pairs(verdict.new_pairs, PAIRS_SHOWN)
    output, texts = RowWriter(rule), queries(rule)
    return AlertContext(
        alert=verdict.alert,
        incident=verdict.state.incident,
        rule=rule,
        pairs=[output.row(pair, windows.now) for pair in newest],
        more_pairs=verdict.pairs - len(newest),
        steps=steps(verdict.new_pairs, rule),
        queries={side: with_bounds(texts[side], bounds(windows)) for side in rule.sequence.sides},
        links=replace(
            links, runbook=rule.on_call.runbook_url or (f"{links.page}#{RUNBOOK}" if links.page else None)
        ),
    )


@dataclass(frozen=True, slots=True)
class DigestEntry:
    """The entry of an alert in a digest: its incident, severity, title, size and organization.

    `severity_text` is the severity with its reason; entries of an earlier version have none.
    """

    alert: str
    incident: str
    opened: bool
    severity: Severity
    title: str
    changes: int
    signals: int
    pairs: int
    organization: str = ""
    severity_text: str = ""


def digest_entry(alert: Alert, rule: Rule) -> DigestEntry:
    """The entry of an alert, which the digest's draft keeps until the digest is published."""
    counts = alert.counts
    return DigestEntry(
        alert=alert.alert,
        incident=alert.incident,
        opened=alert.action == "opened",
        severity=alert.severity,
        title=". ".join(filter(None, (title(alert, rule)[:WORDS], flood_note(alert)))),
        changes=counts.changes,
        signals=counts.signals,
        pairs=counts.pairs,
        organization=organization(alert),
        severity_text=severity_text(alert, rule),
    )
