"""Kinds of signal that are ordinary traffic one by one: undecided until a change reaches enough of them.

What is undecided is neither told nor marked, so a later run that sees enough of them tells them all. A signal is
decided as a whole, by any change that reaches enough of its kind: so none of its pairs can be forgotten.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from detection.correlation.correlate import Chain, make_chain
from detection.rules.model import Rule


def apply_thresholds(chains: Iterable[Chain], rule: Rule) -> tuple[list[Chain], int]:
    """The chains without the signals of which there are not enough, and how many those are."""
    thresholds = {kind: threshold for kind, threshold in rule.sequence.threshold.items() if threshold > 1}
    if not thresholds:
        return list(chains), 0
    remaining: list[Chain] = []
    below_threshold = 0
    for chain in chains:
        positions = set(_positions_kept(chain, thresholds))
        below_threshold += len(chain.signals) - len(positions)
        signals = [signal for position, signal in enumerate(chain.signals) if position in positions]
        remaining.append(
            make_chain(chain.actor, chain.changes, signals, rule.sequence.within, once=chain.once)
        )
    return [chain for chain in remaining if chain.spans], below_threshold


def _positions_kept(chain: Chain, thresholds: Mapping[str, int]) -> Iterator[int]:
    """The positions of the signals that are decided."""
    kinds = [signal.kind.lower() for signal in chain.signals]
    for kind in set(kinds):
        if kind in thresholds:
            yield from _positions_in_reach(kinds, kind, chain.spans, thresholds[kind])
        else:
            yield from (position for position, signal_kind in enumerate(kinds) if signal_kind == kind)


def _positions_in_reach(
    kinds: Sequence[str], kind: str, spans: Sequence[range], threshold: int
) -> Iterator[int]:
    """The positions of a kind in the spans that hold at least so many of it. Spans are in order and may overlap."""
    counts = [0, *accumulate(int(signal_kind == kind) for signal_kind in kinds)]
    end = 0
    for span in spans:
        if counts[span.stop] - counts[span.start] >= threshold:
            yield from (
                position for position in range(max(span.start, end), span.stop) if kinds[position] == kind
            )
            end = span.stop
