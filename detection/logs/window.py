"""Plans the windows of a run.

    W  = the frozen moment of the last complete run (the watermark)
    W' = min(W, now - frequency), or now - frequency at the first run
    signals: (W' - lateness, now]        changes: (W' - lateness - within, now]

So an ordinary hourly run reads the past day of signals and two days of changes. It still reads a signal that
arrives up to `lateness` late, and every change up to `within` before that signal. After an outage W' lies
further back, so the windows reach back to it, at most MAX_CATCH_UP. A rule with thresholds reads signals as
far back as changes.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

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


def plan_windows(
    now: datetime,
    watermark: datetime | None,
    rule: Rule,
    lateness: timedelta | None = None,
    max_catch_up: timedelta = MAX_CATCH_UP,
    kept_since: datetime | None = None,
) -> Windows:
    """The windows of a run at `now`. `lateness` defaults to the rule's own, and is never less.

    The gap is the range of signals that no run has read and that lies too far back for this run. It begins
    where the last complete run ended: everything before was read and alerted, so reading the gap later
    repeats nothing. Rows from before the gap that arrived since are too late.

    No window begins before the marks are complete, which they are from `kept_since` on. So a lateness that
    was raised takes effect step by step, and repeats no alert.
    """
    # If the clock went back, the run is at the watermark: it must see what is marked up to there together
    # with what arrived since, and the marks before may be gone.
    now = max(now, watermark or now)
    if rule.sequence.windows == "query-period":
        published = Window(now - rule.query_period, None)
        return Windows(now, published, published, None)
    previous = now - rule.query_frequency
    read_until = min(watermark or previous, previous)
    wanted_start = read_until - max(lateness or rule.lateness, rule.lateness)
    earliest = now - max(max_catch_up, rule.query_period)
    after = max(wanted_start, earliest, *([kept_since + rule.sequence.within] if kept_since else []))
    gap = Window(read_until, after) if after > read_until else None
    earlier = after - rule.sequence.within
    # A threshold counts all signals that a change reaches, so all of them must be read.
    return Windows(now, Window(earlier, now), Window(earlier if rule.sequence.threshold else after, now), gap)
