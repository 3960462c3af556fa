"""The evidence of an incident as its page shows it: signal by signal, each with the changes before it.

A signal after ten changes is ten pairs. As ten rows it would hide nine other signals.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from detection.correlation.output import BEYOND, OutputRow, row_time
from detection.incidents.changed_object import ChangedObject
from detection.messages.text import change_phrase
from detection.rules.model import Rule, Side

SIGNALS = 50  # to a page
CHANGES = 3  # of a signal that are shown at once; the others can be unfolded


@dataclass(frozen=True, slots=True)
class Cell:
    """One side of a pair: the time, the label of the kind, the ids, and the other values."""

    time: datetime
    label: str
    values: Sequence[str]
    ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class SignalEvidence:
    """A signal and the changes before it, the latest first. `beyond` are the reasons why the published rule
    does not return its pairs, or some of them; none if it does.
    """

    signal: Cell
    changes: Sequence[Cell]
    more_changes: Sequence[Cell]
    beyond: Sequence[str]


@dataclass(frozen=True, slots=True)
class EvidencePage:
    """A page of the evidence that the alerts keep, the latest signal first.

    `signals` are those of this page, `begin` is the number of the first of them, from 1. `signal_count` and
    `pair_count` count all signals and pairs of all pages, `beyond_count` the pairs that the published rule
    does not return. `page` is the number of the page, from 1 to `pages`.
    """

    signals: Sequence[SignalEvidence]
    begin: int
    signal_count: int
    pair_count: int
    beyond_count: int
    page: int
    pages: int


NO_EVIDENCE = EvidencePage([], 0, 0, 0, 0, 1, 1)


def evidence_page(
    rows: Iterable[OutputRow], objects: Mapping[str, ChangedObject], rule: Rule, page: int
) -> EvidencePage:
    """A page of the pairs in rows as the rule's query returns them; a number beyond the last page means the
    last. `objects` are the objects of changes, by the id of the change.
    """
    changes, signals = rule.sequence.changes, rule.sequence.signals
    rows_by_signal: dict[str, list[OutputRow]] = {}
    for row in sorted(rows, key=lambda row: (str(row[signals.time]), str(row[changes.time])), reverse=True):
        signal = repr([row[name] for name in row if name in signals.columns])
        rows_by_signal.setdefault(signal, []).append(row)
    groups = list(rows_by_signal.values())
    pages = max(-(-len(groups) // SIGNALS), 1)
    page = min(max(page, 1), pages)
    begin = (page - 1) * SIGNALS
    all_rows = [row for group in groups for row in group]
    return EvidencePage(
        signals=[_signal_evidence(group, objects, rule) for group in groups[begin : begin + SIGNALS]],
        begin=begin + 1,
        signal_count=len(groups),
        pair_count=len(all_rows),
        beyond_count=sum(bool(_beyond(row)) for row in all_rows),
        page=page,
        pages=pages,
    )


def _signal_evidence(
    rows: Sequence[OutputRow], objects: Mapping[str, ChangedObject], rule: Rule
) -> SignalEvidence:
    side = rule.sequence.changes
    changes = []
    for row in rows:
        change = _cell(row, side)
        if changed := objects.get(str(row.get(side.id))):
            change = replace(change, label=change_phrase(changed.kind, changed.target, rule))
        changes.append(change)
    reasons = dict.fromkeys(reason for row in rows for reason in _beyond(row))
    signal = _cell(rows[0], rule.sequence.signals)
    return SignalEvidence(signal, changes[:CHANGES], changes[CHANGES:], list(reasons))


def _beyond(row: OutputRow) -> list[str]:
    reasons = row.get(BEYOND, [])
    return [str(reason) for reason in reasons] if isinstance(reasons, list) else [str(reasons)]


def _cell(row: OutputRow, side: Side) -> Cell:
    kind = row.get(side.kind)
    ids: list[str] = []
    values: list[str] = []
    for name, value in row.items():
        if name not in side.columns or name in (side.time, side.kind, side.actor) or value in (None, "", []):
            continue
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        (ids if name == side.id or name.endswith("Id") else values).append(text)
    return Cell(row_time(row, side), side.label(str(kind)) if kind else "", values, ids)
