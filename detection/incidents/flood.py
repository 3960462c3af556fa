"""A flood: a key with more signals than are remembered one by one.

Memory then switches from one mark each to a moment: everything of the key up to there counts as told, what
arrives later too. One alert tells all that is known at that moment and says so; what comes after the moment
is marked again, one by one, until that is too much as well. So a key never keeps more marks of signals
than the limit, and is still told once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from detection.base.timestamps import iso
from detection.correlation.correlate import Chain, make_chain
from detection.incidents.grouping import (
    KeyState,
    PairFilter,
    Verdict,
    conclude,
    new_events,
    newly_marked,
    no_filter,
)
from detection.logs.window import Windows
from detection.rules.model import Rule

FLOOD = 500_000  # signals of a key that are remembered one by one


def after_flood(chains: Sequence[Chain], until: datetime | None, rule: Rule) -> Sequence[Chain]:
    """What is left of a key's chains when everything up to a moment counts as told."""
    if until is None or all(chain.signals[0].time > until for chain in chains):
        return chains
    return list(_later_parts(chains, until, rule))


def _later_parts(chains: Sequence[Chain], until: datetime, rule: Rule) -> Iterator[Chain]:
    for chain in chains:
        later = [signal for signal in chain.signals if signal.time > until]
        part = make_chain(chain.actor, chain.changes, later, rule.sequence.within, once=chain.once)
        if part.spans:
            yield part


def is_flood(chains: Sequence[Chain], state: KeyState, limit: int) -> bool:
    """Whether telling these chains would leave the key with more marks of signals than the limit."""
    upper_bound = len(state.signals) + sum(len(chain.signals) for chain in chains)
    return upper_bound > limit and len(state.signals) + len(new_events(chains, state)[1]) > limit


def decide_flooded(
    chains: Sequence[Chain],
    state: KeyState,
    rule: Rule,
    windows: Windows,
    pair_filter: PairFilter = no_filter,
) -> Verdict | None:
    """All that is new of a key in one part, after which everything of it up to its latest signal counts as told."""
    changes, signals = new_events(chains, state)
    if not changes and not signals:
        return None
    until, commit = max(chain.signals[-1].time for chain in chains), state.commits + 1
    # Its marks are of no more use, unless some lie beyond: a clock may have gone back, a piece does not see all.
    useless = state.latest_signal is None or state.latest_signal <= until
    marked_state = replace(
        state, changes=state.changes | changes.keys(), signals=state.signals | signals.keys()
    )
    new_pairs, silenced = pair_filter(
        part for chain in chains for part in newly_marked(chain, state, marked_state, rule)
    )
    new_state = replace(
        state,
        commits=commit,
        decided_at=windows.now,
        latest_signal=max(until, state.latest_signal or until),
        flood_until=until,
        flood_commit=commit if useless else state.flood_commit,
    )
    verdict = Verdict(new_state, {}, {}, new_pairs, None, has_more=False, silenced=silenced)
    return _with_flood(conclude(verdict, rule, windows))


def _with_flood(verdict: Verdict) -> Verdict:
    alert, until = verdict.alert, verdict.state.flood_until
    return replace(verdict, alert=replace(alert, flood_until=iso(until))) if alert and until else verdict
