"""An alert as a Slack message (Block Kit). Pure.

Whatever comes from the logs stands in `plain_text` elements, where Slack reads neither mentions nor
links nor markup. Limits: header 150, a section 3,000, its field 2,000 characters, and, undocumented, about 13,200 in all
(slackapi/bolt-js #2509): the message is kept below 10,000, by leaving out the oldest pairs first.
"""

from pydantic_core import to_json

from detection.messages.telling import Telling
from detection.messages.text import flood, inert, many, pair_line, title

HEADER = 150
FIELD = 2_000
SECTION = 3_000
LINE = 500  # of one pair
MESSAGE_BYTES = 10_000
ICONS = {"High": "🔴", "Medium": "🟠", "Low": "🟡", "Informational": "🔵"}

Block = dict[str, object]


def slack(told: Telling) -> bytes:
    """The message as JSON bytes."""
    pairs = [_cut(pair_line(row, told.rule), LINE) for row in told.pairs]
    message = b""
    for shown in range(len(pairs), -1, -1):
        evidence = _evidence(told, pairs[:shown])
        message = to_json(_message(told, evidence), ensure_ascii=True)
        if len(evidence) <= SECTION and len(message) <= MESSAGE_BYTES:
            break
    return message


def _evidence(told: Telling, pairs: list[str]) -> str:
    hidden = told.alert.counts.pairs - len(pairs)
    return "\n".join([*pairs, *([f"and {many(hidden, 'pair')} more"] if hidden else [])])


def _message(told: Telling, evidence: str) -> Block:
    headline = f"{ICONS[told.alert.severity]} {title(told.alert, told.rule)}"
    blocks: list[Block] = [
        {"type": "section", "fields": [plain(text, FIELD) for text in _facts(told)]},
        {"type": "section", "text": plain(evidence, SECTION)},
    ]
    return message(headline, blocks, _origin(told))


def message(headline: str, blocks: list[Block], origin: str) -> Block:
    """A message between its headline and where it comes from."""
    # Shown where blocks are not, in a notification say.
    fallback = _cut(headline, HEADER).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {
        "text": fallback,
        "mrkdwn": False,
        "blocks": [
            {"type": "header", "text": plain(headline, HEADER)},
            *blocks,
            {"type": "context", "elements": [plain(origin, FIELD)]},
        ],
    }


def _facts(told: Telling) -> list[str]:
    alert, incident, counts = told.alert, told.incident, told.alert.counts
    predecessor = f", after {incident.predecessor}" if incident.predecessor else ""
    return [
        f"Incident: {alert.action} {incident.id}{predecessor}",
        f"So far: {many(incident.alerts, 'alert')}, {many(incident.pairs, 'pair')}",
        f"New: {many(counts.changes, 'change')}, {many(counts.signals, 'signal')}, {many(counts.pairs, 'pair')}",
        f"Severity: {alert.severity}",
        *([flood(alert)] if alert.flood else []),
        f"Actor: {inert(alert.actor)}",
        f"Tactics: {', '.join(told.rule.tactics)} ({', '.join(told.rule.relevant_techniques)})",
    ]


def _origin(told: Telling) -> str:
    alert, signals = told.alert, told.alert.windows.signals
    stretch = f"signals from {signals.after} to {signals.until or alert.at}"
    # The KQL itself is longer than a message may be.
    kql = f"KQL: python -m detection query --rule {told.rule.folder} --at {alert.at}"
    return f"{told.rule.name} · {alert.alert} · {stretch} · {kql}"


def plain(text: str, limit: int) -> Block:
    """A text in which Slack reads neither mentions nor links nor markup, cut to a limit."""
    return {"type": "plain_text", "text": _cut(text, limit), "emoji": False}


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
