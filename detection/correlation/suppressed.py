"""What was read and is not told, counted: by their own time some rows are not what they seem.

Log Analytics gives a row that arrives more than two days late its time of arrival as TimeGenerated
(azure-monitor-docs, logs/log-standard-columns.md). By that stamp an old signal seems to follow a
recent change, and the published rule pairs the two; by its own time it does not, so it is withheld.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from detection.correlation.correlate import correlate
from detection.correlation.output import StampReader
from detection.logs.actors import resolver_for
from detection.logs.events import Event, Logs
from detection.logs.window import Windows
from detection.rules.model import Rule


@dataclass(frozen=True, slots=True)
class Suppressed:
    """Why something that was read is not told.

    `restamped`: published pairs that only a re-stamp makes. `too_late`, `in_future`: events older than
    the window by their own time, or ahead of now. `below_threshold`: signals of a kind of which there are not enough yet.
    """

    restamped: int
    too_late: int
    in_future: int
    below_threshold: int = 0


def count_suppressed(logs: Logs, rule: Rule, windows: Windows, below_threshold: int = 0) -> Suppressed:
    """What is held back of the logs of one run, before memory is asked."""
    return Suppressed(
        restamped=count_restamped(logs, rule, windows),
        too_late=len(logs.changes.too_late) + len(logs.signals.too_late),
        in_future=len(logs.changes.in_future) + len(logs.signals.in_future),
        below_threshold=below_threshold,
    )


def count_restamped(logs: Logs, rule: Rule, windows: Windows) -> int:
    """How many pairs the published query would return at this moment that the rows' own times deny.

    Only actors with a re-stamped row are looked at; there, every pair is.
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
    query_window = _QueryWindow(windows.now - rule.query_period, windows.now)
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


class _QueryWindow(NamedTuple):
    """The stretch (after, until] of stamps that the published query sees."""

    after: datetime
    until: datetime


def _events_of(events: Iterable[Event], actors: set[str] | None) -> Iterator[Event]:
    """The events of some actors; of all, where the events do not say whose they are."""
    return (event for event in events if actors is None or event.actor in actors)


def _by_stamp(events: Iterable[Event], stamps: StampReader, query_window: _QueryWindow) -> Iterator[Event]:
    """What the published query itself sees of these events at this moment, at the times it goes by."""
    for event in events:
        if not stamps.query_reasons(event):
            yield from (
                event._replace(time=time)
                for time in stamps.stamps_of(event)
                if query_window.after < time <= query_window.until
            )


def _pair_ids(changes: Iterable[Event], signals: Iterable[Event], rule: Rule) -> set[tuple[str, str]]:
    """The pairs by their ids."""
    chains = correlate(changes, signals, rule.sequence.within, once=False, resolve=resolver_for(rule))
    return {(change.id, signal.id) for chain in chains for change, signal in chain.pairs()}
