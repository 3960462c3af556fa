"""Kinds of signal that are ordinary traffic one by one: undecided until a change reaches enough of them. Pure.

What is undecided is neither told nor marked, so a later run that sees enough of them tells them all. A signal is
decided as a whole, by any change that reaches enough of its kind: so none of its pairs can be forgotten.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from detection.correlate import Chain, chain
from detection.rule import Rule


def decided(chains: Iterable[Chain], rule: Rule) -> tuple[list[Chain], int]:
    """The chains without the signals of which there are not enough, and how many those are."""
    minimum = {kind: least for kind, least in rule.sequence.minimum.items() if least > 1}
    if not minimum:
        return list(chains), 0
    left: list[Chain] = []
    undecided = 0
    for one in chains:
        enough = set(_enough(one, minimum))
        undecided += len(one.signals) - len(enough)
        signals = [signal for at, signal in enumerate(one.signals) if at in enough]
        left.append(chain(one.actor, one.changes, signals, rule.sequence.within, once=one.once))
    return [one for one in left if one.spans], undecided


def _enough(one: Chain, minimum: Mapping[str, int]) -> Iterator[int]:
    """The positions of the signals that are decided."""
    kinds = [signal.kind.lower() for signal in one.signals]
    for kind in set(kinds):
        if kind in minimum:
            yield from _reached(kinds, kind, one.spans, minimum[kind])
        else:
            yield from (at for at, other in enumerate(kinds) if other == kind)


def _reached(kinds: Sequence[str], kind: str, spans: Sequence[range], least: int) -> Iterator[int]:
    """The positions of a kind in the spans that hold at least so many of it. Spans are in order and may overlap."""
    before = [0, *accumulate(int(other == kind) for other in kinds)]
    seen = 0
    for span in spans:
        if before[span.stop] - before[span.start] >= least:
            yield from (at for at in range(max(span.start, seen), span.stop) if kinds[at] == kind)
            seen = span.stop
