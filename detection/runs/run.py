"""One run, top to bottom: windows → read → correlate → decide → commit.

Everything before a commit can be repeated at will. A crash between two commits loses and repeats nothing:
committed pairs are marked, the rest is decided again, and the watermark has not moved.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from detection.base.deadlines import LONGEST_RUN
from detection.base.errors import ServiceError
from detection.base.garbage import collect_garbage_rarely
from detection.base.timestamps import refuse_fast_clock
from detection.correlation.detection import correlate_logs
from detection.incidents.decide import Verdict, decisions, keep_past_threshold
from detection.logs.source import Source, read_slices
from detection.logs.window import Window, Windows, plan_windows
from detection.rules.model import Rule
from detection.runs.clean_up import clean_up
from detection.runs.commit import Committer, RunOptions, Superseded
from detection.runs.record import RECORD, RunRecord, RunStats
from detection.store.gaps import Gap
from detection.store.incident_store import IncidentStore
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

    def windows_at(time: datetime) -> Windows:
        windows = plan_windows(
            time,
            watermark,
            rule,
            options.lateness,
            options.max_catch_up,
            store.kept_since,
            store.threshold_until,
        )
        # A change after a gap's end may reach signals in the gap that an earlier run marked.
        return replace(windows, signals=windows.changes) if windows.gap else windows

    stats, committer = _read(rule, now, windows_at, source, store, options, store.open_gaps)
    gap = _recorded_gap(stats.windows, rule, store)
    record = stats.record(committer, watermark, [*store.open_gaps, *([gap] if gap else [])], seconds())
    former = windows_at(watermark) if watermark else None
    is_first_of_day = former is not None and former.now.date() < record.windows.now.date()
    is_clean_up_due = is_first_of_day or committer.commits > 0 or store.has_backlog
    keep = former.changes.after if former and is_clean_up_due else None
    store.finish(
        record.windows.now,
        RECORD.dump_json(record),
        keep,
        gap,
        planned_from=watermark or record.windows.now - rule.query_frequency,
        has_threshold=bool(rule.sequence.threshold),
    )
    if former and is_clean_up_due:
        clean_up(store, former, options.retention, committer.commits, daily=is_first_of_day)
    return record, committer.verdicts


def read_gap(
    rule: Rule,
    gap: Gap,
    clock: Callable[[], datetime],
    source: Source,
    store: IncidentStore,
    options: RunOptions = DEFAULT_OPTIONS,
) -> Iterator[RunRecord]:
    """Reads what is left of an open gap, in parts as long as the longest catch-up, and alerts what is new in
    them; the watermark stays. Returns a record for each part, and records the part's end in the gap. A gap
    that is no longer open is not read.

    Raises as `run` does. The next reading goes on after the last complete part, and repeats no alert.
    """
    watermark = store.watermark()
    refuse_fast_clock(clock(), store.service_time)
    # Another reading may have read the gap since the caller listed it, and the gap's marks may be gone.
    while (stored := _stored_gap(store, gap)).is_open:
        seconds, now = _stopwatch(options), clock()
        until = min(stored.until, (stored.read_until or stored.after) + options.max_catch_up)
        windows_at = partial(_part_windows, rule, stored, until)
        other_gaps = [open_gap for open_gap in store.open_gaps if open_gap.id != gap.id]
        stats, committer = _read(rule, now, windows_at, source, store, options, other_gaps)
        part_read = replace(stored, read_until=until)
        if until == stored.until:
            part_read = part_read.close("read", now)
        open_gaps = other_gaps if part_read.state == "read" else store.open_gaps
        record = stats.record(committer, watermark, open_gaps, seconds())
        store.finish_part(part_read, now, RECORD.dump_json(record))
        yield record
        watermark = store.watermark()


def _stored_gap(store: IncidentStore, gap: Gap) -> Gap:
    """The gap as the table had it when the store read the watermark."""
    stored = next((stored for stored in store.gaps if stored.id == gap.id), None)
    if stored is None:
        raise ServiceError(f"gap {gap.id} is gone from the table, which held it a moment ago; try again")
    return stored


def _part_windows(rule: Rule, gap: Gap, until: datetime, now: datetime) -> Windows:
    """The windows of the next part of a gap, up to `until`, at `now`.

    All signals are read that the part's changes reach: they count towards thresholds, and those that an
    earlier run marked alert with the part's changes.
    """
    within = rule.sequence.within
    earlier = max((gap.read_until or gap.after) - within, gap.marks.after)
    return Windows(now, Window(earlier, until), Window(earlier, min(until + within, now)), None)


def _recorded_gap(windows: Windows, rule: Rule, store: IncidentStore) -> Gap | None:
    """The row of the gap in these windows. Its marks are whole from `kept_since` on."""
    if windows.gap is None or windows.gap.until is None:
        return None
    after, until, within = windows.gap.after, windows.gap.until, rule.sequence.within
    marks = Window(max(filter(None, (after - within, store.kept_since))), until + within)
    return Gap(after, until, marks, windows.now)


def _read(
    rule: Rule,
    now: datetime,
    windows_at: Callable[[datetime], Windows],
    source: Source,
    store: IncidentStore,
    options: RunOptions,
    open_gaps: Sequence[Gap],
) -> tuple[RunStats, Committer]:
    """Reads the windows at `now`, and commits what they hold, except unmarked signals in open gaps."""
    collect_garbage_rarely()
    windows, committer = windows_at(now), Committer(rule, now, store, options)
    for _ in range(MAX_RESTARTS):
        stats = RunStats(rule, windows)
        try:
            for logs in read_slices(source, rule, windows):
                detection = correlate_logs(logs, rule, windows)
                circumstances = committer.circumstances(detection, open_gaps)
                detection = keep_past_threshold(detection, circumstances)
                stats.add(detection, circumstances.new_signals)
                committer.commit(decisions(detection, circumstances), detection)
                del logs, detection  # before the next slice is made
        except Superseded as superseded:  # read again, up to the time of the run that committed first
            committer.restart(superseded)
            windows = windows_at(max(windows.now, superseded.winner.decided_at or now))
            continue
        committer.publish_digest()
        committer.refuse_unresolved()
        return stats, committer
    raise Conflict(f"another run committed first {MAX_RESTARTS} times; the next run tries again")


def _stopwatch(options: RunOptions) -> Callable[[], float]:
    """A function that returns the seconds since now by the clock; 0 without a clock."""
    clock = options.clock
    began = clock() if clock else None

    def seconds() -> float:
        return (clock() - began).total_seconds() if clock and began else 0.0

    return seconds
