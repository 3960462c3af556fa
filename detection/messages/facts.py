"""What every message for people says of an alert beside its title, as names and values. Pure.

Values from the logs are one line each and inert: no control or direction character is left to obey.
"""

from collections.abc import Iterable

from detection.identity import EXACT
from detection.messages.steps import step_lines
from detection.messages.telling import Telling
from detection.messages.text import inert, many, pair_line, title

NAMED = 5  # addresses, models; more are counted
LINE = 500  # characters of one pair
FIRST_STEPS = 3  # of the runbook
WHOLE_RUNBOOK = "The whole runbook: docs/runbook.md"


def headline(told: Telling) -> str:
    """The title; an update is said to be one, for its incident is known by then."""
    first = "" if told.alert.action == "opened" else "Update: "
    return first + title(told.alert, told.rule)


def facts(told: Telling) -> list[tuple[str, str]]:
    """The incident, the sizes, who and from where."""
    alert, incident, counts = told.alert, told.incident, told.alert.counts
    predecessor = f", after {incident.predecessor}" if incident.predecessor else ""
    hushed = f", {incident.silenced:,} silenced" if incident.silenced else ""
    new = ", ".join(
        many(number, thing)
        for number, thing in (
            (counts.changes, "change"),
            (counts.signals, "signal"),
            (counts.pairs, "pair"),
        )
    )
    return [
        ("Incident", f"{alert.action} {incident.id}{predecessor}{_taken_on(told)}"),
        ("So far", f"{many(incident.alerts, 'alert')}, {many(incident.pairs, 'pair')}{hushed}"),
        ("New", new),
        ("Severity", f"{alert.severity}, raised by the evidence" if alert.raised else alert.severity),
        *([("Flood", f"everything of this actor up to {alert.flood} counts as told")] if alert.flood else []),
        ("Actor", inert(alert.actor)),
        *_matched_by(told),
        ("Addresses", _some(_addresses(told))),
        ("Models", _some(_of_type(told, "CloudApplication"))),
        ("Tactics", f"{', '.join(told.rule.tactics)} ({', '.join(told.rule.relevant_techniques)})"),
    ]


def sequence(told: Telling) -> list[str]:
    """What happened in order, a line each. Times are UTC."""
    return [cut(line, LINE) for line in step_lines(told.steps, told.rule)]


def runbook(told: Telling) -> list[str]:
    """The first steps of the rule's runbook, numbered, and where the rest is, unless a link leads there."""
    first = [f"{number}. {step}" for number, step in enumerate(told.rule.on_call.runbook[:FIRST_STEPS], 1)]
    return [*first, *([] if told.links.runbook else [WHOLE_RUNBOOK])]


def pair_lines(told: Telling) -> list[str]:
    """The newest pairs, a line each."""
    return [cut(pair_line(row, told.rule), LINE) for row in told.pairs]


def evidence(told: Telling, pairs: list[str]) -> str:
    """Some of the pairs, and how many more there are."""
    hidden = told.alert.counts.pairs - len(pairs)
    return "\n".join([*pairs, *([f"and {many(hidden, 'pair')} more"] if hidden else [])])


def origin(told: Telling) -> str:
    """Which rule says so, over which stretch, and how to see its KQL, which is longer than a message may be."""
    alert, signals = told.alert, told.alert.windows.signals
    stretch = f"signals from {signals.after} to {signals.until or alert.at}"
    kql = f"KQL: python -m detection query --rule {told.rule.folder} --at {alert.at}"
    return f"{told.rule.name} · {alert.alert} · {stretch} · {kql}"


def cut(text: str, limit: int) -> str:
    """The text, cut to a number of characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _taken_on(told: Telling) -> str:
    """Who has acknowledged the incident, if somebody has."""
    by = [act.by for act in told.incident.history if act.what == "acknowledged"]
    return f", acknowledged by {inert(by[-1])}" if by else ""


def _matched_by(told: Telling) -> list[tuple[str, str]]:
    """How the signals are the actor's, where that is more than being named by the same identity."""
    counts = told.alert.bridges
    if counts.keys() <= {EXACT.name}:
        return []
    words = {bridge.name: bridge.words for bridge in told.rule.sequence.identity}
    said = [f"{inert(words.get(name, name))} ({many(count, 'signal')})" for name, count in counts.items()]
    return [("Matched by", ", ".join(said))]


def _addresses(told: Telling) -> list[str]:
    """The addresses that the changes came from; one that is new for the actor says so."""
    known = _of_type(told, "IP")
    return [f"{one} (new for this actor)" if one in told.alert.new_addresses else one for one in known]


def _of_type(told: Telling, kind: str) -> list[str]:
    """The values of the entities of a type, each once."""
    values = (
        value
        for entity in told.alert.entities
        if entity["type"] == kind
        for name, value in entity.items()
        if name != "type"
    )
    return list(dict.fromkeys(values))


def _some(values: Iterable[str]) -> str:
    shown = [inert(value) for value in values]
    more = f" and {len(shown) - NAMED} more" if len(shown) > NAMED else ""
    return ", ".join(shown[:NAMED]) + more if shown else "none given"
