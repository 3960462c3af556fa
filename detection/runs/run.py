"""One run, top to bottom: windows → read → correlate → group → commit.

Everything before a commit can be repeated at will. A crash between two commits loses and repeats
nothing: what was committed is marked, the rest is judged again, and the watermark has not moved.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial

from detection.correlation.detection import Detection, detect_in_slices
from detection.incidents.grouping import Verdict
from detection.incidents.keys import grouping_of
from detection.logs.source import Source
from detection.logs.window import Window, Windows, plan_windows
from detection.rules.model import Rule
from detection.runs.commit import LONGEST_RUN, Committer, RunOptions, Superseded
from detection.runs.record import ALERTS_NAMED, RECORD, RunRecord, RunStats
from detection.store.incident_store import IncidentStore
from detection.store.retention import expire, purge_marks
from detection.store.table import Conflict

DEFAULT_OPTIONS = RunOptions()
# Every new reading means that another run made progress; so many in a row are no coincidence.
MAX_RESTARTS = 100


def run(
    rule: Rule, now: datetime, source: Source, store: IncidentStore, options: RunOptions = DEFAULT_OPTIONS
) -> tuple[RunRecord, list[Verdict]]:
    """One complete run of a rule at the frozen moment `now`; returns its record and what it told.

    Raises Incomplete or ServiceError when the logs cannot be read whole: then nothing is told or marked.
    """
    seconds = _stopwatch(options)
    watermark = store.watermark()
    store.publish_abandoned_digests(now - LONGEST_RUN, options.render_digest)
    windows_at = partial(
        plan_windows,
        watermark=watermark,
        rule=rule,
        lateness=options.lateness,
        max_catch_up=options.max_catch_up,
        kept_since=store.kept_since,
    )
    stats, committer = RunStats(rule, windows_at(now)), Committer(store, options)
    while superseded := _commit_slices(committer, detect_in_slices(rule, stats.windows, source), stats):
        if len(committer.known_writers) > MAX_RESTARTS:
            raise Conflict(f"{MAX_RESTARTS} times another run was faster; the next run tries again")
        committer.known_writers |= {superseded.by.writer, store.restart()}
        stats = RunStats(rule, windows_at(max(stats.windows.now, superseded.by.decided_at or now)))
    committer.publish_digest()
    record = _record(stats, committer, watermark, seconds())
    end_of_day = windows_at(watermark) if watermark and watermark.date() < stats.windows.now.date() else None
    store.finish(
        stats.windows.now,
        RECORD.dump_json(record),
        grouping_of(rule),
        keep=end_of_day.changes.after if end_of_day else None,
    )
    if end_of_day:
        _tidy(store, end_of_day, options)
    return record, committer.verdicts


def run_gap(
    rule: Rule,
    gap: Window,
    now: datetime,
    source: Source,
    store: IncidentStore,
    options: RunOptions = DEFAULT_OPTIONS,
) -> RunRecord:
    """Reads a stretch that no run could read, up to `gap.until`, and tells what is new in it; moves no watermark.

    Memory of events that lie before the windows is gone: a gap that was read once is told again.
    """
    seconds = _stopwatch(options)
    watermark = store.watermark()
    gap_windows = Windows(now, Window(gap.after - rule.sequence.within, gap.until), gap, None)
    stats, committer = RunStats(rule, gap_windows), Committer(store, options)
    if superseded := _commit_slices(committer, detect_in_slices(rule, gap_windows, source), stats):
        raise Conflict(
            f"a run by {superseded.by.writer} is at work on the same incidents; try again in a quarter of an hour"
        )
    committer.publish_digest()
    record = _record(stats, committer, watermark, seconds())
    store.note(now, RECORD.dump_json(record), "gap")
    return record


def _commit_slices(committer: Committer, slices: Iterator[Detection], stats: RunStats) -> Superseded | None:
    """Tells what is new, slice by slice; if another run comes between, the logs are to be read again."""
    try:
        while detection := next(slices, None):
            stats.add(detection.logs, detection.chains, detection.below_threshold)
            committer.commit_new(detection)
            del detection  # before the next slice is made
    except Superseded as superseded:
        return superseded
    return None


def _tidy(store: IncidentStore, end_of_day: Windows, options: RunOptions) -> None:
    """Once a day: forgets what no run can read again, and what has been kept long enough.

    It goes by the windows of the watermark that this run began with: a run that overtook another must not
    take its memory away, and an outage must not forget.
    """
    purge_marks(store.table, store.rule, end_of_day.changes.after)
    expire(store.table, store.rule, end_of_day.now - options.retention)


def _stopwatch(options: RunOptions) -> Callable[[], float]:
    """Tells the seconds from now on by the clock; 0 without one."""
    clock = options.clock
    began = clock() if clock else None

    def seconds() -> float:
        return (clock() - began).total_seconds() if clock and began else 0.0

    return seconds


def _record(stats: RunStats, committer: Committer, watermark: datetime | None, seconds: float) -> RunRecord:
    new_pairs = sum(verdict.pairs for verdict in committer.verdicts)
    alerts = [verdict.alert.alert for verdict in committer.verdicts if verdict.alert]
    return RunRecord(
        rule=stats.rule.folder,
        windows=stats.windows,
        previous_watermark=watermark,
        changes=stats.changes,
        signals=stats.signals,
        chains=stats.chains,
        pairs=stats.pairs,
        new_pairs=new_pairs,
        already_alerted=stats.pairs - new_pairs - sum(committer.silenced.values()),
        suppressed=stats.suppressed,
        health=stats.health,
        rejected=stats.rejected,
        alerts=len(alerts),
        alert_ids=alerts[:ALERTS_NAMED],
        storm=committer.draft is not None,
        seconds=seconds,
        silenced=dict(committer.silenced),
        mode=stats.rule.on_call.mode,
        coverage=stats.coverage,
    )
