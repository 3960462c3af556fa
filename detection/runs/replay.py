"""Runs over the past: what would have been told, run by run."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from detection.base.errors import ConfigurationError
from detection.base.timestamps import iso
from detection.correlation.detection import detect_at
from detection.correlation.pairs import PairSet, SignalNumbers
from detection.incidents.grouping import Verdict
from detection.logs.source import Source
from detection.rules.model import Rule
from detection.runs.commit import RunOptions
from detection.runs.record import RunRecord
from detection.runs.run import DEFAULT_OPTIONS, run
from detection.store.incident_store import IncidentStore
from detection.store.table import Table


@dataclass(frozen=True, slots=True)
class Replayed:
    """One run of a replay: its record and what it told."""

    record: RunRecord
    verdicts: list[Verdict]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the published rule returns over the same runs.

    `returned` rows in all; `repeated` of them for pairs it had returned before; `missed` pairs that were
    told here and that it never returns; `false` pairs that it returns only because a row was re-stamped.
    """

    returned: int
    repeated: int
    missed: int
    false: int


def run_times(
    begin: datetime, end: datetime, every: timedelta, skip: Collection[datetime] = ()
) -> list[datetime]:
    """The moments of the runs: begin, begin + every, … up to and including end, but for those skipped.

    Raises ConfigurationError when there is none, when all are skipped, or a skipped one is none of them.
    """
    all_times = [begin + every * step for step in range((end - begin) // every + 1)]
    if not all_times:
        raise ConfigurationError("--to lies before --from: there is no run")
    if unknown := set(skip) - set(all_times):
        raise ConfigurationError(f"there is no run to skip at {', '.join(map(iso, sorted(unknown)))}")
    if not (times := [time for time in all_times if time not in skip]):
        raise ConfigurationError("--skip names every run: there is none left")
    return times


def replay(
    rule: Rule, source: Source, times: Iterable[datetime], table: Table, options: RunOptions = DEFAULT_OPTIONS
) -> Iterator[Replayed]:
    """One run after the other, on a table that is the only memory."""
    for now in times:
        record, verdicts = run(
            rule, now, source, IncidentStore(table, rule.folder, now.isoformat()), options=options
        )
        yield Replayed(record, verdicts)


def compare(published: Rule, source: Source, runs: Iterable[Replayed]) -> Comparison:
    """The published rule at the same moments, beside what was told."""
    comparison = PublishedComparison(published, source)
    for replayed in runs:
        comparison.add(replayed)
    return comparison.comparison()


class PublishedComparison:
    """The published rule, run by run beside what was told. Pairs are counted, not looked at one by one."""

    def __init__(self, published: Rule, source: Source) -> None:
        numbers = SignalNumbers()
        self._published, self._source = published, source
        self._alerted, self._distinct = PairSet(numbers), PairSet(numbers)
        self._returned = 0

    def add(self, replayed: Replayed) -> None:
        """The next run. Raises what Source.read raises."""
        for chain in (chain for verdict in replayed.verdicts for chain in verdict.new_pairs):
            self._alerted.add(chain)
        for chain in detect_at(self._published, replayed.record.windows.now, self._source).chains:
            self._returned += chain.count()
            self._distinct.add(chain)

    def comparison(self) -> Comparison:
        """What it comes to so far."""
        return Comparison(
            returned=self._returned,
            repeated=self._returned - len(self._distinct),
            missed=self._alerted.count_without(self._distinct),
            false=self._distinct.count_without(self._alerted),
        )
