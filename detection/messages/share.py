"""What is left of an alert until the digest that tells it is made. Pure."""

from detection.incidents.alert import Alert
from detection.incidents.batch import DigestEntry
from detection.messages.text import WORDS, flood_note, title
from detection.rule import Rule


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
