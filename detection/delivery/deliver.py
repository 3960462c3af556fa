"""Delivery of the outbox: claim, send, settle. Knows no message format.

    deliver()                a lane for each destination, all at once: a slow destination delays no other
      drain()                one lane: the oldest message of each incident, until nothing is due
        attempt()            one message: claim, send, settle
          Destination.send   the HTTP request

Messages arrive at least once, under an id that never changes: a process that dies between sending and
settling leaves its claim behind, and the message is sent again when the claim ends. An incident's messages to
one destination arrive in their order; a dead letter releases the next message.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from queue import SimpleQueue
from typing import Protocol

from detection.store.outbox import Delivery, Outbox, Queued
from detection.store.table import Conflict

# Waits before the next attempt: quick retries inside a run, then three days, as long as Standard Webhooks
# recommends. The waits are denser than there: a receiver that was down for an hour should not wait two more
# hours for an alert.
WAITS = (
    *(timedelta(seconds=seconds) for seconds in (2, 8, 30)),
    *[timedelta(minutes=5)] * 12,
    *[timedelta(minutes=15)] * 12,
    *[timedelta(hours=1)] * 68,
)
SCHEDULE = sum(
    WAITS, timedelta(0)
)  # from the first attempt to the last, unless a receiver asks for longer waits
LONGEST_WAIT = timedelta(hours=24)  # the longest wait that a receiver may ask for with Retry-After
DEADLINE = timedelta(seconds=15)  # of one attempt, from connecting to the answer
LEASE = 4 * DEADLINE  # of a claim: longer than any attempt takes
SEND_FOR = timedelta(seconds=60)  # a lane sends due messages for at least this long
MAX_THREADS = 32  # lanes at once


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of an attempt: sent, dead for a reason, or to be retried for a reason.

    A retry waits for `retry_after` at least. `status` is the HTTP status; None if there was no answer.
    """

    status: int | None
    sent: bool = False
    dead_reason: str = ""
    reason: str = ""
    retry_after: timedelta | None = None


UNKNOWN_DESTINATION = Outcome(
    None, reason="the settings name no such destination; its messages wait until they do"
)


class Destination(Protocol):
    """The port to a receiver of alerts."""

    def send(self, delivery: Delivery, now: datetime) -> Outcome:
        """Makes one attempt. Raises nothing: a failure is an outcome."""
        ...


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt and its outcome; `next_due` is the time (UTC) of the next attempt, None if there is none.

    A destination that the settings do not name has no attempts: this is then its oldest message, which waits.
    """

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
    """Drains the lanes of all destinations at once. Returns all attempts in the order of their ends.

    Calls `report` with each attempt as soon as it ends, in the calling thread: Azure drops the log lines of
    other threads. Raises the first error of a lane after all lanes have ended.
    """
    names = outbox.destinations()
    if not names:
        return []
    attempts: list[Attempt] = []
    finished: SimpleQueue[Attempt | None] = SimpleQueue()  # None: a lane has ended

    def drain_lane(name: str) -> None:
        try:
            for finished_attempt in drain(outbox, name, destinations.get(name), clock, sleep, drain_for):
                finished.put(finished_attempt)
        finally:
            finished.put(None)

    with ThreadPoolExecutor(min(len(names), MAX_THREADS)) as executor:
        lanes = [executor.submit(drain_lane, name) for name in names]
        for _ in lanes:
            while finished_attempt := finished.get():
                report(finished_attempt)
                attempts.append(finished_attempt)
    for lane in lanes:
        lane.result()
    return attempts


def drain(
    outbox: Outbox,
    name: str,
    destination: Destination | None,
    clock: Callable[[], datetime],
    sleep: Callable[[float], None],
    drain_for: timedelta,
) -> Iterator[Attempt]:
    """Sends the messages to one destination that are due within `drain_for`, and yields every attempt.

    Without a destination it yields the oldest message and counts no attempt: the messages wait until the
    settings name the destination again, however late.
    """
    if destination is None:
        waiting = (queued.delivery for queued in outbox.waiting(name))
        if oldest := min(waiting, key=lambda delivery: delivery.created, default=None):
            yield Attempt(oldest, UNKNOWN_DESTINATION, clock())
        return
    begun = clock()
    drain_until, send_until = begun + drain_for, begun + max(drain_for, SEND_FOR)
    conflicts = set[Queued]()  # the process that claimed such a message changed its row
    while clock() <= send_until:
        oldest_by_queue: dict[
            tuple[str, str], Queued
        ] = {}  # the later messages of a queue wait for the oldest
        for queued in outbox.waiting(name):
            oldest_by_queue.setdefault(queued.delivery.queue_key, queued)
        open_messages = [queued for queued in oldest_by_queue.values() if queued not in conflicts]
        due = [queued for queued in open_messages if queued.delivery.due <= clock()]
        for queued in due:
            if clock() > send_until:
                return
            if finished_attempt := attempt(outbox, queued, destination, clock):
                yield finished_attempt
            else:
                conflicts.add(queued)
        if due:
            continue
        soonest = min((queued.delivery.due for queued in open_messages), default=None)
        if soonest is None or soonest > drain_until:
            return
        sleep(max((soonest - clock()).total_seconds(), 0.05))


def attempt(
    outbox: Outbox, queued: Queued, destination: Destination, clock: Callable[[], datetime]
) -> Attempt | None:
    """Claims, sends and settles one message. Returns None if another process has claimed it."""
    try:
        claimed = outbox.claim(queued, clock() + LEASE)
    except Conflict:
        return None
    delivery = claimed.delivery
    outcome = destination.send(delivery, clock())
    is_final = outcome.sent or outcome.dead_reason
    due = None if is_final else next_due(delivery.attempt, clock(), outcome.retry_after)
    try:
        if outcome.sent:
            outbox.sent(claimed)
        elif due:
            outbox.reschedule(claimed, due)
        else:
            given_up = f"given up after {delivery.attempt} attempts: {outcome.reason}"
            outbox.dead_letter(claimed, outcome.dead_reason or given_up)
    except Conflict:  # the claim ended, and another process has claimed the message
        due = None
    return Attempt(delivery, outcome, due)


def next_due(failed_attempts: int, now: datetime, retry_after: timedelta | None) -> datetime | None:
    """The time of the next attempt after some failed attempts.

    Returns None after the last attempt of the schedule.
    """
    if failed_attempts > len(WAITS):
        return None
    requested_wait = min(retry_after or timedelta(0), LONGEST_WAIT)
    return now + max(WAITS[failed_attempts - 1], requested_wait)
