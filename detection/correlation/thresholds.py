"""Thresholds: a kind of signal that is ordinary traffic counts only once a change reaches enough signals of
the kind.

A signal below its threshold is neither alerted nor marked, so a later run that sees enough of them alerts
them all. A signal counts as a whole as soon as any change reaches enough of its kind, so none of its pairs is
lost.
"""

from collections.abc import Iterable, Iterator, Sequence
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
            positions.update(_positions_in_reach(kinds, kind, chain.spans, thresholds[kind]))
        below_threshold += len(chain.signals) - len(positions)
        signals = [signal for position, signal in enumerate(chain.signals) if position in positions]
        remaining.append(
            make_chain(chain.actor, chain.changes, signals, rule.sequence.within, once=chain.once)
        )
    return [chain for chain in remaining if chain.spans], below_threshold


def _positions_in_reach(
    kinds: Sequence[str], kind: str, spans: Sequence[range], threshold: int
) -> Iterator[int]:
    """The positions of a kind in the spans with enough signals of it. Spans are in order and may overlap."""
    counts = [0, *accumulate(int(signal_kind == kind) for signal_kind in kinds)]
    end = 0
    for span in spans:
        if counts[span.stop] - counts[span.start] >= threshold:
            yield from (
                position for position in range(max(span.start, end), span.stop) if kinds[position] == kind
            )
            end = span.stop
