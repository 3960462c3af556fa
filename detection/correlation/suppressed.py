"""Counts what was read but did not alert.

Log Analytics stamps a row that arrives more than two days late with its arrival as TimeGenerated
(azure-monitor-docs, logs/log-standard-columns.md). By that stamp an old signal seems to follow a recent
change, and the published rule pairs the two. By its own time it does not, so the pair is suppressed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from detection.correlation.correlate import correlate
from detection.correlation.output import StampReader
from detection.logs.actors import resolver_for
from detection.logs.events import Event, Logs
from detection.logs.window import Window, Windows, holds
from detection.rules.model import Rule


@dataclass(frozen=True, slots=True)
class Suppressed:
    """The counts by reason.

    `restamped`: pairs of the published rule that only exist because of a re-stamp. `too_late`, `in_future`:
    events before their window by their own time, or after it. `below_threshold`: pairs of changes that
    reach too few signals of the kind.
    """

    restamped: int
    too_late: int
    in_future: int
    below_threshold: int = 0


def count_suppressed(logs: Logs, rule: Rule, windows: Windows, below_threshold: int = 0) -> Suppressed:
    """The suppressed of the logs of a run, before marks are considered."""
    return Suppressed(
        restamped=count_restamped(logs, rule, windows),
        too_late=len(logs.changes.too_late) + len(logs.signals.too_late),
        in_future=len(logs.changes.in_future) + len(logs.signals.in_future),
        below_threshold=below_threshold,
    )


def count_restamped(logs: Logs, rule: Rule, windows: Windows) -> int:
    """The number of pairs that the published query returns at this moment but that do not exist by the rows'
    own times.

    Evaluates only the actors with a re-stamped row, and every pair of theirs.
    """
    if rule.sequence.published is None:
        return 0
    changes, signals = StampReader(rule.sequence.changes), StampReader(rule.sequence.signals)
    moved = {event.actor for event in logs.changes.all_events if changes.is_restamped(event)}
    restamped = [event for event in logs.signals.all_events if signals.is_restamped(event)]
    if resolve := resolver_for(rule):
        moved |= {actor for actor, _ in resolve(logs.changes.all_events, restamped)}
    else:
        moved |= {event.actor for event in restamped}
    if not moved:
        return 0
    query_window = Window(windows.now - rule.query_period, windows.now)
    published = _pair_ids(
        _by_stamp(_events_of(logs.changes.all_events, moved), changes, query_window),
        _by_stamp(_events_of(logs.signals.all_events, None if resolve else moved), signals, query_window),
        rule,
    )
    actual = _pair_ids(
        _events_of(logs.changes.in_window, moved),
        _events_of(logs.signals.in_window, None if resolve else moved),
        rule,
    )
    return len(published - actual)


def _events_of(events: Iterable[Event], actors: set[str] | None) -> Iterator[Event]:
    """The events of these actors; all events if `actors` is None."""
    return (event for event in events if actors is None or event.actor in actors)


def _by_stamp(events: Iterable[Event], stamps: StampReader, query_window: Window) -> Iterator[Event]:
    """The events that the published query sees in its window, each at the times of its stamps."""
    for event in events:
        if not stamps.query_reasons(event):
            yield from (
                event._replace(time=time) for time in stamps.stamps_of(event) if holds(query_window, time)
            )


def _pair_ids(changes: Iterable[Event], signals: Iterable[Event], rule: Rule) -> set[tuple[str, str]]:
    chains = correlate(changes, signals, rule.sequence.within, once=False, resolve=resolver_for(rule))
    return {(change.id, signal.id) for chain in chains for change, signal in chain.pairs()}
