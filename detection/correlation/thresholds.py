"""Thresholds: a kind of signal that is ordinary traffic counts only once a change reaches enough signals of
the kind.

A signal below its threshold is neither alerted nor marked, so a later run that sees enough of them alerts
them all. A signal counts as a whole as soon as any change reaches enough of its kind, so none of its pairs is
lost.
"""

from collections.abc import Iterable
from itertools import accumulate

from detection.correlation.correlate import Chain, make_chain
from detection.rules.model import Rule


def apply_thresholds(chains: Iterable[Chain], rule: Rule) -> tuple[list[Chain], int]:
    """Removes the signals below their threshold. Returns the remaining chains and the number of removed
    signals.
    """
    thresholds = {kind: threshold for kind, threshold in rule.sequence.threshold.items() if threshold > 1}
    if not thresholds:
        return list(chains), 0
    remaining: list[Chain] = []
    below_threshold = 0
    for chain in chains:
        kinds = [signal.kind.lower() for signal in chain.signals]
        positions = {position for position, kind in enumerate(kinds) if kind not in thresholds}
        for kind in thresholds.keys() & set(kinds):
            counts = [0, *accumulate(int(signal_kind == kind) for signal_kind in kinds)]
            end = 0
            for span in chain.spans:  # in order; they may overlap
                if counts[span.stop] - counts[span.start] >= thresholds[kind]:
                    reached = range(max(span.start, end), span.stop)
                    positions.update(position for position in reached if kinds[position] == kind)
                    end = span.stop
        below_threshold += len(chain.signals) - len(positions)
        signals = [signal for position, signal in enumerate(chain.signals) if position in positions]
        remaining.append(
            make_chain(chain.actor, chain.changes, signals, rule.sequence.within, once=chain.once)
        )
    return [chain for chain in remaining if chain.spans], below_threshold
