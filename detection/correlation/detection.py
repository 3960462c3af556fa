"""What a rule's query returns at a moment: the first half of a run, without any memory."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain as joined
from operator import attrgetter

from detection.correlation.correlate import Chain, Pair, correlate
from detection.correlation.output import OutputRow, RowWriter
from detection.correlation.thresholds import apply_thresholds
from detection.logs.actors import resolver_for
from detection.logs.events import Event, Logs
from detection.logs.source import Source
from detection.logs.window import Windows, plan_windows
from detection.rules.model import Rule


@dataclass(frozen=True, slots=True)
class Detection:
    """What was read at one moment, and the chains in it; not `is_whole` where it is a slice of a reading.

    `below_threshold` signals are in no chain yet: of their kind there are not enough.
    """

    rule: Rule
    windows: Windows
    logs: Logs
    chains: list[Chain]
    is_whole: bool = True
    below_threshold: int = 0

    def rows(self) -> Iterator[OutputRow]:
        """The pairs as the rule's query returns them: the newest change first."""
        output = RowWriter(self.rule)
        return (output.row(pair, self.windows.now) for pair in self._newest_first())

    def lines(self) -> Iterator[str]:
        """The same rows, each as a line of JSON."""
        return RowWriter(self.rule).lines(self._newest_first(), self.windows.now)

    def _newest_first(self) -> Iterator[Pair]:
        """The pairs from the newest change back, and of one change from the newest signal back."""
        by_change: dict[int, tuple[Event, list[Event]]] = {}
        for change, signal in (pair for chain in self.chains for pair in chain.pairs()):
            by_change.setdefault(id(change), (change, []))[1].append(signal)
        for change, signals in sorted(
            by_change.values(), key=lambda change_and_signals: _when(change_and_signals[0]), reverse=True
        ):
            for signal in sorted(signals, key=_when, reverse=True):
                yield change, signal


def detect_at(rule: Rule, now: datetime, source: Source) -> Detection:
    """What the rule finds at `now` on its own: the windows are those of a first run."""
    return detect(rule, plan_windows(now, None, rule), source)


def detect(rule: Rule, windows: Windows, source: Source) -> Detection:
    """The chains of a rule in a stretch of the logs, all at once. Raises what Source.read raises."""
    parts = list(detect_in_slices(rule, windows, source))
    return replace(
        parts[0],
        chains=list(joined.from_iterable(part.chains for part in parts)),
        is_whole=True,
        below_threshold=sum(part.below_threshold for part in parts),
    )


def detect_in_slices(rule: Rule, windows: Windows, source: Source) -> Iterator[Detection]:
    """The same, a slice at a time: no chain reaches from one into another, and the first has what is said of all.

    Everything has been read before the first comes. Raises what Source.read raises.
    """
    first_slice = source.read(rule, windows)
    whole, rest = not first_slice.slices, iter(first_slice.slices)
    logs: Logs | None = first_slice
    del first_slice
    while logs:
        yield _detect_in(rule, windows, logs, whole=whole)
        del logs  # before the next slice is made: memory follows the slice
        logs = next(rest, None)


def _detect_in(rule: Rule, windows: Windows, logs: Logs, *, whole: bool) -> Detection:
    once = rule.sequence.duplicates == "once"
    chains = correlate(
        logs.changes.in_window,
        logs.signals.in_window,
        rule.sequence.within,
        once=once,
        resolve=resolver_for(rule),
    )
    if logs.is_chunk:  # a flood is enough of anything
        return Detection(rule, windows, logs, chains, whole)
    chains, below_threshold = apply_thresholds(chains, rule)
    return Detection(rule, windows, logs, chains, whole, below_threshold)


# By time, and by id only so that equal times have one order.
_when = attrgetter("time", "id")
