"""What every message for people says of an alert beside its title, as names and values.

Values from the logs are one line each and inert: no control or direction character is left to obey.
"""

from collections.abc import Iterable

from detection.messages.context import AlertContext
from detection.messages.steps import step_lines
from detection.messages.text import escape_line, pair_line, plural, title
from detection.rules.identity import EXACT

VALUES_SHOWN = 5  # addresses, models; more are counted
LINE = 500  # characters of one pair
FIRST_STEPS = 3  # of the runbook
WHOLE_RUNBOOK = "The whole runbook: docs/runbook.md"


def headline(context: AlertContext) -> str:
    """The title; an update is said to be one, for its incident is known by then."""
    prefix = "" if context.alert.action == "opened" else "Update: "
    return prefix + title(context.alert, context.rule)


def facts(context: AlertContext) -> list[tuple[str, str]]:
    """The incident, the sizes, who and from where."""
    alert, incident, counts = context.alert, context.incident, context.alert.counts
    predecessor = f", after {incident.predecessor}" if incident.predecessor else ""
    silenced = f", {incident.silenced:,} silenced" if incident.silenced else ""
    new = ", ".join(
        plural(number, noun)
        for number, noun in (
            (counts.changes, "change"),
            (counts.signals, "signal"),
            (counts.pairs, "pair"),
        )
    )
    return [
        ("Incident", f"{alert.action} {incident.id}{predecessor}{_acknowledged_by(context)}"),
        ("So far", f"{plural(incident.alerts, 'alert')}, {plural(incident.pairs, 'pair')}{silenced}"),
        ("New", new),
        (
            "Severity",
            f"{alert.severity}, raised by the evidence" if alert.severity_raised else alert.severity,
        ),
        *(
            [("Flood", f"everything of this actor up to {alert.flood_until} counts as told")]
            if alert.flood_until
            else []
        ),
        ("Actor", escape_line(alert.actor)),
        *_matched_by(context),
        ("Addresses", _join_values(_addresses(context))),
        ("Models", _join_values(_entity_values(context, "CloudApplication"))),
        ("Tactics", f"{', '.join(context.rule.tactics)} ({', '.join(context.rule.relevant_techniques)})"),
    ]


def sequence(context: AlertContext) -> list[str]:
    """What happened in order, a line each. Times are UTC."""
    return [cut(line, LINE) for line in step_lines(context.steps, context.rule)]


def runbook(context: AlertContext) -> list[str]:
    """The first steps of the rule's runbook, numbered, and where the rest is, unless a link leads there."""
    first_steps = [
        f"{number}. {step}" for number, step in enumerate(context.rule.on_call.runbook[:FIRST_STEPS], 1)
    ]
    return [*first_steps, *([] if context.links.runbook else [WHOLE_RUNBOOK])]


def pair_lines(context: AlertContext) -> list[str]:
    """The newest pairs, a line each."""
    return [cut(pair_line(row, context.rule), LINE) for row in context.pairs]


def evidence(context: AlertContext, pairs: list[str]) -> str:
    """Some of the pairs, and how many more there are."""
    hidden = context.alert.counts.pairs - len(pairs)
    return "\n".join([*pairs, *([f"and {plural(hidden, 'pair')} more"] if hidden else [])])


def origin(context: AlertContext) -> str:
    """Which rule says so, over which stretch, and how to see its KQL, which is longer than a message may be."""
    alert, signals = context.alert, context.alert.windows.signals
    window_text = f"signals from {signals.after} to {signals.until or alert.time}"
    kql = f"KQL: python -m detection query --rule {context.rule.folder} --at {alert.time}"
    return f"{context.rule.name} · {alert.alert} · {window_text} · {kql}"


def cut(text: str, limit: int) -> str:
    """The text, cut to a number of characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _acknowledged_by(context: AlertContext) -> str:
    """Who has acknowledged the incident, if somebody has."""
    authors = [entry.author for entry in context.incident.history if entry.action == "acknowledged"]
    return f", acknowledged by {escape_line(authors[-1])}" if authors else ""


def _matched_by(context: AlertContext) -> list[tuple[str, str]]:
    """How the signals are the actor's, where that is more than being named by the same identity."""
    counts = context.alert.matched_by
    if counts.keys() <= {EXACT.name}:
        return []
    words_by_name = {option.name: option.description for option in context.rule.sequence.identity}
    descriptions = [
        f"{escape_line(words_by_name.get(name, name))} ({plural(count, 'signal')})"
        for name, count in counts.items()
    ]
    return [("Matched by", ", ".join(descriptions))]


def _addresses(context: AlertContext) -> list[str]:
    """The addresses that the changes came from; one that is new for the actor says so."""
    addresses = _entity_values(context, "IP")
    return [
        f"{address} (new for this actor)" if address in context.alert.new_addresses else address
        for address in addresses
    ]


def _entity_values(context: AlertContext, entity_type: str) -> list[str]:
    """The values of the entities of a type, each once."""
    values = (
        value
        for entity in context.alert.entities
        if entity["type"] == entity_type
        for name, value in entity.items()
        if name != "type"
    )
    return list(dict.fromkeys(values))


def _join_values(values: Iterable[str]) -> str:
    texts = [escape_line(value) for value in values]
    remainder = f" and {len(texts) - VALUES_SHOWN} more" if len(texts) > VALUES_SHOWN else ""
    return ", ".join(texts[:VALUES_SHOWN]) + remainder if texts else "none given"
