"""Runs over the past: what would have been told, run by run."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from detection.correlate import Pair
from detection.errors import ConfigurationError
from detection.incidents.grouping import Verdict
from detection.incidents.index import Index
from detection.incidents.table import Table
from detection.matches import matches_at
from detection.record import Record
from detection.rule import Rule
from detection.run import DEFAULT_TERMS, run
from detection.sources import Source
from detection.tell import Terms
from detection.timestamps import iso

PairId = tuple[str, str]


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

    Raises ConfigurationError when there is none, or a skipped one is none of them.
    """
    every_one = [begin + every * step for step in range((end - begin) // every + 1)]
    if not every_one:
        raise ConfigurationError("--to lies before --from: there is no run")
    if unknown := set(skip) - set(every_one):
        raise ConfigurationError(f"there is no run to skip at {', '.join(map(iso, sorted(unknown)))}")
    return [at for at in every_one if at not in skip]


def replay(
    rule: Rule, source: Source, at: Iterable[datetime], table: Table, terms: Terms = DEFAULT_TERMS
) -> Iterator[Replayed]:
    """One run after the other, on a table that is the only memory."""
    for now in at:
        record, told = run(rule, now, source, Index(table, rule.folder, now.isoformat()), terms=terms)
        yield Replayed(record, told)


def compare(published: Rule, source: Source, runs: Iterable[Replayed]) -> Comparison:
    """The published rule at the same moments, beside what was told."""
    told: set[PairId] = set()
    returned: list[PairId] = []
    for one in runs:
        told.update(_id(pair) for verdict in one.told for part in verdict.told for pair in part.pairs())
        found = matches_at(published, one.record.windows.now, source)
        returned.extend(_id(pair) for part in found.chains for pair in part.pairs())
    distinct = set(returned)
    return Comparison(
        returned=len(returned),
        repeated=len(returned) - len(distinct),
        missed=len(told - distinct),
        false=len(distinct - told),
    )


def _id(pair: Pair) -> PairId:
    change, signal = pair
    return change.id, signal.id
