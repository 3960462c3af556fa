"""Runs over the past: what would have been told, run by run."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from detection.errors import ConfigurationError
from detection.incidents.grouping import Verdict
from detection.incidents.index import Index
from detection.incidents.table import Table
from detection.matches import matches_at
from detection.pairs import Numbers, Pairs
from detection.record import Record
from detection.rule import Rule
from detection.run import DEFAULT_TERMS, run
from detection.sources import Source
from detection.tell import Terms
from detection.timestamps import iso


@dataclass(frozen=True, slots=True)
class Replayed:
    """One run of a replay: its record and what it told."""

    record: Record
    told: list[Verdict]


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


def moments(
    begin: datetime, end: datetime, every: timedelta, skip: Collection[datetime] = ()
) -> list[datetime]:
    """The moments of the runs: begin, begin + every, … up to and including end, but for those skipped.

    Raises ConfigurationError when there is none, when all are skipped, or a skipped one is none of them.
    """
    every_one = [begin + every * step for step in range((end - begin) // every + 1)]
    if not every_one:
        raise ConfigurationError("--to lies before --from: there is no run")
    if unknown := set(skip) - set(every_one):
        raise ConfigurationError(f"there is no run to skip at {', '.join(map(iso, sorted(unknown)))}")
    if not (rest := [at for at in every_one if at not in skip]):
        raise ConfigurationError("--skip names every run: there is none left")
    return rest


def replay(
    rule: Rule, source: Source, at: Iterable[datetime], table: Table, terms: Terms = DEFAULT_TERMS
) -> Iterator[Replayed]:
    """One run after the other, on a table that is the only memory."""
    for now in at:
        record, told = run(rule, now, source, Index(table, rule.folder, now.isoformat()), terms=terms)
        yield Replayed(record, told)


def compare(published: Rule, source: Source, runs: Iterable[Replayed]) -> Comparison:
    """The published rule at the same moments, beside what was told."""
    beside = Beside(published, source)
    for one in runs:
        beside.add(one)
    return beside.comparison()


class Beside:
    """The published rule, run by run beside what was told. Pairs are counted, not looked at one by one."""

    def __init__(self, published: Rule, source: Source) -> None:
        numbers = Numbers()
        self._published, self._source = published, source
        self._told, self._distinct = Pairs(numbers), Pairs(numbers)
        self._returned = 0

    def add(self, one: Replayed) -> None:
        """The next run. Raises what Source.read raises."""
        for part in (part for verdict in one.told for part in verdict.told):
            self._told.add(part)
        for part in matches_at(self._published, one.record.windows.now, self._source).chains:
            self._returned += part.count()
            self._distinct.add(part)

    def comparison(self) -> Comparison:
        """What it comes to so far."""
        return Comparison(
            returned=self._returned,
            repeated=self._returned - len(self._distinct),
            missed=self._told.without(self._distinct),
            false=self._distinct.without(self._told),
        )
