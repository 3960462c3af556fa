"""Delivery: order, schedule, lanes, and two processes at work, by a clock that the tests move."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

import pytest

from detection.base.errors import ServiceError
from detection.delivery.deliver import (
    LEASE,
    LONGEST_WAIT,
    MAX_THREADS,
    SEND_FOR,
    SENDERS,
    UNKNOWN_DESTINATION,
    WAITS,
    Attempt,
    LaneLimits,
    Outcome,
    deliver,
    drain,
    next_due,
    pause,
)
from detection.store.outbox import Delivery, Outbox, Queued, queue
from detection.store.table import PAGE, Conflict, Delete, Entity, MemoryTable, Operation, Replace
from tests.support.builders import HOUR, START
from tests.support.clock import Clock

RULE = "some-rule"
SECOND = timedelta(seconds=1)
NOW = timedelta(0)
WEEK = timedelta(days=7)

SENT = Outcome(200, sent=True)
FAILED = Outcome(500, reason="HTTP 500")
REFUSED = Outcome(400, dead_reason="HTTP 400")
SILENT = Outcome(None, reason="no answer within 15 s")


@dataclass
class ScriptedReceiver:
    """A destination that answers after `duration`: with each of `outcomes`, then with `default_outcome`."""

    clock: Clock
    outcomes: list[Outcome] = field(default_factory=list)
    default_outcome: Outcome = SENT
    duration: timedelta = NOW
    on_send: Callable[[], object] = lambda: None
    deliveries: list[tuple[datetime, Delivery]] = field(default_factory=list)

    def send(self, delivery: Delivery, now: datetime) -> Outcome:
        self.deliveries.append((now, delivery))
        self.clock.now += self.duration
        self.on_send()
        return self.outcomes.pop(0) if self.outcomes else self.default_outcome

    @property
    def commits(self) -> list[int]:
        return [delivery.commit for _, delivery in self.deliveries]

    @property
    def times(self) -> list[timedelta]:
        return [time - START for time, _ in self.deliveries]


@dataclass
class Post:
    """An outbox with its receivers and the clock they share."""

    clock: Clock = field(default_factory=lambda: Clock(START))
    table: MemoryTable = field(default_factory=MemoryTable)
    receivers: dict[str, ScriptedReceiver] = field(default_factory=dict)

    @property
    def outbox(self) -> Outbox:
        return Outbox(self.table, RULE)

    def receiver(
        self,
        name: str = "soc",
        outcomes: Sequence[Outcome] = (),
        default_outcome: Outcome = SENT,
        duration: timedelta = NOW,
    ) -> ScriptedReceiver:
        self.receivers[name] = ScriptedReceiver(self.clock, list(outcomes), default_outcome, duration)
        return self.receivers[name]

    def put(self, commit: int = 1, destination: str = "soc", incident: str = "in_1") -> None:
        body = f"body {commit}".encode()
        name = f"al_{incident}_{commit}_{destination}"
        delivery = Delivery(name, destination, incident, commit, body, created=START, due=START)
        self.table.write(RULE, [queue(delivery)])

    def drain(self, drain_for: timedelta = NOW, outbox: Outbox | None = None) -> list[Attempt]:
        """The lane of "soc" with one sender, by the clock that the tests move."""
        attempts: list[Attempt] = []
        box, soc = outbox or self.outbox, self.receivers.get("soc", UNKNOWN_DESTINATION)
        drain(box, "soc", soc, self.clock, self.clock.sleep, drain_for, attempts.append, LaneLimits(1))
        return attempts

    def deliver(self, report: Callable[[Attempt], object] = lambda _: None) -> list[Attempt]:
        """All lanes, at the same time."""
        return deliver(self.outbox, self.receivers, self.clock, self.clock.sleep, NOW, report)

    @property
    def waiting(self) -> list[int]:
        return [queued.delivery.commit for queued in self.outbox.waiting("soc")]

    @property
    def dead(self) -> list[str]:
        return [dead_letter.reason for dead_letter in self.outbox.dead_letters()]


@pytest.fixture
def post() -> Post:
    return Post()


# ------------------------------------------------------------------------------------------------ one message


def test_sent_message_leaves_the_outbox(post: Post) -> None:
    receiver = post.receiver()
    post.put()
    (attempt,) = post.drain()
    assert (attempt.outcome, attempt.delivery.attempt, attempt.next_due) == (SENT, 1, None)
    assert (receiver.commits, post.waiting, post.dead) == ([1], [], [])


def test_empty_outbox_is_nothing_to_do(post: Post) -> None:
    post.receiver()
    assert post.drain(WEEK) == []
    assert post.clock.now == START


def test_refused_message_is_a_dead_letter_at_once(post: Post) -> None:
    receiver = post.receiver(default_outcome=REFUSED)
    post.put()
    (attempt,) = post.drain(WEEK)
    assert attempt.next_due is None
    assert (receiver.commits, post.waiting, post.dead) == ([1], [], ["HTTP 400"])


def test_failing_message_is_tried_by_the_schedule_and_then_dead(post: Post) -> None:
    receiver = post.receiver(default_outcome=FAILED)
    post.put()
    attempts = post.drain(WEEK)
    assert receiver.times == [sum(WAITS[:tried], NOW) for tried in range(len(WAITS) + 1)]
    assert [attempt.next_due is None for attempt in attempts] == [False] * len(WAITS) + [True]
    assert post.dead == [f"given up after {len(WAITS) + 1} attempts: HTTP 500"]


def test_schedule_begins_in_seconds_and_ends_after_about_three_days() -> None:
    assert WAITS[0] <= 5 * SECOND
    assert timedelta(days=2, hours=12) <= sum(WAITS, NOW) <= timedelta(days=3, hours=12)


def test_all_attempts_have_one_id_and_one_body(post: Post) -> None:
    receiver = post.receiver(default_outcome=FAILED)
    post.put()
    post.drain(WEEK)
    assert {(delivery.id, delivery.body) for _, delivery in receiver.deliveries} == {
        ("al_in_1_1_soc", b"body 1")
    }


def test_message_that_fails_first_is_sent_within_the_patience(post: Post) -> None:
    receiver = post.receiver(outcomes=[FAILED, SILENT])
    post.put()
    post.drain(60 * SECOND)
    assert receiver.times == [NOW, 2 * SECOND, 10 * SECOND]
    assert post.waiting == []


def test_pause_before_an_attempt_is_short_and_never_shorter_than_50_milliseconds(post: Post) -> None:
    receiver = post.receiver()
    millisecond = SECOND / 1000
    for commit, due in enumerate([10 * millisecond, 110 * millisecond], 1):
        message = Delivery(f"al_{commit}", "soc", f"in_{commit}", 1, b"{}", created=START, due=START + due)
        post.table.write(RULE, [queue(message)])
    post.drain(SECOND)
    assert receiver.times == [50 * millisecond, 110 * millisecond]


def test_without_patience_nothing_is_waited_for(post: Post) -> None:
    receiver = post.receiver(default_outcome=FAILED)
    post.put()
    (attempt,) = post.drain()
    assert attempt.next_due == START + 2 * SECOND
    assert (receiver.times, post.clock.now) == ([NOW], START)


def test_next_drain_goes_on_where_the_last_one_stopped(post: Post) -> None:
    receiver = post.receiver(outcomes=[FAILED])
    post.put()
    post.drain()
    assert post.drain() == []
    post.clock.now += 5 * 60 * SECOND
    (attempt,) = post.drain()
    assert (attempt.delivery.attempt, receiver.commits) == (2, [1, 1])


def test_retry_after_is_obeyed(post: Post) -> None:
    outcome = Outcome(429, reason="HTTP 429", retry_after=40 * SECOND)
    receiver = post.receiver(outcomes=[outcome])
    post.put()
    post.drain(60 * SECOND)
    assert receiver.times == [NOW, 40 * SECOND]


@pytest.mark.parametrize(
    "tried, requested_wait, wait",
    [
        (1, None, 2 * SECOND),
        (1, NOW, 2 * SECOND),
        (1, 1 * SECOND, 2 * SECOND),
        (1, 3 * SECOND, 3 * SECOND),
        (7, 1 * SECOND, WAITS[6]),
        (40, 5 * SECOND, 1 * HOUR),
        (1, WEEK, LONGEST_WAIT),
    ],
)
def test_longer_of_both_waits_counts_up_to_a_day(
    tried: int, requested_wait: timedelta | None, wait: timedelta
) -> None:
    assert next_due(tried, START, requested_wait) == START + wait


def test_retry_after_does_not_prolong_the_schedule() -> None:
    assert next_due(len(WAITS) + 1, START, HOUR) is None


# ------------------------------------------------------------------------------------------------------ order


def test_messages_of_an_incident_keep_their_order(post: Post) -> None:
    receiver = post.receiver(outcomes=[FAILED, SENT, FAILED])
    for commit in (3, 1, 2, 10):
        post.put(commit)
    post.drain(60 * SECOND)
    assert receiver.commits == [1, 1, 2, 2, 3, 10]


def test_failing_message_holds_back_its_incident_only(post: Post) -> None:
    receiver = post.receiver(outcomes=[FAILED])
    post.put(1, incident="in_1")
    post.put(2, incident="in_1")
    post.put(7, incident="in_2")
    post.drain()
    assert (receiver.commits, post.waiting) == ([1, 7], [1, 2])


def test_dead_message_releases_the_next(post: Post) -> None:
    receiver = post.receiver(outcomes=[REFUSED])
    post.put(1)
    post.put(2)
    post.drain()
    assert (receiver.commits, post.waiting, post.dead) == ([1, 2], [], ["HTTP 400"])


def test_message_that_is_due_later_is_not_sent_early_after_its_predecessor(post: Post) -> None:
    """The first message is a dead letter that was requeued while the second waited for its next attempt."""
    receiver = post.receiver()
    post.put(1)
    post.put(2)
    _, second = post.outbox.waiting("soc")
    post.outbox.reschedule(second, START + HOUR)
    post.drain()
    assert (receiver.commits, post.waiting) == ([1], [2])


def test_claimed_message_holds_back_the_next(post: Post) -> None:
    receiver = post.receiver()
    post.put(1)
    post.put(2)
    queued, _ = post.outbox.waiting("soc")
    post.outbox.claim(queued, START + LEASE)
    post.drain()
    assert receiver.commits == []


# ---------------------------------------------------------------------------------------------------- senders


@dataclass
class ConcurrentReceiver:
    """A destination that notes which messages it is receiving at the same time.

    `on_send` runs while it receives a message and returns the outcome.
    """

    clock: Clock
    on_send: Callable[[Delivery], Outcome]
    lock: threading.Lock = field(default_factory=threading.Lock)
    receiving: list[Delivery] = field(default_factory=list)
    deliveries: list[tuple[datetime, Delivery, int]] = field(default_factory=list)

    def send(self, delivery: Delivery, now: datetime) -> Outcome:
        with self.lock:
            assert delivery.incident not in {message.incident for message in self.receiving}
            self.receiving.append(delivery)
            self.deliveries.append((now, delivery, len(self.receiving)))
        outcome = self.on_send(delivery)
        with self.lock:
            self.receiving.remove(delivery)
        return outcome

    @property
    def most_at_once(self) -> int:
        return max(count for _, _, count in self.deliveries)

    def deliver(self, post: Post, report: Callable[[Attempt], object] = lambda _: None) -> list[Attempt]:
        """The lane of this destination as "soc"."""
        return deliver(post.outbox, {"soc": self}, post.clock, post.clock.sleep, NOW, report)


def test_destination_receives_messages_of_a_few_incidents_at_the_same_time(post: Post) -> None:
    """No message is answered before the destination receives as many as there are senders."""
    barrier = threading.Barrier(SENDERS, timeout=60)

    def answer(_delivery: Delivery) -> Outcome:
        barrier.wait()
        return SENT

    receiver = ConcurrentReceiver(post.clock, answer)
    for number in range(3 * SENDERS):
        post.put(1, incident=f"in_{number}")
    receiver.deliver(post)
    assert (receiver.most_at_once, len(receiver.deliveries), post.waiting) == (SENDERS, 3 * SENDERS, [])


def test_messages_of_an_incident_keep_their_order_next_to_other_incidents(post: Post) -> None:
    """The receiver refuses, fails, or takes a message at random, and never has two of an incident at once."""
    random = Random(7)
    receiver = ConcurrentReceiver(post.clock, lambda _: random.choice([SENT, SENT, REFUSED, FAILED]))
    incidents = [f"in_{number}" for number in range(20)]
    for incident in incidents:
        for commit in range(1, 11):
            post.put(commit, incident=incident)
    while post.waiting:
        receiver.deliver(post)
        post.clock.now += HOUR
    for incident in incidents:
        commits = [delivery.commit for _, delivery, _ in receiver.deliveries if delivery.incident == incident]
        assert commits == sorted(commits)
        assert set(commits) == set(range(1, 11))


def test_destinations_at_once_share_the_bounded_number_of_threads(post: Post) -> None:
    barrier = threading.Barrier(30, timeout=60)  # ten destinations of three senders, of 32 threads

    def answer(_delivery: Delivery) -> Outcome:
        barrier.wait()
        return SENT

    receivers = {f"soc-{number}": ConcurrentReceiver(post.clock, answer) for number in range(10)}
    for name in receivers:
        for number in range(6):
            post.put(1, name, f"in_{number}")
    deliver(post.outbox, receivers, post.clock, post.clock.sleep, NOW, lambda _: None)
    assert [receiver.most_at_once for receiver in receivers.values()] == [3] * 10
    assert MAX_THREADS >= 3 * 10


class CountingTable(MemoryTable):
    """Counts its requests; a scan is a request."""

    def __init__(self) -> None:
        super().__init__()
        self.requests = Counter[str]()

    def get(self, partition: str, row: str) -> Entity | None:
        self.requests["get"] += 1
        return super().get(partition, row)

    def scan(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[Entity]:
        self.requests["scan"] += 1
        return super().scan(partition, start, end, page)

    def write(self, partition: str, operations: Sequence[Operation]) -> None:
        self.requests["write"] += 1
        super().write(partition, operations)


@pytest.mark.parametrize("incidents", [1, 10, 100])
def test_sent_message_takes_two_requests_and_a_drain_two_scans(incidents: int) -> None:
    """Two more scans look for destinations."""
    table = CountingTable()
    post = Post(table=table)
    post.receiver()
    for number in range(100):
        post.put(number // incidents, incident=f"in_{number % incidents}")
    table.requests.clear()
    post.deliver()
    assert post.waiting == []
    assert table.requests - Counter(scan=1) == Counter(scan=4, write=200)


def test_failed_message_takes_three_requests(post: Post) -> None:
    table = CountingTable()
    post = Post(table=table)
    post.receiver(default_outcome=FAILED)
    post.put()
    table.requests.clear()
    post.drain()
    assert table.requests == Counter(scan=2, get=1, write=2)


# ----------------------------------------------------------------------------------------------------- pauses


def limited(wait: timedelta | None, status: int = 429) -> Outcome:
    return Outcome(status, reason=f"HTTP {status}", retry_after=wait)


@pytest.mark.parametrize(
    "outcome, wait",
    [
        (limited(40 * SECOND), 40 * SECOND),
        (limited(40 * SECOND, 503), 40 * SECOND),
        (limited(1 * SECOND), 1 * SECOND),
        (limited(None), WAITS[0]),
        (limited(NOW), WAITS[0]),
        (limited(WEEK), LONGEST_WAIT),
        (FAILED, NOW),
        (SILENT, NOW),
        (REFUSED, NOW),
        (SENT, NOW),
    ],
)
def test_429_and_retry_after_ask_for_a_pause(outcome: Outcome, wait: timedelta) -> None:
    assert pause(outcome) == wait


@pytest.mark.parametrize("wait", [40 * SECOND, None])
def test_pause_that_a_message_meets_delays_all_messages_to_its_destination(
    post: Post, wait: timedelta | None
) -> None:
    receiver = post.receiver(outcomes=[SENT, limited(wait)])
    healthy = post.receiver("pager")
    for number in range(5):
        post.put(1, incident=f"in_{number}")
    post.put(1, "pager")
    post.drain()
    pause_end = wait or WAITS[0]
    assert receiver.times == [NOW, NOW, *[pause_end] * 4]
    assert (post.waiting, healthy.times) == ([], [])


def test_pause_beyond_the_drain_ends_it(post: Post) -> None:
    receiver = post.receiver(outcomes=[limited(SEND_FOR + SECOND)])
    post.put(1, incident="in_1")
    post.put(1, incident="in_2")
    (attempt,) = post.drain()
    assert attempt.next_due == START + SEND_FOR + SECOND
    assert (receiver.times, post.clock.now) == ([NOW], START)
    post.clock.now += 5 * 60 * SECOND
    post.drain()
    assert post.waiting == []


def test_without_patience_a_message_that_meets_a_pause_is_not_waited_for(post: Post) -> None:
    receiver = post.receiver(outcomes=[limited(SECOND)])
    post.put()
    post.drain()
    assert (receiver.times, post.clock.now) == ([NOW], START)


def test_every_sender_keeps_the_pause_and_then_one_message_is_sent_at_a_time(post: Post) -> None:
    """All senders are at work when one message meets a 429; the others end after that."""
    barrier, reported = threading.Barrier(SENDERS, timeout=60), threading.Event()

    threads_after_pause = set[threading.Thread]()

    def answer(delivery: Delivery) -> Outcome:
        if reported.is_set():
            threads_after_pause.add(threading.current_thread())
            return SENT
        barrier.wait()
        if delivery.incident == "in_0":
            return limited(40 * SECOND)
        reported.wait(60)
        return SENT

    def report(attempt: Attempt) -> None:
        if not attempt.outcome.sent:
            reported.set()

    receiver = ConcurrentReceiver(post.clock, answer)
    for number in range(3 * SENDERS):
        post.put(1, incident=f"in_{number}")
    receiver.deliver(post, report)
    assert [(now - START, count) for now, _, count in receiver.deliveries] == [
        *((NOW, count) for count in range(1, SENDERS + 1)),
        *[(40 * SECOND, 1)] * (2 * SENDERS + 1),  # the other messages, and the one of the 429 again
    ]
    assert len(threads_after_pause) <= 2  # of two scans: the message of the 429 is in the second


# ------------------------------------------------------------------------------------------------------ lanes


def test_hanging_destination_delays_no_other(post: Post) -> None:
    """The destination hangs until the other destination has every message."""
    done = threading.Event()
    post.receiver("a", default_outcome=SILENT).on_send = lambda: done.wait(60)
    healthy = post.receiver("b")
    healthy.on_send = lambda: done.set() if len(healthy.deliveries) == 40 else None
    for number in range(40):
        post.put(1, "a", f"in_{number}")
        post.put(1, "b", f"in_{number}")
    post.deliver()
    assert done.is_set()
    assert len(healthy.deliveries) == 40


def test_dead_destination_delays_no_other(post: Post) -> None:
    post.receiver("a", default_outcome=REFUSED)
    healthy = post.receiver("b")
    for number in range(40):
        post.put(1, "a", f"in_{number}")
    post.put(1, "b")
    post.deliver()
    assert healthy.times == [NOW]


def test_lane_that_the_table_fails_lets_the_others_end(post: Post) -> None:
    class Failing(Outbox):
        def waiting(self, destination: str) -> Iterator[Queued]:
            if destination == "a":
                raise ServiceError("the table does not answer")
            return super().waiting(destination)

    healthy = post.receiver("b")
    post.put(1, "a")
    post.put(1, "b")
    with pytest.raises(ServiceError):
        deliver(Failing(post.table, RULE), post.receivers, post.clock, post.clock.sleep, NOW, lambda _: None)
    assert healthy.commits == [1]


class RefusingOne(MemoryTable):
    """A table that fails when the message of "in_10" is claimed, once `barrier` is passed."""

    barrier = threading.Barrier(1)

    def write(self, partition: str, operations: Sequence[Operation]) -> None:
        if isinstance(operations[0], Replace) and "in_10" in operations[0].row:
            self.barrier.wait()
            raise ServiceError("the table does not answer")
        super().write(partition, operations)


def test_lane_sends_nothing_after_the_table_failed() -> None:
    post = Post(table=RefusingOne())
    receiver = post.receiver()
    post.put(1, incident="in_10")
    post.put(1, incident="in_11")
    with pytest.raises(ServiceError):
        post.drain()
    assert receiver.commits == []


def test_senders_at_work_end_and_are_reported_when_the_table_fails_another() -> None:
    table = RefusingOne()
    post = Post(table=table)
    table.barrier = threading.Barrier(SENDERS, timeout=60)

    def answer(_delivery: Delivery) -> Outcome:
        table.barrier.wait()
        return SENT

    receiver = ConcurrentReceiver(post.clock, answer)
    for number in range(SENDERS):
        post.put(1, incident=f"in_{10 + number}")
    attempts: list[Attempt] = []
    with pytest.raises(ServiceError):
        receiver.deliver(post, attempts.append)
    assert len(attempts) == SENDERS - 1
    assert len(post.waiting) == 1


def test_every_attempt_is_reported_as_it_happens(post: Post) -> None:
    """The second message is not answered before the first attempt is reported."""
    reported = threading.Event()
    reported_in_time: list[bool] = []
    receiver = post.receiver("a")

    def wait_for_report() -> None:
        if len(receiver.deliveries) == 2:
            reported_in_time.append(reported.wait(60))

    receiver.on_send = wait_for_report
    post.put(1, "a")
    post.put(2, "a")
    attempts: list[Attempt] = []

    def report(attempt: Attempt) -> None:
        attempts.append(attempt)
        reported.set()

    returned = deliver(post.outbox, post.receivers, post.clock, post.clock.sleep, NOW, report)
    assert reported_in_time == [True]
    assert [attempt.delivery.commit for attempt in attempts] == [1, 2]
    assert returned == attempts


def test_attempts_are_reported_in_the_thread_of_the_caller(post: Post) -> None:
    post.receiver("a", default_outcome=FAILED)
    post.receiver("b")
    post.put(1, "a")
    post.put(1, "b")
    threads: list[threading.Thread] = []
    deliver(
        post.outbox,
        post.receivers,
        post.clock,
        post.clock.sleep,
        NOW,
        lambda _: threads.append(threading.current_thread()),
    )
    assert threads == [threading.current_thread()] * 2


@pytest.mark.parametrize("drain_for", [NOW, 60 * SECOND])
def test_drain_ends_even_where_every_attempt_hangs(post: Post, drain_for: timedelta) -> None:
    post.receiver(default_outcome=SILENT, duration=15 * SECOND)
    for number in range(100):
        post.put(1, incident=f"in_{number}")
    post.drain(drain_for)
    assert post.clock.now - START <= SEND_FOR + 15 * SECOND


def test_everything_due_is_sent_without_patience_by_a_clock_that_moves(post: Post) -> None:
    post.clock.tick = timedelta(milliseconds=1)
    receiver = post.receiver()
    for commit in range(1, 6):
        post.put(commit)
        post.put(1, incident=f"in_1{commit}")
    post.drain()
    assert len(receiver.deliveries) == 10
    assert post.waiting == []


# --------------------------------------------------------------------------------------- several, and crashes


class InterruptedOutbox(Outbox):
    """An outbox in which another process delivers between the reader's scan and its claim."""

    def __init__(self, post: Post) -> None:
        super().__init__(post.table, RULE)
        self._post = post

    def waiting(self, destination: str) -> Iterator[Queued]:
        queued_messages = list(super().waiting(destination))
        self._post.drain()
        yield from queued_messages


def test_two_deliverers_send_a_message_once(post: Post) -> None:
    receiver = post.receiver()
    post.put()
    assert post.drain(outbox=InterruptedOutbox(post)) == []
    assert receiver.commits == [1]


def test_second_deliverer_leaves_alone_what_the_first_is_sending(post: Post) -> None:
    receiver = post.receiver()
    receiver.on_send = post.drain
    post.put(1)
    post.put(2)
    post.drain()
    assert sorted(receiver.commits) == [1, 2]
    assert receiver.commits[0] == 1


class UnclaimableTable(MemoryTable):
    """A table that refuses every claim, though no other process claims."""

    def write(self, partition: str, operations: Sequence[Operation]) -> None:
        if any(isinstance(operation, Replace) for operation in operations):
            self.claims += 1
            raise Conflict("another process changed a row")
        super().write(partition, operations)

    claims = 0


def test_claim_that_conflicts_with_no_other_process_is_not_repeated() -> None:
    table = UnclaimableTable()
    post = Post(table=table)
    post.receiver()
    post.put(1, incident="in_1")
    post.put(1, incident="in_2")

    assert post.drain() == []

    assert table.claims == 2
    assert post.waiting == [1, 1]


def test_claim_of_a_deliverer_that_died_ends(post: Post) -> None:
    receiver = post.receiver()
    post.put()
    (queued,) = post.outbox.waiting("soc")
    post.outbox.claim(queued, START + LEASE)
    post.clock.now = START + LEASE - SECOND
    assert post.drain() == []
    post.clock.now = START + LEASE
    (attempt,) = post.drain()
    assert (attempt.delivery.attempt, receiver.commits, post.waiting) == (2, [1], [])


class LosesAnswers(MemoryTable):
    """A table of which the first claim is executed, its answer lost, and the request repeated."""

    lost = False

    def write(self, partition: str, operations: Sequence[Operation]) -> None:
        super().write(partition, operations)
        if not self.lost and isinstance(operations[0], Replace):
            self.lost = True
            raise Conflict("another process changed a row")


def test_uncertain_claim_is_not_sent_before_it_ends() -> None:
    post = Post(table=LosesAnswers())
    receiver = post.receiver()
    post.put(1)
    post.put(2)
    assert post.drain() == []
    post.clock.now += LEASE
    post.drain()
    assert (receiver.commits, receiver.times) == ([1, 2], [LEASE, LEASE])


class DiesBeforeSettling(MemoryTable):
    """A table that fails when the first delivery is settled."""

    died = False

    def write(self, partition: str, operations: Sequence[Operation]) -> None:
        if not self.died and isinstance(operations[0], Delete):
            self.died = True
            raise ServiceError("the table does not answer")
        super().write(partition, operations)


def test_message_posted_before_a_crash_is_sent_again_unchanged() -> None:
    post = Post(table=DiesBeforeSettling())
    receiver = post.receiver()
    post.put()
    with pytest.raises(ServiceError):
        post.drain()
    post.clock.now += LEASE
    post.drain()
    (_, first_delivery), (_, second_delivery) = receiver.deliveries
    assert (first_delivery.id, first_delivery.body) == (second_delivery.id, second_delivery.body)
    assert (first_delivery.attempt, second_delivery.attempt, post.waiting) == (1, 2, [])


def test_whose_claim_ended_leaves_the_message_to_the_next(post: Post) -> None:
    """The first process sends for longer than its claim, and must not reschedule the second one's claim."""
    receiver = post.receiver(default_outcome=FAILED, duration=LEASE)
    post.put()

    def overtake() -> None:
        receiver.on_send, receiver.duration = lambda: None, NOW
        (queued,) = post.outbox.waiting("soc")
        post.outbox.claim(queued, post.clock.now + LEASE)

    receiver.on_send = overtake
    (attempt,) = post.drain()
    (queued,) = post.outbox.waiting("soc")
    assert attempt.next_due == post.clock.now  # not dead: the second process sends it
    assert (queued.delivery.attempt, queued.delivery.due) == (2, post.clock.now + LEASE)


# ---------------------------------------------------------------------------------------- unknown destination


def test_message_to_an_unknown_destination_waits_until_it_is_known(post: Post) -> None:
    post.put(1, "soc")
    post.put(1, "known")
    receiver = post.receiver("known")
    attempts = post.deliver()
    assert {(attempt.delivery.destination, attempt.outcome) for attempt in attempts} == {
        ("soc", UNKNOWN_DESTINATION),
        ("known", SENT),
    }
    assert (receiver.commits, post.waiting, post.dead) == ([1], [1], [])
    restored_receiver = post.receiver("soc")
    post.clock.now += HOUR
    post.deliver()
    assert (restored_receiver.commits, post.waiting) == ([1], [])


def test_messages_to_an_unknown_destination_count_no_attempt_however_long_they_wait(post: Post) -> None:
    post.put(2, "soc")
    post.put(1, "soc")
    for _ in range(2 * len(WAITS)):
        (attempt,) = post.drain()
        assert (attempt.delivery.commit, attempt.next_due) == (1, post.clock.now)
        post.clock.now += HOUR
    assert [queued.delivery.attempt for queued in post.outbox.waiting("soc")] == [0, 0]
    assert post.dead == []


def test_oldest_message_to_an_unknown_destination_is_reported(post: Post) -> None:
    for incident, minutes in (("in_1", 2), ("in_2", 1), ("in_3", 3)):
        created = START + minutes * 60 * SECOND
        delivery = Delivery(f"al_{incident}", "soc", incident, 1, b"{}", created=created, due=created)
        post.table.write(RULE, [queue(delivery)])
    (attempt,) = post.drain()
    assert attempt.delivery.incident == "in_2"
