"""Runs over the past: the alerts that they would have raised, and the rows of the published rule."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from detection.base.errors import ConfigurationError
from detection.base.timestamps import iso
from detection.correlation.detection import detect_at
from detection.correlation.pairs import PairSet, SignalNumbers
from detection.incidents.decide import Verdict
from detection.logs.source import Source
from detection.rules.model import Rule
from detection.runs.commit import RunOptions
from detection.runs.record import RunRecord
from detection.runs.run import DEFAULT_OPTIONS, run
from detection.store.incident_store import IncidentStore
from detection.store.table import Table


@dataclass(frozen=True, slots=True)
class Replayed:
    """One run of a replay: its record, and its verdicts with an alert."""

    record: RunRecord
    verdicts: list[Verdict]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The rows of the published rule over the same runs.

    `returned` counts all rows, `repeated` the rows for pairs that it had returned before, `missed` the pairs
    that were alerted here and that it never returns, `false` the pairs that it returns and that did not alert
    here: of re-stamped rows, or suppressed by exclusions and thresholds.
    """

    returned: int
    repeated: int
    missed: int
    false: int


def run_times(
    begin: datetime, end: datetime, every: timedelta, skip: Collection[datetime] = ()
) -> list[datetime]:
    """The times of the runs: begin, begin + every, … up to and including end, without the skipped times.

    Raises ConfigurationError when no run remains, or when a skipped time is not the time of a run.
    """
    all_times = [begin + every * step for step in range((end - begin) // every + 1)]
    if not all_times:
        raise ConfigurationError(f"there is no run: the end {iso(end)} is before the start {iso(begin)}")
    if unknown := set(skip) - set(all_times):
        raise ConfigurationError(f"--skip: no run is at {', '.join(map(iso, sorted(unknown)))}")
    if not (times := [time for time in all_times if time not in skip]):
        raise ConfigurationError("--skip names every run; leave at least one")
    return times


def replay(
    rule: Rule, source: Source, times: Iterable[datetime], table: Table, options: RunOptions = DEFAULT_OPTIONS
) -> Iterator[Replayed]:
    """One run after the other; only the table connects them."""
    for now in times:
        record, verdicts = run(
            rule, now, source, IncidentStore(table, rule.folder, now.isoformat()), options=options
        )
        yield Replayed(record, verdicts)


def compare(published: Rule, source: Source, runs: Iterable[Replayed]) -> Comparison:
    """The published rule at the times of the runs, compared with their alerts."""
    comparison = PublishedComparison(published, source)
    for replayed in runs:
        comparison.add(replayed)
    return comparison.comparison()


class PublishedComparison:
    """Compares the published rule with the alerts, run by run. Pairs are counted as sets, never listed."""

    def __init__(self, published: Rule, source: Source) -> None:
        numbers = SignalNumbers()
        self._published, self._source = published, source
        self._alerted, self._distinct = PairSet(numbers), PairSet(numbers)
        self._returned = 0

    def add(self, replayed: Replayed) -> None:
        """Adds a run. Raises what Source.read raises."""
        for chain in (chain for verdict in replayed.verdicts for chain in verdict.new_pairs):
            self._alerted.add(chain)
        for chain in detect_at(self._published, replayed.record.windows.now, self._source).chains:
            self._returned += chain.count()
            self._distinct.add(chain)

    def comparison(self) -> Comparison:
        return Comparison(
            returned=self._returned,
            repeated=self._returned - len(self._distinct),
            missed=self._alerted.count_without(self._distinct),
            false=self._distinct.count_without(self._alerted),
        )
