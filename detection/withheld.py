"""What was read and is not told, counted: by their own time some rows are not what they seem. Pure.

Log Analytics gives a row that arrives more than two days late its time of arrival as TimeGenerated
(azure-monitor-docs, logs/log-standard-columns.md). By that stamp an old signal seems to follow a
recent change, and the published rule pairs the two; by its own time it does not, so it is withheld.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from detection.correlate import Pair, correlate
from detection.events import Event, Logs
from detection.rows import Beyond, Stamps
from detection.rule import Rule
from detection.window import Windows


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Why something that was read is not told.

    `restamped`: published pairs that only a re-stamp makes. `too_late`, `waiting`: events older than
    the window by their own time, or ahead of now.
    """

    restamped: int
    too_late: int
    waiting: int


def held_back(logs: Logs, rule: Rule, windows: Windows) -> HeldBack:
    """What is held back of the logs of one run, before memory is asked."""
    return HeldBack(
        restamped=count_restamped(logs, rule, windows),
        too_late=len(logs.changes.too_late) + len(logs.signals.too_late),
        waiting=len(logs.changes.waiting) + len(logs.signals.waiting),
    )


def count_restamped(logs: Logs, rule: Rule, windows: Windows) -> int:
    """How many pairs the published query would return at this moment that the rows' own times deny.

    Only actors with a re-stamped row are looked at; there, every pair by stamp is.
    """
    if rule.sequence.published is None:
        return 0
    changes, signals = Stamps(rule.sequence.changes), Stamps(rule.sequence.signals)
    moved = {event.actor for event in logs.changes.read if changes.moved(event)}
    moved |= {event.actor for event in logs.signals.read if signals.moved(event)}
    chains = correlate(
        _by_stamp(logs.changes.read, changes, moved),
        _by_stamp(logs.signals.read, signals, moved),
        rule.sequence.within,
        once=True,
    )
    published = Beyond(rule)
    pairs = (
        pair for chain in chains for pair in chain.pairs() if published.in_published_window(pair, windows.now)
    )
    return sum(1 for pair in pairs if _stamped_by_now(pair, windows) and not _told(pair, rule, windows))


def _by_stamp(events: Iterable[Event], stamps: Stamps, actors: set[str]) -> Iterator[Event]:
    """What the published query itself would return of these actors, at the time it would give it."""
    mine = (event for event in events if event.actor in actors and not stamps.flags(event))
    return (event._replace(time=stamps.of(event)) for event in mine)


def _stamped_by_now(pair: Pair, windows: Windows) -> bool:
    change, signal = pair
    return max(change.time, signal.time) <= windows.now


def _told(pair: Pair, rule: Rule, windows: Windows) -> bool:
    """Whether the pair is one by the rows' own times too, and inside the windows."""
    change = datetime.fromisoformat(pair[0].row[rule.sequence.changes.at(rule.sequence.changes.time)])
    signal = datetime.fromisoformat(pair[1].row[rule.sequence.signals.at(rule.sequence.signals.time)])
    inside = windows.changes.after < change and windows.signals.after < signal <= windows.now
    return inside and change <= signal <= change + rule.sequence.within
