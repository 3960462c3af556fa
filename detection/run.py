"""One run, top to bottom: windows → read → correlate → group → commit.

Everything before a commit can be repeated at will. A crash between two commits loses and repeats
nothing: what was committed is marked, the rest is judged again, and the watermark has not moved.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from pydantic import TypeAdapter

from detection.events import Health, Rejected
from detection.incidents.grouping import EVENTS_PER_PART, Memory, Verdict, group
from detection.incidents.index import Index
from detection.incidents.keys import by_key
from detection.incidents.outbox import Delivery
from detection.incidents.table import Conflict
from detection.matches import Matches, read
from detection.rule import Rule
from detection.sources import Source
from detection.window import MAX_CATCH_UP, Window, Windows, windows
from detection.withheld import HeldBack, held_back

# Writes the messages of a verdict, one for each destination.
Render = Callable[[Verdict, Matches], Sequence[Delivery]]

# Longer than a run can take and clocks can differ: a key judged longer ago was judged before this run read.
LONGEST_RUN = timedelta(minutes=15)
# Every new reading means that another run made progress; so many in a row are no coincidence.
READINGS = 100


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


def _no_messages(_verdict: Verdict, _found: Matches) -> Sequence[Delivery]:
    return ()


@dataclass(frozen=True, slots=True)
class Terms:
    """What the settings say of a run: how messages are written, how late rows may be, how far it catches up."""

    render: Render = _no_messages
    lateness: timedelta | None = None
    max_catch_up: timedelta = MAX_CATCH_UP
    retention: timedelta = timedelta(days=90)


DEFAULT_TERMS = Terms()


def run(
    rule: Rule,
    now: datetime,
    source: Source,
    index: Index,
    limit: int = EVENTS_PER_PART,
    terms: Terms = DEFAULT_TERMS,
) -> tuple[Record, list[Verdict]]:
    """One complete run of a rule at the frozen moment `now`; returns its record and what it told.

    A part of a key marks at most `limit` events. Raises Incomplete or ServiceError when the logs cannot be
    read whole: then nothing is told or marked.
    """
    before = index.watermark()
    stretch = partial(
        windows, watermark=before, rule=rule, lateness=terms.lateness, max_catch_up=terms.max_catch_up
    )
    found = read(rule, stretch(now), source)
    told: list[Verdict] = []
    known = {index.writer}
    while overtaker := _tell_all(found, index, known, told, limit, terms.render):
        if len(known) > READINGS:
            raise Conflict(f"{READINGS} times another run was faster; the next run tries again")
        known |= {overtaker.writer, index.reread()}
        now = max(found.windows.now, overtaker.judged or now)
        found = read(rule, stretch(now), source)
    record = _record(found, told)
    index.finish(found.windows.now, _RECORD.dump_json(record))
    if before and before.date() < found.windows.now.date():
        _tidy(index, stretch(before), terms)
    return record, told


def run_gap(
    rule: Rule, gap: Window, now: datetime, source: Source, index: Index, terms: Terms = DEFAULT_TERMS
) -> Record:
    """Reads a stretch that no run could read, up to `gap.until`, and tells what is new in it; moves no watermark.

    Memory of events that lie before the windows is gone: a gap that was read once is told again.
    """
    stretch = Windows(now, Window(gap.after - rule.sequence.within, gap.until), gap, None)
    found = read(rule, stretch, source)
    told: list[Verdict] = []
    if overtaker := _tell_all(found, index, {index.writer}, told, EVENTS_PER_PART, terms.render):
        raise Conflict(
            f"a run by {overtaker.writer} is at work on the same incidents; try again in a quarter of an hour"
        )
    record = _record(found, told)
    index.note(now, _RECORD.dump_json(record))
    return record


def _tidy(index: Index, before: Windows, terms: Terms) -> None:
    """Once a day: forgets what no run can read again, and what has been kept long enough.

    It goes by the windows of the watermark that this run began with: a run that overtook another must not
    take its memory away, and an outage must not forget.
    """
    index.purge(before.changes.after)
    index.expire(before.now - terms.retention)


def _tell_all(
    found: Matches, index: Index, known: set[str], told: list[Verdict], limit: int, render: Render
) -> Memory | None:
    """Tells key by key, adding to `told`; stops at a key that another run has judged since, and returns it.

    That run may have marked events which this one has not seen: their pairs with what this run would mark
    would never be told. What it saw, a new reading up to its moment sees too.
    """
    for key, chains in by_key(found.chains, found.rule).items():
        while verdict := group(chains, (memory := index.recall(key)), found.rule, found.windows, limit):
            if memory.writer not in known and _may_have_seen_more(memory, index.run, found.windows.now):
                return memory
            try:
                index.commit(verdict, render(verdict, found))
            except Conflict:  # another run committed the key in between; recall who
                continue
            if verdict.alert:
                told.append(verdict)
            if not verdict.more:
                break
    return None


def _may_have_seen_more(memory: Memory, run: int, now: datetime) -> bool:
    """Whether the key's last writer may have read the logs after this run did: it began when no more runs were
    complete, or, by a clock, it could still have been at work when this one began.
    """
    return memory.run >= run or (memory.judged is not None and memory.judged > now - LONGEST_RUN)


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
