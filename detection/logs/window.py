"""Plans the windows of a run.

    W  = the frozen moment of the last complete run (the watermark), at most now - frequency;
         now - frequency at the first run
    W' = max(W, now - MAX_CATCH_UP)
    L  = the allowed lateness
    signals: (W' - L, now]        changes: (W' - L - within, now]        gap, if W' > W: (W - L, W' - L]

So an ordinary hourly run reads the past day of signals and two days of changes. It still reads a signal that
arrives up to L late, and every change up to `within` before that signal. After an outage W lies further back.
MAX_CATCH_UP bounds only how far: L is always added to it. A row that arrived after W and at most L late lies
after W - L, in the windows or in the gap. A rule with thresholds reads signals as far
back as changes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from detection.rules.model import Rule

MAX_CATCH_UP = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Window:
    """The time range (after, until] in UTC, like KQL's `> ago(1d)`; `until` None means no upper bound."""

    after: datetime
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of a run at its frozen moment `now`, and the gap that the run can no longer read."""

    now: datetime
    changes: Window
    signals: Window
    gap: Window | None

    def new_signals(self, open_gaps: Iterable[Window] = ()) -> list[Window]:
        """Where unmarked signals alert: outside the gap of this run and all other gaps that are still to be
        read, in the order of time.

        Signals in a gap may be read with some of their changes only. They alert if an earlier run marked
        them: the reading of the gap has all changes of the unmarked ones.
        """
        until = self.changes.until
        is_part = until is not None and until < self.now  # of a gap
        gaps = [*open_gaps, *([self.gap] if self.gap else [])]
        return _outside(gaps, until if is_part else None)


def holds(window: Window, time: datetime) -> bool:
    """Whether a time lies in a window."""
    return window.after < time and (window.until is None or time <= window.until)


def meets(window: Window, begin: datetime, end: datetime) -> bool:
    """Whether a window has a moment between two times."""
    return window.after < end and (window.until is None or begin <= window.until)


def _outside(gaps: Iterable[Window], until: datetime | None) -> list[Window]:
    """The windows outside gaps, up to a moment."""
    windows: list[Window] = []
    after = datetime.min.replace(tzinfo=UTC)
    for gap in sorted(gaps, key=lambda gap: gap.after):
        if gap.until and (until is None or gap.after < until):
            windows.append(Window(after, gap.after))
            after = max(after, gap.until)
    return [*windows, Window(after, until)]


def plan_windows(
    now: datetime,
    watermark: datetime | None,
    rule: Rule,
    lateness: timedelta | None = None,
    max_catch_up: timedelta = MAX_CATCH_UP,
    kept_since: datetime | None = None,
    threshold_until: datetime | None = None,
) -> Windows:
    """The windows of a run at `now`. `lateness` defaults to the rule's own, and is never less. `max_catch_up`
    counts as at least the rule's `queryFrequency`.

    The gap is the range of signals that no run has read completely and that lies too far back for this run.
    It begins the lateness before the watermark, because a row of that time may have arrived after the last
    complete run. Marks tell which pairs of the gap were alerted.

    No window and no gap begins before the marks are complete, which they are from `kept_since` on. So a
    lateness or a `within` that was raised takes effect step by step, and repeats no alert.

    The last complete run of the rule with a threshold was at `threshold_until`. A change from before may
    reach signals that are marked because of other changes: they are read as long as the change is.
    """
    # If the clock went back, the run is at the watermark: it must see what is marked up to there together
    # with what arrived since, and the marks before may be gone.
    now = max(now, watermark or now)
    if rule.sequence.windows == "query-period":
        published = Window(now - rule.query_period, None)
        return Windows(now, published, published, None)
    lateness = rule.allowed_lateness(lateness)
    marks_from = kept_since or datetime.min.replace(tzinfo=UTC)
    previous = now - rule.query_frequency
    read_until = min(watermark or previous, previous)
    caught_up_from = max(read_until, now - max(max_catch_up, rule.query_frequency))
    unread_from, after = (max(time - lateness, marks_from) for time in (read_until, caught_up_from))
    earlier = max(after - rule.sequence.within, marks_from)
    gap = Window(unread_from, after) if after > unread_from else None
    # A threshold counts all signals that a change reaches, so all of them must be read.
    is_threshold_near = bool(rule.sequence.threshold or (threshold_until and threshold_until > earlier))
    return Windows(now, Window(earlier, now), Window(earlier if is_threshold_near else after, now), gap)
