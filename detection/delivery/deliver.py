"""Delivery of the outbox: claim, send, settle. Knows no message format.

    deliver()                a lane for each destination, all at once: a slow destination delays no other
      drain()                one lane: scan the outbox, send all that is due, until nothing is due
        _Senders.send        the messages of one incident in their order; a few incidents at the same time
          _Senders.attempt   one message: claim, send, settle
            Destination.send the HTTP request

Messages arrive at least once, under an id that never changes: a process that dies between sending and
settling leaves its claim behind, and the message is sent again when the claim ends. An incident's messages to
one destination arrive in their order; a dead letter releases the next message.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
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
# From the first attempt to the last, unless a receiver asks for longer waits.
SCHEDULE = sum(WAITS, timedelta(0))
LONGEST_WAIT = timedelta(hours=24)  # the longest wait that a receiver may ask for with Retry-After
DEADLINE = timedelta(seconds=15)  # of one attempt, from connecting to the answer
LEASE = 4 * DEADLINE  # of a claim: longer than any attempt takes
SEND_FOR = timedelta(seconds=60)  # a lane sends due messages for at least this long, if there is time
MAX_THREADS = 32  # lanes at once, and senders of all lanes together
SENDERS = 4  # of a lane: messages that a destination receives at the same time


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
UNSET_FORMAT = Outcome(
    None,
    reason="WEBHOOK_FORMAT (in WEBHOOKS: format) is not set, and the address serves workflows of any kind; "
    "messages wait until it is set to teams or native",
)


class Destination(Protocol):
    """The port to a receiver of alerts."""

    def send(self, delivery: Delivery, now: datetime) -> Outcome:
        """Makes one attempt. Raises nothing: a failure is an outcome."""
        ...


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt and its outcome; `next_due` is the time (UTC) of the next attempt, None if there is none. If
    another process has claimed the message meanwhile, it is the present time.

    A destination that cannot be sent to has no attempts: this is then its oldest message, which waits.
    """

    delivery: Delivery
    outcome: Outcome
    next_due: datetime | None


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """The senders of a lane, and how long they send: longer if the lane waits longer for due messages."""

    senders: int = SENDERS
    send_for: timedelta = SEND_FOR


LANE_LIMITS = LaneLimits()


def deliver(
    outbox: Outbox,
    destinations: Mapping[str, Destination | Outcome],
    clock: Callable[[], datetime],
    sleep: Callable[[float], None],
    drain_for: timedelta,
    report: Callable[[Attempt], object],
    send_for: timedelta = SEND_FOR,
) -> list[Attempt]:
    """Drains the lanes of all destinations at once. Returns all attempts in the order of their ends.

    An Outcome in place of a destination says why its messages wait.
    No message is sent after `send_for`, or after `drain_for` if that is longer. Calls `report` with each
    attempt as soon as it ends, in the calling thread: Azure drops the log lines of other threads. Raises the
    first error of a lane after all lanes have ended.
    """
    names = outbox.destinations()
    if not names:
        return []
    attempts: list[Attempt] = []
    finished: SimpleQueue[Attempt | None] = SimpleQueue()  # None: a lane has ended
    sending_lanes = max(len(destinations.keys() & set(names)), 1)
    limits = LaneLimits(max(min(SENDERS, MAX_THREADS // sending_lanes), 1), send_for)

    def drain_lane(name: str) -> None:
        try:
            destination = destinations.get(name, UNKNOWN_DESTINATION)
            drain(outbox, name, destination, clock, sleep, drain_for, finished.put, limits)
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
    destination: Destination | Outcome,
    clock: Callable[[], datetime],
    sleep: Callable[[float], None],
    drain_for: timedelta,
    report: Callable[[Attempt], object],
    limits: LaneLimits = LANE_LIMITS,
) -> None:
    """Sends the messages to one destination that are due within `drain_for`: those of a few incidents at the
    same time, each incident's in their order. Threads of senders call `report` with every attempt.

    After a response that asks for a pause, the destination gets nothing until the pause ends, and one message
    at a time from then on. A pause delays messages that are due already for as long as they are sent.

    With an Outcome in place of the destination it reports the oldest message and counts no attempt: the
    messages wait until the settings are right, however late. Raises the first error after all senders have
    ended.
    """
    if isinstance(destination, Outcome):
        waiting = (queued.delivery for queued in outbox.waiting(name))
        if oldest := min(waiting, key=lambda delivery: delivery.created, default=None):
            report(Attempt(oldest, destination, clock()))
        return
    begun = clock()
    drain_until, send_until = begun + drain_for, begun + max(drain_for, limits.send_for)
    sender_count = limits.senders
    senders = _Senders(outbox, destination, clock, report, send_until)
    while clock() <= send_until:
        queues: dict[tuple[str, str], list[Queued]] = {}
        for queued in outbox.waiting(name):
            queues.setdefault(queued.delivery.queue_key, []).append(queued)
        open_queues = [queue for queue in queues.values() if queue[0] not in senders.conflicts]
        if due := [queue for queue in open_queues if queue[0].delivery.due <= clock()]:
            if senders.pauses:
                sender_count = 1
                if (paused_until := max(senders.pauses)) > send_until:
                    return
                if paused_until > clock():
                    _sleep_until(paused_until, clock, sleep)
            with ThreadPoolExecutor(sender_count) as executor:
                for sending in [executor.submit(senders.send, queue) for queue in due]:
                    sending.result()
            continue
        soonest = min((queue[0].delivery.due for queue in open_queues), default=None)
        if soonest is None or soonest > drain_until:
            return
        _sleep_until(soonest, clock, sleep)


def _sleep_until(time: datetime, clock: Callable[[], datetime], sleep: Callable[[float], None]) -> None:
    sleep(max((time - clock()).total_seconds(), 0.05))


@dataclass(frozen=True, slots=True)
class _Senders:
    """The senders of a lane. Their threads share its state, which each changes by one `append` or `add`."""

    outbox: Outbox
    destination: Destination
    clock: Callable[[], datetime]
    report: Callable[[Attempt], object]
    send_until: datetime
    # Another process has claimed such a message, and changed its row.
    conflicts: set[Queued] = field(default_factory=set)
    pauses: list[datetime] = field(default_factory=list)  # the ends of the pauses that responses asked for
    failures: list[Exception] = field(default_factory=list)

    def send(self, messages: Iterable[Queued]) -> None:
        """Sends the messages of an incident until a message stays in the outbox or no message may be sent."""
        for queued in messages:
            now = self.clock()
            if self.failures or now > self.send_until or now < max(self.pauses, default=now):
                return
            if queued.delivery.due > now:
                return
            try:
                finished_attempt = self.attempt(queued)
            except Exception as error:
                self.failures.append(error)
                raise
            if finished_attempt is None:
                self.conflicts.add(queued)
                return
            self.report(finished_attempt)
            if finished_attempt.next_due:
                return

    def attempt(self, queued: Queued) -> Attempt | None:
        """Claims, sends and settles one message. Returns None if another process has claimed it."""
        outbox, clock = self.outbox, self.clock
        try:
            claimed = outbox.claim(queued, clock() + LEASE)
        except Conflict:
            return None
        delivery = claimed.delivery
        outcome = self.destination.send(delivery, clock())
        if wait := pause(outcome):
            self.pauses.append(clock() + wait)
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
            due = clock()
        return Attempt(delivery, outcome, due)


def pause(outcome: Outcome) -> timedelta:
    """How long a destination gets no message after an outcome: as long as Retry-After asks for, up to
    `LONGEST_WAIT`; after a 429 without Retry-After, as long as a message waits for its second attempt.
    """
    is_limited = outcome.status == HTTPStatus.TOO_MANY_REQUESTS
    return min(outcome.retry_after or (WAITS[0] if is_limited else timedelta(0)), LONGEST_WAIT)


def next_due(failed_attempts: int, now: datetime, retry_after: timedelta | None) -> datetime | None:
    """The time of the next attempt after some failed attempts; None after the last of the schedule."""
    if failed_attempts > len(WAITS):
        return None
    requested_wait = min(retry_after or timedelta(0), LONGEST_WAIT)
    return now + max(WAITS[failed_attempts - 1], requested_wait)
