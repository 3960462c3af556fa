"""What every format tells of an alert, gathered once: the alert, its incident, and the newest pairs. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from detection.incidents.alert import Alert
from detection.incidents.evidence import newest_pairs
from detection.incidents.grouping import Incident, Verdict
from detection.kql import bounds, queries, with_bounds
from detection.messages.leads import Leads
from detection.messages.steps import Step, steps
from detection.rows import Output, OutputRow
from detection.rule import Rule
from detection.window import Windows

NEWEST = 20  # pairs that a message shows
NOWHERE = Leads()


@dataclass(frozen=True, slots=True)
class Telling:
    """An alert with what a reader needs beside it: `pairs` are the newest, `more` says how many there are beyond.

    `steps` are what happened, in order. `queries` are the KQL texts that the run sent, by side.
    """

    alert: Alert
    incident: Incident
    rule: Rule
    pairs: Sequence[OutputRow]
    more: int
    steps: Sequence[Step]
    queries: dict[str, str]
    links: Leads


def telling(verdict: Verdict, rule: Rule, windows: Windows, links: Leads = NOWHERE) -> Telling:
    """What is to be told of a verdict. Raises ValueError for one that tells nothing."""
    if verdict.alert is None or verdict.memory.incident is None:
        raise ValueError("a verdict without an alert has nothing to tell")
    newest = newest_pairs(verdict.told, NEWEST)
    output, texts = Output(rule), queries(rule)
    return Telling(
        alert=verdict.alert,
        incident=verdict.memory.incident,
        rule=rule,
        pairs=[output.row(pair, windows.now) for pair in newest],
        more=verdict.pairs - len(newest),
        steps=steps(verdict.told, rule),
        queries={side: with_bounds(texts[side], bounds(windows)) for side in rule.sequence.sides},
        links=replace(links, runbook=rule.on_call.runbook_url),
    )
