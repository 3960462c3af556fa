"""One run, top to bottom: windows → read → correlate → group → commit.

Everything before a commit can be repeated at will. A crash between two commits loses and repeats
nothing: what was committed is marked, the rest is judged again, and the watermark has not moved.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter

from detection.correlate import Chain
from detection.events import Health, Rejected
from detection.incidents.grouping import EVENTS_PER_PART, Verdict, group
from detection.incidents.index import Index
from detection.incidents.keys import Key, by_key
from detection.incidents.table import Conflict
from detection.matches import Matches, read
from detection.rule import Rule
from detection.sources import Source
from detection.window import Windows, windows
from detection.withheld import HeldBack, held_back

# Losing the race for a key this often in a row means that something else is wrong.
ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class Record:
    """What a complete run saw and did: with it, silence is explained."""

    rule: str
    windows: Windows
    changes: int
    signals: int
    chains: int
    pairs: int
    new_pairs: int
    told_before: int
    held_back: HeldBack
    health: Mapping[str, Health]
    rejected: Mapping[str, Rejected]
    alerts: Sequence[str]


_RECORD = TypeAdapter(Record)


def run(
    rule: Rule, now: datetime, source: Source, index: Index, limit: int = EVENTS_PER_PART
) -> tuple[Record, list[Verdict]]:
    """One complete run of a rule at the frozen moment `now`; returns its record and what it told.

    Raises Incomplete or ServiceError when the logs cannot be read whole: then nothing is told or marked.
    """
    found = read(rule, windows(now, index.watermark(), rule), source)
    told = [
        verdict
        for key, chains in by_key(found.chains, rule).items()
        for verdict in tell(key, chains, index, rule, found.windows, limit)
        if verdict.alert
    ]
    record = _record(found, told)
    index.finish(now, _RECORD.dump_json(record))
    index.purge(windows(now, now, rule).changes.after)
    return record, told


def tell(
    key: Key,
    chains: Sequence[Chain],
    index: Index,
    rule: Rule,
    stretch: Windows,
    limit: int = EVENTS_PER_PART,
) -> Iterator[Verdict]:
    """Commits what is new for a key, part by part; a part lost to another run is judged again."""
    conflicts = 0
    while verdict := group(chains, index.recall(key), rule, stretch, limit):
        try:
            index.commit(verdict)
        except Conflict:
            conflicts += 1
            if conflicts == ATTEMPTS:
                raise
            continue
        yield verdict
        if not verdict.more:
            return


def _record(found: Matches, told: Sequence[Verdict]) -> Record:
    logs, pairs = found.logs, sum(chain.count() for chain in found.chains)
    new_pairs = sum(verdict.pairs for verdict in told)
    return Record(
        rule=found.rule.folder,
        windows=found.windows,
        changes=len(logs.changes.inside),
        signals=len(logs.signals.inside),
        chains=len(found.chains),
        pairs=pairs,
        new_pairs=new_pairs,
        told_before=pairs - new_pairs,
        held_back=held_back(logs, found.rule, found.windows),
        health=logs.health,
        rejected=logs.rejected,
        alerts=[verdict.alert.alert for verdict in told if verdict.alert],
    )
