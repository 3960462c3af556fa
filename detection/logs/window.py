"""Which stretch of the logs a run reads.

    W  = the frozen moment of the last complete run (the watermark)
    W' = min(W, now - frequency), or now - frequency at first
    signals: (W' - lateness, now]        changes: (W' - lateness - within, now]

An ordinary hourly run thus reads the past day of signals and two days of changes: a signal that
arrives up to `lateness` late is still read, and so is every change within reach of it. After an
outage W' has stayed behind, and the window simply reaches back to it, at most MAX_CATCH_UP. A rule that
has a threshold reads both sides as far back as changes.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from detection.rules.model import Rule

MAX_CATCH_UP = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Window:
    """The stretch (after, until] in UTC, like KQL's `> ago(1d)`; no `until` means no upper bound."""

    after: datetime
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Windows:
    """What one run reads of both logs, at its frozen moment `now`, and what it can no longer read."""

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
    """The windows of a run at `now`; `lateness` defaults to, and is at least, the rule's own.

    The gap is the stretch of signals that no run has read and that lies too far back for this one.
    It begins where the last complete run ended: what came before was read and told, so reading the
    gap later repeats nothing. Rows of the stretch before it that arrived since are too late.
    No window reaches behind `kept`, from where on memory is whole: a lateness that was raised takes
    effect as memory grows, and repeats nothing.
    """
    # Where the clock has gone back, the run stands at the watermark: what is marked up to there must be seen
    # beside what arrived since, and memory has let go what lies before.
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
    # Whether a change reached enough signals can only be said where all of its reach is seen.
    return Windows(now, Window(earlier, now), Window(earlier if rule.sequence.threshold else after, now), gap)
