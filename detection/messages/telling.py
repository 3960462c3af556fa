"""What every format tells of an alert, gathered once: the alert, its incident, and the newest pairs. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import nlargest
from itertools import chain, islice

from detection.correlate import Chain, Pair
from detection.incidents.alert import Alert
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
    newest = nlargest(NEWEST, chain.from_iterable(map(_newest, verdict.told)), key=_when)
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


def _newest(one: Chain) -> Iterator[Pair]:
    """A chain's newest pairs; where a pair of ids is one pair, it stands there once, as the latest."""
    return islice(_distinct(one.newest()) if one.once else one.newest(), NEWEST)


def _distinct(pairs: Iterator[Pair]) -> Iterator[Pair]:
    seen: set[tuple[str, str]] = set()
    for change, signal in pairs:
        if (change.id, signal.id) not in seen:
            seen.add((change.id, signal.id))
            yield change, signal


def _when(pair: Pair) -> tuple[object, object]:
    change, signal = pair
    return signal.time, change.time
