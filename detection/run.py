"""One run, top to bottom: windows → read → correlate → group → commit.

Everything before a commit can be repeated at will. A crash between two commits loses and repeats
nothing: what was committed is marked, the rest is judged again, and the watermark has not moved.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial

from detection.incidents.grouping import Verdict
from detection.incidents.index import Index
from detection.incidents.keys import grouping_of
from detection.incidents.table import Conflict
from detection.matches import Matches, slices
from detection.record import ALERTS_NAMED, RECORD, Record, Seen
from detection.rule import Rule
from detection.sources import Source
from detection.tell import LONGEST_RUN, Overtaken, Teller, Terms
from detection.window import Window, Windows, windows

DEFAULT_TERMS = Terms()
# Every new reading means that another run made progress; so many in a row are no coincidence.
READINGS = 100


def run(
    rule: Rule, now: datetime, source: Source, index: Index, terms: Terms = DEFAULT_TERMS
) -> tuple[Record, list[Verdict]]:
    """One complete run of a rule at the frozen moment `now`; returns its record and what it told.

    Raises Incomplete or ServiceError when the logs cannot be read whole: then nothing is told or marked.
    """
    seconds = _stopwatch(terms)
    before = index.watermark()
    index.seal_left_behind(now - LONGEST_RUN, terms.digest)
    stretch = partial(
        windows,
        watermark=before,
        rule=rule,
        lateness=terms.lateness,
        max_catch_up=terms.max_catch_up,
        kept=index.kept,
    )
    seen, teller = Seen(rule, stretch(now)), Teller(index, terms)
    while overtaken := _overtaken(teller, slices(rule, seen.windows, source), seen):
        if len(teller.known) > READINGS:
            raise Conflict(f"{READINGS} times another run was faster; the next run tries again")
        teller.known |= {overtaken.by.writer, index.reread()}
        seen = Seen(rule, stretch(max(seen.windows.now, overtaken.by.judged or now)))
    teller.close()
    record = _record(seen, teller, before, seconds())
    end_of_day = stretch(before) if before and before.date() < seen.windows.now.date() else None
    index.finish(
        seen.windows.now,
        RECORD.dump_json(record),
        grouping_of(rule),
        keep=end_of_day.changes.after if end_of_day else None,
    )
    if end_of_day:
        _tidy(index, end_of_day, terms)
    return record, teller.told


def run_gap(
    rule: Rule, gap: Window, now: datetime, source: Source, index: Index, terms: Terms = DEFAULT_TERMS
) -> Record:
    """Reads a stretch that no run could read, up to `gap.until`, and tells what is new in it; moves no watermark.

    Memory of events that lie before the windows is gone: a gap that was read once is told again.
    """
    seconds = _stopwatch(terms)
    before = index.watermark()
    stretch = Windows(now, Window(gap.after - rule.sequence.within, gap.until), gap, None)
    seen, teller = Seen(rule, stretch), Teller(index, terms)
    if overtaken := _overtaken(teller, slices(rule, stretch, source), seen):
        raise Conflict(
            f"a run by {overtaken.by.writer} is at work on the same incidents; try again in a quarter of an hour"
        )
    teller.close()
    record = _record(seen, teller, before, seconds())
    index.note(now, RECORD.dump_json(record), "gap")
    return record


def _overtaken(teller: Teller, reading: Iterator[Matches], seen: Seen) -> Overtaken | None:
    """Tells what is new, slice by slice; if another run comes between, the logs are to be read again."""
    try:
        while found := next(reading, None):
            seen.add(found.logs, found.chains, found.undecided)
            teller.tell(found)
            del found  # before the next slice is made
    except Overtaken as overtaken:
        return overtaken
    return None


def _tidy(index: Index, before: Windows, terms: Terms) -> None:
    """Once a day: forgets what no run can read again, and what has been kept long enough.

    It goes by the windows of the watermark that this run began with: a run that overtook another must not
    take its memory away, and an outage must not forget.
    """
    index.purge(before.changes.after)
    index.expire(before.now - terms.retention)


def _stopwatch(terms: Terms) -> Callable[[], float]:
    """Tells the seconds from now on by the clock; 0 without one."""
    clock = terms.clock
    began = clock() if clock else None

    def seconds() -> float:
        return (clock() - began).total_seconds() if clock and began else 0.0

    return seconds


def _record(seen: Seen, teller: Teller, before: datetime | None, seconds: float) -> Record:
    new_pairs = sum(verdict.pairs for verdict in teller.told)
    alerts = [verdict.alert.alert for verdict in teller.told if verdict.alert]
    return Record(
        rule=seen.rule.folder,
        windows=seen.windows,
        previous=before,
        changes=seen.changes,
        signals=seen.signals,
        chains=seen.chains,
        pairs=seen.pairs,
        new_pairs=new_pairs,
        told_before=seen.pairs - new_pairs - sum(teller.silenced.values()),
        held_back=seen.held_back,
        health=seen.health,
        rejected=seen.rejected,
        told=len(alerts),
        alerts=alerts[:ALERTS_NAMED],
        storm=teller.batch is not None,
        seconds=seconds,
        silenced=dict(teller.silenced),
        mode=seen.rule.on_call.mode,
        coverage=seen.coverage,
    )
