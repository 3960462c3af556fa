"""What is left of an alert until the digest that tells it is made. Pure."""

from dataclasses import dataclass

from detection.incidents.alert import Alert
from detection.messages.text import WORDS, flood_note, title
from detection.rules.model import Rule, Severity


@dataclass(frozen=True, slots=True)
class DigestEntry:
    """What a digest tells of one alert: its incident, how bad it is, and how large."""

    alert: str
    incident: str
    opened: bool
    severity: Severity
    title: str
    changes: int
    signals: int
    pairs: int


def digest_entry(alert: Alert, rule: Rule) -> DigestEntry:
    """What is kept of an alert until its digest is made."""
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
    )
