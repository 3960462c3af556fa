"""What is left of an alert until the digest that tells it is made. Pure."""

from detection.incidents.alert import Alert
from detection.incidents.batch import Share
from detection.messages.text import WORDS, flood, title
from detection.rule import Rule


def share(alert: Alert, rule: Rule) -> Share:
    """What is kept of an alert until its digest is made."""
    counts = alert.counts
    return Share(
        alert=alert.alert,
        incident=alert.incident,
        opened=alert.action == "opened",
        severity=alert.severity,
        title=". ".join(filter(None, (title(alert, rule)[:WORDS], flood(alert)))),
        changes=counts.changes,
        signals=counts.signals,
        pairs=counts.pairs,
    )
