"""What a rule's query returns at a moment: the first half of a run, without any memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from detection.correlate import Chain, Pair, correlate
from detection.events import Logs
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

    def _newest_first(self) -> list[Pair]:
        pairs = [pair for chain in self.chains for pair in chain.pairs()]
        pairs.sort(key=_times, reverse=True)
        return pairs


def matches_at(rule: Rule, now: datetime, source: Source) -> Matches:
    """What the rule finds at `now` on its own: the windows are those of a first run."""
    return read(rule, windows(now, None, rule), source)


def read(rule: Rule, stretch: Windows, source: Source) -> Matches:
    """The chains of a rule in a stretch of the logs. Raises what Source.read raises."""
    logs = source.read(rule, stretch)
    once = rule.sequence.duplicates == "once"
    chains = correlate(logs.changes.inside, logs.signals.inside, rule.sequence.within, once=once)
    return Matches(rule, stretch, logs, chains)


def _times(pair: Pair) -> tuple[datetime, datetime, str, str]:
    """By time; the ids only so that equal times have one order."""
    change, signal = pair
    return change.time, signal.time, change.id, signal.id
