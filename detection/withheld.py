"""What was read and is not told, counted: by their own time some rows are not what they seem. Pure.

Log Analytics gives a row that arrives more than two days late its time of arrival as TimeGenerated
(azure-monitor-docs, logs/log-standard-columns.md). By that stamp an old signal seems to follow a
recent change, and the published rule pairs the two; by its own time it does not, so it is withheld.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from detection.bridges import assign_for
from detection.correlate import correlate
from detection.events import Event, Logs
from detection.rows import Stamps
from detection.rule import Rule
from detection.window import Windows


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Why something that was read is not told.

    `restamped`: published pairs that only a re-stamp makes. `too_late`, `waiting`: events older than
    the window by their own time, or ahead of now. `below_minimum`: signals of a kind of which there are not enough yet.
    """

    restamped: int
    too_late: int
    waiting: int
    below_minimum: int = 0


def held_back(logs: Logs, rule: Rule, windows: Windows, undecided: int = 0) -> HeldBack:
    """What is held back of the logs of one run, before memory is asked."""
    return HeldBack(
        restamped=count_restamped(logs, rule, windows),
        too_late=len(logs.changes.too_late) + len(logs.signals.too_late),
        waiting=len(logs.changes.waiting) + len(logs.signals.waiting),
        below_minimum=undecided,
    )


def count_restamped(logs: Logs, rule: Rule, windows: Windows) -> int:
    """How many pairs the published query would return at this moment that the rows' own times deny.

    Only actors with a re-stamped row are looked at; there, every pair is.
    """
    if rule.sequence.published is None:
        return 0
    changes, signals = Stamps(rule.sequence.changes), Stamps(rule.sequence.signals)
    moved = {event.actor for event in logs.changes.read if changes.moved(event)}
    restamped = [event for event in logs.signals.read if signals.moved(event)]
    if assign := assign_for(rule):
        moved |= {actor for actor, _ in assign(logs.changes.read, restamped)}
    else:
        moved |= {event.actor for event in restamped}
    if not moved:
        return 0
    seen = _Seen(windows.now - rule.query_period, windows.now)
    published = _ids(
        _by_stamp(_of(logs.changes.read, moved), changes, seen),
        _by_stamp(_of(logs.signals.read, None if assign else moved), signals, seen),
        rule,
    )
    told = _ids(_of(logs.changes.inside, moved), _of(logs.signals.inside, None if assign else moved), rule)
    return len(published - told)


class _Seen(NamedTuple):
    """The stretch (after, until] of stamps that the published query sees."""

    after: datetime
    until: datetime


def _of(events: Iterable[Event], actors: set[str] | None) -> Iterator[Event]:
    """The events of some actors; of all, where the events do not say whose they are."""
    return (event for event in events if actors is None or event.actor in actors)


def _by_stamp(events: Iterable[Event], stamps: Stamps, seen: _Seen) -> Iterator[Event]:
    """What the published query itself sees of these events at this moment, at the times it goes by."""
    for event in events:
        if not stamps.flags(event):
            yield from (
                event._replace(time=time) for time in stamps.of(event) if seen.after < time <= seen.until
            )


def _ids(changes: Iterable[Event], signals: Iterable[Event], rule: Rule) -> set[tuple[str, str]]:
    """The pairs by their ids."""
    chains = correlate(changes, signals, rule.sequence.within, once=False, assign=assign_for(rule))
    return {(change.id, signal.id) for chain in chains for change, signal in chain.pairs()}
