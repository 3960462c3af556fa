"""What a rule's query returns at a moment: the first half of a run, without any memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter

from detection.correlate import Chain, Pair, correlate
from detection.events import Event, Logs
from detection.rows import Output, OutputRow
from detection.rule import Rule
from detection.sources import Source
from detection.window import Windows, windows


@dataclass(frozen=True, slots=True)
class Matches:
    """What was read at one moment, and the chains in it."""

    rule: Rule
    windows: Windows
    logs: Logs
    chains: list[Chain]

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
    """The chains of a rule in a stretch of the logs. Raises what Source.read raises."""
    logs = source.read(rule, stretch)
    once = rule.sequence.duplicates == "once"
    chains = correlate(logs.changes.inside, logs.signals.inside, rule.sequence.within, once=once)
    return Matches(rule, stretch, logs, chains)


# By time, and by id only so that equal times have one order.
_when = attrgetter("time", "id")
