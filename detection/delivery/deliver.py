"""Sends what waits in the outbox: claim, sign, post, settle. Knows no message format.

At least once, under an id that never changes: a process that dies between posting and settling leaves
its claim behind, and when that ends the message is sent again. An incident's messages to one
destination go in their order; a dead letter lets the next one go. Every destination has a lane of its
own: one that is slow or dead delays no other.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from detection.store.outbox import Delivery, Outbox, Queued
from detection.store.table import Conflict

# Waits before the next attempt: quick ones inside a run, then for three days, as long as Standard Webhooks recommends,
# but denser: a receiver that was away for an hour must not wait two more for an alert of the night.
WAITS = (
    *(timedelta(seconds=seconds) for seconds in (2, 8, 30)),
    *[timedelta(minutes=5)] * 12,
    *[timedelta(minutes=15)] * 12,
    *[timedelta(hours=1)] * 68,
)
SCHEDULE = sum(
    WAITS, timedelta(0)
)  # from the first attempt to the last, where no receiver asks for longer waits
LONGEST_WAIT = timedelta(hours=24)  # of what a receiver may ask for with Retry-After
DEADLINE = timedelta(seconds=15)  # of one attempt, from connecting to the answer
LEASE = 4 * DEADLINE  # of a claim: longer than any attempt takes
SEND_FOR = timedelta(seconds=60)  # for which what is due is sent, even without patience
MAX_THREADS = 32  # at once


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attempt: sent, dead for a reason, or to be tried again, not before `retry_after`."""

    status: int | None
    sent: bool = False
    dead_reason: str = ""
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


def deliver(
    outbox: Outbox,
    destinations: Mapping[str, Destination],
    clock: Callable[[], datetime],
    sleep: Callable[[float], None],
    drain_for: timedelta,
    report: Callable[[Attempt], object],
) -> list[Attempt]:
    """Drains every destination's lane, all at once; `report` hears of each attempt as it happens.

    Raises what a lane raised, after all have ended.
    """
    names = outbox.destinations()
    if not names:
        return []

    def drain_destination(name: str) -> list[Attempt]:
        attempts = []
        for attempt in drain(outbox, name, destinations.get(name), clock, sleep, drain_for):
            report(attempt)
            attempts.append(attempt)
        return attempts

    with ThreadPoolExecutor(min(len(names), MAX_THREADS)) as executor:
        futures = [executor.submit(drain_destination, name) for name in names]
    return [attempt for future in futures for attempt in future.result()]


def drain(
    outbox: Outbox,
    name: str,
    destination: Destination | None,
    clock: Callable[[], datetime],
    sleep: Callable[[float], None],
    drain_for: timedelta,
) -> Iterator[Attempt]:
    """Sends what is due to one destination, and what becomes due within the patience; yields every attempt."""
    begun = clock()
    drain_until, send_until = begun + drain_for, begun + max(drain_for, SEND_FOR)
    while clock() <= send_until:
        oldest_messages = list(oldest_per_queue(outbox.waiting(name)))
        due = [queued for queued in oldest_messages if queued.delivery.due <= clock()]
        yield from _attempt_all(due, partial(_attempt, outbox, destination, clock), clock, send_until)
        if due:
            continue
        soonest = min((queued.delivery.due for queued in oldest_messages), default=None)
        if soonest is None or soonest > drain_until:
            return
        sleep(max((soonest - clock()).total_seconds(), 0.05))


def _attempt_all(
    due: Iterable[Queued],
    attempt_delivery: Callable[[Queued], Attempt | None],
    clock: Callable[[], datetime],
    send_until: datetime,
) -> Iterator[Attempt]:
    """One attempt at each, while there is time."""
    for queued in due:
        if clock() > send_until:
            return
        if attempt := attempt_delivery(queued):
            yield attempt


def oldest_per_queue(queued_messages: Iterable[Queued]) -> Iterator[Queued]:
    """The oldest message of every incident and destination: the ones behind it wait for it."""
    queue_keys: set[tuple[str, str]] = set()
    for queued in queued_messages:
        if queued.delivery.queue_key not in queue_keys:
            queue_keys.add(queued.delivery.queue_key)
            yield queued


def next_due(attempt: int, now: datetime, retry_after: timedelta | None) -> datetime | None:
    """When a delivery is due after so many failed attempts; None when it is to be given up."""
    if attempt > len(WAITS):
        return None
    requested_wait = min(retry_after or timedelta(0), LONGEST_WAIT)
    return now + max(WAITS[attempt - 1], requested_wait)


def _attempt(
    outbox: Outbox, destination: Destination | None, clock: Callable[[], datetime], queued: Queued
) -> Attempt | None:
    """Claims, sends, settles; None when another process has the delivery."""
    try:
        claimed = outbox.claim(queued, clock() + LEASE)
    except Conflict:
        return None
    outcome = _send(claimed.delivery, destination, clock())
    try:
        return _settle(outbox, claimed, outcome, clock())
    except Conflict:  # the claim had ended, and another process has taken the delivery over
        return Attempt(claimed.delivery, outcome, None)


def _send(delivery: Delivery, destination: Destination | None, now: datetime) -> Outcome:
    if destination is None:
        return Outcome(None, reason="no such destination in the settings")
    return destination.send(delivery, now)


def _settle(outbox: Outbox, claimed: Queued, outcome: Outcome, now: datetime) -> Attempt:
    due = next_due(claimed.delivery.attempt, now, outcome.retry_after)
    if outcome.sent:
        outbox.sent(claimed)
        return Attempt(claimed.delivery, outcome, None)
    if outcome.dead_reason or due is None:
        outbox.dead_letter(
            claimed,
            outcome.dead_reason or f"given up after {claimed.delivery.attempt} attempts: {outcome.reason}",
        )
        return Attempt(claimed.delivery, outcome, None)
    outbox.reschedule(claimed, due)
    return Attempt(claimed.delivery, outcome, due)
