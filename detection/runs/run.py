"""One run, top to bottom: windows → read → correlate → decide → commit.

Everything before a commit can be repeated at will. A crash between two commits loses and repeats nothing:
committed pairs are marked, the rest is decided again, and the watermark has not moved.
"""

from collections.abc import Callable
from datetime import datetime
from functools import partial

from detection.base.timestamps import refuse_fast_clock
from detection.correlation.detection import correlate_logs
from detection.incidents.decide import Verdict, decisions, keep_past_threshold
from detection.logs.source import Source, read_slices
from detection.logs.window import Window, Windows, plan_windows
from detection.rules.model import Rule
from detection.runs.commit import LONGEST_RUN, Committer, RunOptions, Superseded
from detection.runs.record import RECORD, RunRecord, RunStats
from detection.store.groupings import forget_groupings
from detection.store.incident_store import IncidentStore
from detection.store.retention import REQUESTS, REQUESTS_PER_COMMIT, clean_up
from detection.store.table import Conflict

DEFAULT_OPTIONS = RunOptions()
# Every restart means that another run made progress; a hundred in a row are not a coincidence.
MAX_RESTARTS = 100


def run(
    rule: Rule, now: datetime, source: Source, store: IncidentStore, options: RunOptions = DEFAULT_OPTIONS
) -> tuple[RunRecord, list[Verdict]]:
    """One complete run of a rule at the frozen time `now` (UTC); returns its record, and the verdicts with an
    alert.

    Raises Incomplete or ServiceError when the logs cannot be read whole, and ConfigurationError when `now` is
    ahead of the table service's time, and then commits nothing.
    """
    seconds = _stopwatch(options)
    watermark = store.watermark()
    refuse_fast_clock(now, store.service_time)
    store.publish_abandoned_digests(now - LONGEST_RUN, options.render_digest)
    windows_at = partial(
        plan_windows,
        watermark=watermark,
        rule=rule,
        lateness=options.lateness,
        max_catch_up=options.max_catch_up,
        kept_since=store.kept_since,
    )
    windows, committer = windows_at(now), Committer(rule, now, store, options)
    for _ in range(MAX_RESTARTS):
        stats = RunStats(rule, windows)
        try:
            for logs in read_slices(source, rule, windows):
                detection = correlate_logs(logs, rule, windows)
                circumstances = committer.circumstances(detection)
                detection = keep_past_threshold(detection, circumstances)
                stats.add(detection)
                committer.commit(decisions(detection, circumstances), detection)
                del logs, detection  # before the next slice is made
        except Superseded as superseded:  # read again, up to the time of the run that committed first
            committer.restart(superseded)
            windows = windows_at(max(windows.now, superseded.winner.decided_at or now))
            continue
        committer.publish_digest()
        record = stats.record(committer, watermark, seconds())
        former = windows_at(watermark) if watermark else None
        _finish(record, former, store, options, committer.commits)
        return record, committer.verdicts
    raise Conflict(f"another run committed first {MAX_RESTARTS} times; the next run tries again")


def run_gap(
    rule: Rule,
    gap: Window,
    now: datetime,
    source: Source,
    store: IncidentStore,
    options: RunOptions = DEFAULT_OPTIONS,
) -> RunRecord:
    """Reads a gap, signals in (`gap.after`, `gap.until`], and alerts what is new in it; the watermark stays.

    Marks of events before the windows may be gone: a gap that is read a second time alerts again.
    """
    seconds = _stopwatch(options)
    watermark = store.watermark()
    refuse_fast_clock(now, store.service_time)
    windows = Windows(now, Window(gap.after - rule.sequence.within, gap.until), gap, None)
    stats, committer = RunStats(rule, windows), Committer(rule, now, store, options)
    try:
        for logs in read_slices(source, rule, windows):
            detection = correlate_logs(logs, rule, windows)
            circumstances = committer.circumstances(detection)
            detection = keep_past_threshold(detection, circumstances)
            stats.add(detection)
            committer.commit(decisions(detection, circumstances), detection)
            del logs, detection  # before the next slice is made
    except Superseded as superseded:
        raise Conflict(
            f"run {superseded.winner.writer} works on the same incidents; try again in a quarter of an hour"
        ) from None
    committer.publish_digest()
    record = stats.record(committer, watermark, seconds())
    store.note(now, RECORD.dump_json(record), "gap")
    return record


def _finish(
    record: RunRecord, former: Windows | None, store: IncidentStore, options: RunOptions, commits: int
) -> None:
    """Writes the record and the watermark; then deletes what no run can read and what is kept long enough:
    in the first run of a day, in a run that committed something, and where the last clean-up had more to do.

    `former` are the windows of the watermark that the run began with, and deletion goes by them: a run that
    overtook another must not take its marks away, and an outage must not forget.
    """
    is_first_of_day = former is not None and former.now.date() < record.windows.now.date()
    is_due = is_first_of_day or commits > 0 or store.has_backlog
    keep = former.changes.after if former and is_due else None
    store.finish(record.windows.now, RECORD.dump_json(record), keep)
    if former and keep:
        if is_first_of_day:
            forget_groupings(store.table, store.rule, keep)
        expired = former.now - options.retention
        limit = max(REQUESTS, REQUESTS_PER_COMMIT * commits)
        if not clean_up(store.table, store.rule, keep, expired, limit=limit, daily=is_first_of_day):
            store.note_backlog()


def _stopwatch(options: RunOptions) -> Callable[[], float]:
    """A function that returns the seconds since now by the clock; 0 without a clock."""
    clock = options.clock
    began = clock() if clock else None

    def seconds() -> float:
        return (clock() - began).total_seconds() if clock and began else 0.0

    return seconds
