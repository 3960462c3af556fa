"""Sends what waits in the outbox: claim, sign, post, settle. Knows no message format.

At least once, under an id that never changes: a process that dies between posting and settling leaves
its claim behind, and when that ends the message is sent again. An incident's messages to one
destination go in their order; a dead letter lets the next one go.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Protocol

from detection.incidents.outbox import Delivery, Outbox, Queued
from detection.incidents.table import Conflict

# Waits before the next attempt: quick ones inside a run, then to three days, as Standard Webhooks recommends.
WAITS = (
    *(timedelta(seconds=seconds) for seconds in (2, 8, 30)),
    *(timedelta(minutes=minutes) for minutes in (5, 30)),
    *(timedelta(hours=hours) for hours in (2, 5, 10, 10, 10, 10, 10, 10)),
)
LONGEST_WAIT = timedelta(hours=24)  # of what a receiver may ask for with Retry-After
DEADLINE = timedelta(seconds=15)  # of one attempt, from connecting to the answer
LEASE = 4 * DEADLINE  # of a claim: longer than any attempt takes
SENDING = timedelta(seconds=60)  # for which what is due is sent, even without patience
SLOW = timedelta(seconds=2)  # after so long an attempt, the other destinations come first


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attempt: sent, dead for a reason, or to be tried again, not before `retry_after`."""

    status: int | None
    sent: bool = False
    dead: str = ""
    reason: str = ""
    retry_after: timedelta | None = None


class Destination(Protocol):
    """Where alerts go. The port's implementation does the only outgoing HTTP of the project."""

    def send(self, delivery: Delivery, now: datetime) -> Outcome:
        """One attempt. Raises nothing: a failure is an outcome."""
        ...


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt and what became of it; `next_due` where it will be tried again."""

    delivery: Delivery
    outcome: Outcome
    next_due: datetime | None


def drain(
    outbox: Outbox,
    destinations: Mapping[str, Destination],
    clock: Callable[[], datetime],
    sleep: Callable[[float], None],
    patience: timedelta,
) -> Iterator[Attempt]:
    """Sends what is due, and what becomes due within the patience; yields every attempt."""
    begun = clock()
    give_up, stop = begun + patience, begun + max(patience, SENDING)
    while clock() <= stop:
        waiting = list(first_of_each_line(outbox.waiting()))
        due = [queued for queued in waiting if queued.delivery.due <= clock()]
        yield from _round(outbox, due, destinations, clock, stop)
        if due:
            continue
        soonest = min((queued.delivery.due for queued in waiting), default=None)
        if soonest is None or soonest > give_up:
            return
        sleep(max((soonest - clock()).total_seconds(), 0.05))


def _round(
    outbox: Outbox,
    due: Iterable[Queued],
    destinations: Mapping[str, Destination],
    clock: Callable[[], datetime],
    stop: datetime,
) -> Iterator[Attempt]:
    """One attempt at each; a destination that was slow has its next only after all others had theirs."""
    slow: set[str] = set()
    for queued in in_turns(due):
        begun = clock()
        if begun > stop:
            return
        if queued.delivery.destination in slow:
            continue
        if attempt := _attempt(outbox, queued, destinations, clock):
            yield attempt
        if clock() - begun > SLOW:
            slow.add(queued.delivery.destination)


def in_turns(due: Iterable[Queued]) -> Iterator[Queued]:
    """One of every destination, then the next of every one."""
    lines: dict[str, list[Queued]] = {}
    for queued in due:
        lines.setdefault(queued.delivery.destination, []).append(queued)
    for turn in zip_longest(*lines.values()):
        yield from filter(None, turn)


def first_of_each_line(waiting: Iterable[Queued]) -> Iterator[Queued]:
    """The oldest message of every incident and destination: the ones behind it wait for it."""
    seen: set[tuple[str, str]] = set()
    for queued in waiting:
        if queued.delivery.line not in seen:
            seen.add(queued.delivery.line)
            yield queued


def next_due(attempt: int, now: datetime, retry_after: timedelta | None) -> datetime | None:
    """When a delivery is due after so many failed attempts; None when it is to be given up."""
    if attempt > len(WAITS):
        return None
    asked = min(retry_after or timedelta(0), LONGEST_WAIT)
    return now + max(WAITS[attempt - 1], asked)


def _attempt(
    outbox: Outbox, queued: Queued, destinations: Mapping[str, Destination], clock: Callable[[], datetime]
) -> Attempt | None:
    """Claims, sends, settles; None when another process has the delivery."""
    try:
        claimed = outbox.claim(queued, clock() + LEASE)
    except Conflict:
        return None
    outcome = _send(claimed.delivery, destinations, clock())
    try:
        return _settle(outbox, claimed, outcome, clock())
    except Conflict:  # the claim had ended, and another process has taken the delivery over
        return Attempt(claimed.delivery, outcome, None)


def _send(delivery: Delivery, destinations: Mapping[str, Destination], now: datetime) -> Outcome:
    destination = destinations.get(delivery.destination)
    if destination is None:
        return Outcome(None, reason="no such destination in the settings")
    return destination.send(delivery, now)


def _settle(outbox: Outbox, claimed: Queued, outcome: Outcome, now: datetime) -> Attempt:
    again = next_due(claimed.delivery.attempt, now, outcome.retry_after)
    if outcome.sent:
        outbox.sent(claimed)
        return Attempt(claimed.delivery, outcome, None)
    if outcome.dead or again is None:
        outbox.bury(
            claimed, outcome.dead or f"given up after {claimed.delivery.attempt} attempts: {outcome.reason}"
        )
        return Attempt(claimed.delivery, outcome, None)
    outbox.later(claimed, again)
    return Attempt(claimed.delivery, outcome, again)
