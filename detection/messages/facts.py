"""The content of every message for people: facts as names and values, steps, pairs, origin.

Each value from the logs is on one line, with control and direction characters escaped.
"""

from collections.abc import Iterable

from detection.base.timestamps import iso
from detection.messages.context import AlertContext
from detection.messages.steps import step_lines
from detection.messages.text import (
    counts_text,
    covered_by_flood,
    escape_line,
    escape_name,
    pair_line,
    plural,
    title,
)
from detection.rules.identity import EXACT

VALUES_SHOWN = 5  # addresses or models; further values are counted
LINE = 500  # characters of one pair
FIRST_STEPS = 3  # of the runbook
WHOLE_RUNBOOK = "The whole runbook: docs/runbook.md"


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
    severity = f"{alert.severity}, raised by the evidence" if alert.severity_raised else alert.severity
    addresses = [
        f"{address} (new for this actor)" if address in alert.new_addresses else address
        for address in _entity_values(context, "IP")
    ]
    options = {option.name: option.description for option in context.rule.sequence.identity}
    matched_by = [
        f"{escape_line(options.get(name, name))} ({plural(count, 'signal')})"
        for name, count in alert.matched_by.items()
    ]
    return [
        ("Incident", incident_text),
        ("So far", so_far),
        ("New", counts_text(alert.counts)),
        ("Severity", severity),
        *([("High volume", covered_by_flood(alert.flood_until))] if alert.flood_until else []),
        ("Actor", escape_name(alert.actor)),
        *([("Matched by", ", ".join(matched_by))] if alert.matched_by.keys() - {EXACT.name} else []),
        ("Addresses", _join_values(addresses)),
        ("Models", _join_values(_entity_values(context, "CloudApplication"))),
        ("Tactics", f"{', '.join(context.rule.tactics)} ({', '.join(context.rule.relevant_techniques)})"),
    ]


def sequence(context: AlertContext) -> list[str]:
    """The steps in order, a line each. Times are UTC."""
    return [cut(line, LINE) for line in step_lines(context.steps, context.rule)]


def runbook(context: AlertContext) -> list[str]:
    """The first steps of the rule's runbook, numbered.

    Names the whole runbook if the message has no link to it.
    """
    first_steps = [
        f"{number}. {step}" for number, step in enumerate(context.rule.on_call.runbook[:FIRST_STEPS], 1)
    ]
    return [*first_steps, *([] if context.links.runbook else [WHOLE_RUNBOOK])]


def pair_lines(context: AlertContext) -> list[str]:
    """The newest pairs, a line each."""
    return [cut(pair_line(row, context.rule), LINE) for row in context.pairs]


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


def _join_values(values: Iterable[str]) -> str:
    texts = [escape_name(value) for value in values]
    remainder = f" and {len(texts) - VALUES_SHOWN} more" if len(texts) > VALUES_SHOWN else ""
    return ", ".join(texts[:VALUES_SHOWN]) + remainder if texts else "none given"
