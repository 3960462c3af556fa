"""A flood: a key with more signals than are remembered one by one. Pure.

Memory then switches from one mark each to a moment: everything of the key up to there counts as told, what
arrives later too. One alert tells all that is known at that moment and says so; what comes after the moment
is marked again, one by one, until that is too much as well. So a key never keeps more marks of signals
than the limit, and is still told once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from detection.correlate import Chain, chain
from detection.incidents.grouping import (
    Memory,
    Sift,
    Verdict,
    concluded,
    everything,
    new_events,
    newly_marked,
)
from detection.rule import Rule
from detection.timestamps import iso
from detection.window import Windows

FLOOD = 500_000  # signals of a key that are remembered one by one


def after_flood(chains: Sequence[Chain], until: datetime | None, rule: Rule) -> Sequence[Chain]:
    """What is left of a key's chains when everything up to a moment counts as told."""
    if until is None or all(one.signals[0].time > until for one in chains):
        return chains
    return list(_left(chains, until, rule))


def _left(chains: Sequence[Chain], until: datetime, rule: Rule) -> Iterator[Chain]:
    for one in chains:
        later = [signal for signal in one.signals if signal.time > until]
        left = chain(one.actor, one.changes, later, rule.sequence.within, once=one.once)
        if left.spans:
            yield left


def is_flood(chains: Sequence[Chain], memory: Memory, limit: int) -> bool:
    """Whether telling these chains would leave the key with more marks of signals than the limit."""
    most = len(memory.signals) + sum(len(one.signals) for one in chains)
    return most > limit and len(memory.signals) + len(new_events(chains, memory)[1]) > limit


def flooded(
    chains: Sequence[Chain],
    memory: Memory,
    rule: Rule,
    windows: Windows,
    sift: Sift = everything,
) -> Verdict | None:
    """All that is new of a key in one part, after which everything of it up to its latest signal counts as told."""
    changes, signals = new_events(chains, memory)
    if not changes and not signals:
        return None
    until, commit = max(one.signals[-1].time for one in chains), memory.commits + 1
    # Its marks are of no more use, unless some lie beyond: a clock may have gone back, a piece does not see all.
    useless = memory.latest is None or memory.latest <= until
    marked = replace(memory, changes=memory.changes | changes.keys(), signals=memory.signals | signals.keys())
    told, silenced = sift(part for one in chains for part in newly_marked(one, memory, marked, rule))
    after = replace(
        memory,
        commits=commit,
        judged=windows.now,
        latest=max(until, memory.latest or until),
        flood=until,
        flooded=commit if useless else memory.flooded,
    )
    verdict = Verdict(after, {}, {}, told, None, more=False, silenced=silenced)
    return _saying_so(concluded(verdict, rule, windows))


def _saying_so(verdict: Verdict) -> Verdict:
    alert, until = verdict.alert, verdict.memory.flood
    return replace(verdict, alert=replace(alert, flood=iso(until))) if alert and until else verdict
