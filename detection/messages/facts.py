"""The content of every message for people: facts as names and values, steps, pairs, origin.

Each value from the logs is on one line, with control and direction characters escaped.
"""

from collections.abc import Sequence

from detection.base.timestamps import iso
from detection.correlation.output import BEYOND
from detection.incidents.alert import Alert
from detection.messages.changes import (
    CHANGES_SHOWN,
    address_text,
    change_text,
    runbook_steps,
    without_object,
)
from detection.messages.context import AlertContext
from detection.messages.steps import step_lines
from detection.messages.text import (
    counts_text,
    covered_by_flood,
    escape_line,
    escape_name,
    flood_note,
    pair_line,
    plural,
    severity_text,
    title,
)
from detection.rules.identity import EXACT
from detection.rules.model import Rule

VALUES_SHOWN = 5  # addresses or models; further values are counted
LINE = 500  # characters of one pair
FIRST_STEPS = 3  # of the runbook


def headline(context: AlertContext) -> str:
    """The title; the title of an update says so, because its incident was alerted before."""
    prefix = "" if context.alert.action == "opened" else "Update: "
    return prefix + title(context.alert, context.rule)


def facts(context: AlertContext) -> list[tuple[str, str]]:
    """The incident, the sizes, the actor, and the entities of its changes and signals, by name."""
    alert, incident = context.alert, context.incident
    incident_text = f"{alert.action} {incident.id}"
    if incident.predecessor:
        incident_text += f", after {incident.predecessor}"
    if authors := [entry.author for entry in incident.history if entry.action == "acknowledged"]:
        incident_text += f", acknowledged by {escape_name(authors[-1])}"
    so_far = f"{plural(incident.alerts, 'alert')}, {plural(incident.pairs, 'pair')}"
    if incident.silenced:
        so_far += f", {incident.silenced:,} silenced"
    addresses = [address_text(address, alert) for address in _entity_values(context, "IP")]
    changed = changed_lines(alert, context.rule)
    options = {option.name: option.description for option in context.rule.sequence.identity}
    matched_by = [
        f"{escape_line(options.get(name, name))} ({plural(count, 'signal')})"
        for name, count in alert.matched_by.items()
    ]
    return [
        ("Incident", incident_text),
        ("So far", so_far),
        ("New", counts_text(alert.counts)),
        ("Severity", severity_text(alert, context.rule)),
        *([("High volume", covered_by_flood(alert.flood_until))] if alert.flood_until else []),
        ("Actor", escape_name(alert.actor)),
        *([("Changed", "; ".join(changed))] if changed else []),
        *([("Matched by", ", ".join(matched_by))] if alert.matched_by.keys() - {EXACT.name} else []),
        ("Addresses", _join_texts(addresses)),
        ("Models", _join_texts(list(map(escape_name, _entity_values(context, "CloudApplication"))))),
        ("Tactics", f"{', '.join(context.rule.tactics)} ({', '.join(context.rule.relevant_techniques)})"),
    ]


def changed_lines(alert: Alert, rule: Rule) -> list[str]:
    """The newest changes with their objects, in order of time; the number of all others first."""
    newest = alert.changed_objects[-CHANGES_SHOWN:]
    texts = [change_text(changed_object, alert, rule) for changed_object in newest]
    omitted_count = alert.counts.changes - len(texts)
    note = without_object(alert.counts.changes, len(alert.changed_objects))
    omitted = plural(omitted_count, "more change") + (f" ({note})" if note else "")
    return [omitted, *texts] if texts and omitted_count > 0 else texts


def lines(alert: Alert, rule: Rule) -> list[str]:
    """The alert in a few lines for a terminal: title, severity, incident, changes, first and last pair."""
    pairs = {"first": alert.first_pair} | ({"last": alert.last_pair} if alert.counts.pairs > 1 else {})
    beyond = (row.get(BEYOND) for row in pairs.values())
    reasons = sorted({str(reason) for reasons in beyond if isinstance(reasons, list) for reason in reasons})
    return [
        f"{alert.severity.upper()}  {title(alert, rule)}",
        f"  {severity_text(alert, rule)}",
        f"  {alert.action} {alert.incident} · {counts_text(alert.counts)} · run of {iso(alert.time)}",
        *(f"  {text}" for text in changed_lines(alert, rule)),
        *(f"  {name:<5}  {pair_line(row, rule)}" for name, row in pairs.items()),
        *([f"  beyond the published rule: {', '.join(reasons)}"] if reasons else []),
        *([f"  {flood_note(alert)}"] if alert.flood_until else []),
    ]


def sequence(context: AlertContext) -> list[str]:
    """The steps in order, a line each. Times are UTC."""
    return [cut(line, LINE) for line in step_lines(context.steps, context.rule)]


def runbook(context: AlertContext) -> list[str]:
    """The first steps of the rule's runbook, numbered."""
    steps = runbook_steps(context.alert, context.rule, CHANGES_SHOWN)[:FIRST_STEPS]
    return [f"{number}. {step}" for number, step in enumerate(steps, 1)]


def pair_lines(context: AlertContext) -> list[str]:
    """The newest pairs, a line each."""
    targets: dict[object, str] = {changed.event: changed.target for changed in context.alert.changed_objects}
    return [cut(pair_line(row, context.rule, targets), LINE) for row in context.pairs]


def evidence(context: AlertContext, pairs: list[str]) -> str:
    """The lines of the pairs that a message shows, and the number of the pairs that it omits."""
    omitted_count = context.alert.counts.pairs - len(pairs)
    return "\n".join([*pairs, *([f"and {plural(omitted_count, 'pair')} more"] if omitted_count else [])])


def origin(context: AlertContext) -> str:
    """The rule, the window of signals, and the command that prints the KQL, which may not fit a message."""
    alert, signals = context.alert, context.alert.windows.signals
    window_text = f"signals from {iso(signals.after)} to {iso(signals.until or alert.time)}"
    kql = f"KQL: python -m detection query --rule {context.rule.folder} --at {iso(alert.time)}"
    return f"{context.rule.name} · {alert.alert} · {window_text} · {kql}"


def cut(text: str, limit: int) -> str:
    """The text, with an ellipsis where it is cut to `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _entity_values(context: AlertContext, entity_type: str) -> list[str]:
    """The values of the entities of a type, without duplicates."""
    values = (
        value
        for entity in context.alert.entities
        if entity["type"] == entity_type
        for name, value in entity.items()
        if name != "type"
    )
    return list(dict.fromkeys(values))


def _join_texts(texts: Sequence[str]) -> str:
    remainder = f" and {len(texts) - VALUES_SHOWN:,} more" if len(texts) > VALUES_SHOWN else ""
    return ", ".join(texts[:VALUES_SHOWN]) + remainder if texts else "none given"
