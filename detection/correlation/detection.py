"""What a rule's query returns at a moment: the part of a run that needs no table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain as joined
from operator import attrgetter

from detection.correlation.correlate import Chain, Pair, correlate
from detection.correlation.output import OutputRow, RowWriter
from detection.correlation.thresholds import split_by_threshold
from detection.logs.actors import resolver_for
from detection.logs.events import Event, Logs
from detection.logs.source import Source, read_slices
from detection.logs.window import Windows, plan_windows
from detection.rules.model import Rule


@dataclass(frozen=True, slots=True)
class Detection:
    """The chains in the logs of a run, or in a slice of them.

    `below` are the chains of changes that reach too few signals of a kind; they alert only what an earlier
    threshold let through.
    """

    rule: Rule
    windows: Windows
    logs: Logs
    chains: list[Chain]
    below: Sequence[Chain] = ()

    @property
    def below_threshold(self) -> int:
        """How many pairs are in no chain, because their change reaches too few signals of the kind."""
        return sum(chain.count() for chain in self.below)

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


def correlate_logs(logs: Logs, rule: Rule, windows: Windows) -> Detection:
    """The chains of a rule in logs. Thresholds do not apply to chunks: a flood is enough of anything."""
    chains = correlate(
        logs.changes.in_window,
        logs.signals.in_window,
        rule.sequence.within,
        once=rule.sequence.duplicates == "once",
        resolve=resolver_for(rule),
    )
    reaching, below = (chains, []) if logs.is_chunk else split_by_threshold(chains, rule)
    return Detection(rule, windows, logs, reaching, below)


def detect(rule: Rule, windows: Windows, source: Source) -> Detection:
    """The chains of a rule in the logs of these windows, all at once. Raises what Source.read raises."""
    slices = [correlate_logs(logs, rule, windows) for logs in read_slices(source, rule, windows)]
    return replace(
        slices[0],
        chains=list(joined.from_iterable(part.chains for part in slices)),
        below=list(joined.from_iterable(part.below for part in slices)),
    )


def detect_at(rule: Rule, now: datetime, source: Source) -> Detection:
    """What the rule finds at `now` on its own: the windows are those of a first run."""
    return detect(rule, plan_windows(now, None, rule), source)


# By time, and by id only so that equal times have one order.
_when = attrgetter("time", "id")
