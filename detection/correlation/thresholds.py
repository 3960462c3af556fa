"""Thresholds: signals of a kind that is ordinary traffic count once a change reaches enough of them.

A threshold belongs to the change: the pairs of a kind count once that change reaches at least so many signals
of the kind. So all that a pair needs lies within one change's reach, and every run that sees the change sees
all of it. A change below its threshold is neither alerted nor marked, so a later run that sees enough signals
alerts them all.
"""

from collections.abc import Iterable

from detection.correlation.correlate import Chain
from detection.logs.events import Event
from detection.rules.model import Rule


def split_by_threshold(chains: Iterable[Chain], rule: Rule) -> tuple[list[Chain], list[Chain]]:
    """The chains of changes that reach their threshold, and the chains of changes that do not.

    The latter, and the former of kinds with a threshold, are of one kind each.
    """
    thresholds = {kind: threshold for kind, threshold in rule.sequence.threshold.items() if threshold > 1}
    if not thresholds:
        return list(chains), []
    reaching: list[Chain] = []
    below: list[Chain] = []
    for part in (part for chain in chains for part in split_by_kind(chain, rule)):
        threshold = thresholds.get(part.kind, 1)
        enough = [
            len({signal.id for signal in part.signals[span.start : span.stop]}) >= threshold
            for span in part.spans
        ]
        for parts, is_wanted in ((reaching, True), (below, False)):
            changes = [
                change
                for change, is_enough in zip(part.changes, enough, strict=True)
                if is_enough is is_wanted
            ]
            if changes:
                parts.append(part.part(changes, part.signals, rule.sequence.within))
    return reaching, below


def split_by_kind(chain: Chain, rule: Rule) -> list[Chain]:
    """A chain in parts whose signals are of one kind."""
    if len({signal.kind for signal in chain.signals}) == 1:
        return [chain]
    signals_by_kind: dict[str, list[Event]] = {}
    for signal in chain.signals:
        signals_by_kind.setdefault(signal.kind.lower(), []).append(signal)
    return [chain.part(chain.changes, signals, rule.sequence.within) for signals in signals_by_kind.values()]
