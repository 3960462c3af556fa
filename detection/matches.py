"""What a rule's query returns at a moment: the first half of a run, without any memory."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain as joined
from operator import attrgetter

from detection.bridges import assign_for
from detection.correlate import Chain, Pair, correlate
from detection.events import Event, Logs
from detection.minimum import decided
from detection.rows import Output, OutputRow
from detection.rule import Rule
from detection.sources import Source
from detection.window import Windows, windows


@dataclass(frozen=True, slots=True)
class Matches:
    """What was read at one moment, and the chains in it; not `whole` where it is a slice of a reading.

    `undecided` signals are in no chain yet: of their kind there are not enough.
    """

    rule: Rule
    windows: Windows
    logs: Logs
    chains: list[Chain]
    whole: bool = True
    undecided: int = 0

    def rows(self) -> Iterator[OutputRow]:
        """The pairs as the rule's query returns them: the newest change first."""
        output = Output(self.rule)
        return (output.row(pair, self.windows.now) for pair in self._newest_first())

    def lines(self) -> Iterator[str]:
        """The same rows, each as a line of JSON."""
        return Output(self.rule).lines(self._newest_first(), self.windows.now)

    def _newest_first(self) -> Iterator[Pair]:
        """The pairs from the newest change back, and of one change from the newest signal back."""
        by_change: dict[int, tuple[Event, list[Event]]] = {}
        for change, signal in (pair for chain in self.chains for pair in chain.pairs()):
            by_change.setdefault(id(change), (change, []))[1].append(signal)
        for change, signals in sorted(by_change.values(), key=lambda one: _when(one[0]), reverse=True):
            for signal in sorted(signals, key=_when, reverse=True):
                yield change, signal


def matches_at(rule: Rule, now: datetime, source: Source) -> Matches:
    """What the rule finds at `now` on its own: the windows are those of a first run."""
    return read(rule, windows(now, None, rule), source)


def read(rule: Rule, stretch: Windows, source: Source) -> Matches:
    """The chains of a rule in a stretch of the logs, all at once. Raises what Source.read raises."""
    parts = list(slices(rule, stretch, source))
    return replace(
        parts[0],
        chains=list(joined.from_iterable(one.chains for one in parts)),
        whole=True,
        undecided=sum(one.undecided for one in parts),
    )


def slices(rule: Rule, stretch: Windows, source: Source) -> Iterator[Matches]:
    """The same, a slice at a time: no chain reaches from one into another, and the first has what is said of all.

    Everything has been read before the first comes. Raises what Source.read raises.
    """
    first = source.read(rule, stretch)
    whole, rest = not first.rest, iter(first.rest)
    logs: Logs | None = first
    del first
    while logs:
        yield _matches(rule, stretch, logs, whole=whole)
        del logs  # before the next slice is made: memory follows the slice
        logs = next(rest, None)


def _matches(rule: Rule, stretch: Windows, logs: Logs, *, whole: bool) -> Matches:
    once = rule.sequence.duplicates == "once"
    chains = correlate(
        logs.changes.inside, logs.signals.inside, rule.sequence.within, once=once, assign=assign_for(rule)
    )
    if logs.piece:  # a flood is enough of anything
        return Matches(rule, stretch, logs, chains, whole)
    chains, undecided = decided(chains, rule)
    return Matches(rule, stretch, logs, chains, whole, undecided)


# By time, and by id only so that equal times have one order.
_when = attrgetter("time", "id")
