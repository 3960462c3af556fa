"""The outbox: what a delivery is after every step of its way, and who may take the step."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from benchmarks.volume import CountingTable
from detection.rules.silences import parse_silence
from detection.store.incident_store import IncidentStore
from detection.store.layout import ROW_SIZE
from detection.store.outbox import DeadLetter, DeadLetters, Delivery, Outbox, Queued, queue
from detection.store.silence_list import SilenceList
from detection.store.table import PAGE, Conflict, MemoryTable
from tests.support.builders import START

RULE = "some-rule"
MINUTE = timedelta(minutes=1)


@pytest.fixture
def table() -> MemoryTable:
    return MemoryTable()


@pytest.fixture
def outbox(table: MemoryTable) -> Outbox:
    return Outbox(table, RULE)


def delivery(
    commit: int = 1, destination: str = "soc", incident: str = "in_1", body: bytes = b'{"a": 1}'
) -> Delivery:
    """A message that has just been committed."""
    name = f"al_{incident}_{commit}_{destination}"
    return Delivery(name, destination, incident, commit, body, created=START, due=START)


def put(table: MemoryTable, *deliveries: Delivery) -> None:
    """Commits messages as a run does."""
    table.write(RULE, [queue(message) for message in deliveries])


def waiting(outbox: Outbox) -> list[Delivery]:
    return [queued.delivery for queued in outbox.waiting("soc")]


def test_delivery_waits_as_it_was_queued(table: MemoryTable, outbox: Outbox) -> None:
    put(table, delivery())
    assert waiting(outbox) == [delivery()]


def test_long_body_comes_back_byte_for_byte(table: MemoryTable, outbox: Outbox) -> None:
    body = bytes(range(256)) * (ROW_SIZE // 256)
    put(table, delivery(body=body))
    assert waiting(outbox)[0].body == body


def test_messages_of_an_incident_wait_in_the_order_of_their_commits(
    table: MemoryTable, outbox: Outbox
) -> None:
    put(table, *(delivery(commit) for commit in (10, 9, 100, 2)))
    assert [message.commit for message in waiting(outbox)] == [2, 9, 10, 100]


def test_same_message_is_not_queued_twice(table: MemoryTable) -> None:
    put(table, delivery())
    with pytest.raises(Conflict):
        put(table, delivery())


def test_rules_have_outboxes_of_their_own(table: MemoryTable) -> None:
    put(table, delivery())
    assert waiting(Outbox(table, "another-rule")) == []


def test_claim_counts_the_attempt_and_hides_until_it_ends(table: MemoryTable, outbox: Outbox) -> None:
    put(table, delivery())
    (queued,) = outbox.waiting("soc")
    claimed = outbox.claim(queued, START + MINUTE)
    assert claimed.delivery == replace(delivery(), attempt=1, due=START + MINUTE)
    assert waiting(outbox) == [claimed.delivery]


def test_two_cannot_claim_the_same(table: MemoryTable, outbox: Outbox) -> None:
    put(table, delivery())
    (queued,) = outbox.waiting("soc")
    outbox.claim(queued, START + MINUTE)
    with pytest.raises(Conflict):
        Outbox(table, RULE).claim(queued, START + MINUTE)


def test_sent_message_is_gone(table: MemoryTable, outbox: Outbox) -> None:
    put(table, delivery())
    (queued,) = outbox.waiting("soc")
    outbox.sent(outbox.claim(queued, START + MINUTE))
    assert waiting(outbox) == []
    assert list(outbox.dead_letters()) == []


def test_message_put_off_is_due_later(table: MemoryTable, outbox: Outbox) -> None:
    put(table, delivery())
    (queued,) = outbox.waiting("soc")
    outbox.reschedule(outbox.claim(queued, START + MINUTE), START + 5 * MINUTE)
    assert waiting(outbox) == [replace(delivery(), attempt=1, due=START + 5 * MINUTE)]


def test_whose_claim_was_taken_over_cannot_put_it_off(table: MemoryTable, outbox: Outbox) -> None:
    put(table, delivery())
    (queued,) = outbox.waiting("soc")
    own_claim = outbox.claim(queued, START + MINUTE)
    (claimed,) = outbox.waiting("soc")
    other_claim = outbox.claim(claimed, START + 2 * MINUTE)
    with pytest.raises(Conflict):
        outbox.reschedule(own_claim, START)
    assert waiting(outbox) == [other_claim.delivery]


def test_dead_letter_and_silence_of_a_rule_are_not_taken_for_each_other(
    table: MemoryTable, outbox: Outbox
) -> None:
    silence = parse_silence({"name": "quiet", "owner": "carol", "reason": "a deployment", "actor": "ann"})
    store = IncidentStore(table, RULE, "look")
    SilenceList(store.table, store.rule).add(silence)
    put(table, delivery())
    (queued,) = outbox.waiting("soc")
    outbox.dead_letter(outbox.claim(queued, START), "HTTP 410")
    assert SilenceList(store.table, store.rule).silences() == [silence]
    assert [dead_letter.reason for dead_letter in outbox.dead_letters()] == ["HTTP 410"]


def test_buried_message_is_a_dead_letter_with_its_reason(table: MemoryTable, outbox: Outbox) -> None:
    put(table, delivery(1), delivery(2))
    queued, _ = outbox.waiting("soc")
    claimed = outbox.claim(queued, START + MINUTE)
    outbox.dead_letter(claimed, "HTTP 410")
    (dead_letter,) = outbox.dead_letters()
    assert (dead_letter.delivery, dead_letter.reason) == (claimed.delivery, "HTTP 410")
    assert waiting(outbox) == [delivery(2)]


def test_whose_claim_was_taken_over_cannot_bury_it(table: MemoryTable, outbox: Outbox) -> None:
    put(table, delivery())
    (queued,) = outbox.waiting("soc")
    own_claim = outbox.claim(queued, START + MINUTE)
    (claimed,) = outbox.waiting("soc")
    outbox.sent(outbox.claim(claimed, START + 2 * MINUTE))
    with pytest.raises(Conflict):
        outbox.dead_letter(own_claim, "HTTP 410")
    assert list(outbox.dead_letters()) == []


def test_destinations_are_those_that_something_waits_for(table: MemoryTable) -> None:
    put(table, *(delivery(commit, name) for commit in (1, 2) for name in ("soc", "pager")))
    table.write("another-rule", [queue(delivery(1, "chat"))])
    assert Outbox(table, RULE, "another-rule").destinations() == ["chat", "pager", "soc"]
    assert Outbox(table, RULE).destinations() == ["pager", "soc"]


def test_name_that_begins_like_another_is_a_destination_of_its_own(
    table: MemoryTable, outbox: Outbox
) -> None:
    put(table, delivery(1, "soc"), delivery(2, "soc-2"), delivery(3, "soc2"))
    assert outbox.destinations() == ["soc", "soc-2", "soc2"]
    assert [message.commit for message in waiting(outbox)] == [1]


def test_long_reason_is_cut(table: MemoryTable, outbox: Outbox) -> None:
    put(table, delivery())
    (queued,) = outbox.waiting("soc")
    outbox.dead_letter(queued, "x" * 100_000)
    (dead_letter,) = outbox.dead_letters()
    assert dead_letter.reason == "x" * 1_000


def test_revived_message_waits_as_if_never_tried(table: MemoryTable, outbox: Outbox) -> None:
    put(table, delivery())
    (queued,) = outbox.waiting("soc")
    outbox.dead_letter(outbox.claim(queued, START + MINUTE), "HTTP 410")
    (dead_letter,) = outbox.dead_letters()
    outbox.requeue(dead_letter, START + 9 * MINUTE)
    assert waiting(outbox) == [replace(delivery(), due=START + 9 * MINUTE)]
    assert list(outbox.dead_letters()) == []


def test_messages_of_an_incident_wait_or_are_dead_letters_for_any_destination_and_rule(
    table: MemoryTable,
) -> None:
    put(table, *(delivery(commit, name) for name in ("chat", "soc") for commit in (1, 2)))
    outbox = Outbox(table, RULE, "another-rule")
    for name in ("chat", "soc"):
        outbox.dead_letter(next(outbox.waiting(name)), "HTTP 410")
    put(table, delivery(9, incident="in_10"), delivery(9, incident="in_2"))
    table.write("another-rule", [queue(delivery(3))])

    messages = [
        (type(message), message.rule, message.delivery.destination, message.delivery.commit)
        for message in outbox.messages_of("in_1")
    ]
    assert messages == [
        (Queued, RULE, "chat", 2),
        (Queued, RULE, "soc", 2),
        (DeadLetter, RULE, "chat", 1),
        (DeadLetter, RULE, "soc", 1),
        (Queued, "another-rule", "soc", 3),
    ]


# ------------------------------------------------------------------------------------------- the count of dead letters


def bury(outbox: Outbox, table: MemoryTable, *deliveries: Delivery) -> None:
    """Commits messages and gives them up."""
    put(table, *deliveries)
    for message in deliveries:
        outbox.dead_letter(next(outbox.waiting(message.destination)), f"HTTP 410 of {message.destination}")


def count_anew(table: MemoryTable) -> DeadLetters | None:
    """The count of another process."""
    outbox = Outbox(table, RULE)
    outbox.destinations()
    return outbox.count_dead_letters()


def test_outbox_without_dead_letters_is_looked_into_as_ever_and_counts_none(table: MemoryTable) -> None:
    put(table, delivery())
    counting_table = CountingTable(table)
    outbox = Outbox(counting_table, RULE, "other")
    assert outbox.destinations() == ["soc"]
    assert counting_table.requests == 3  # one for each rule, one more for each destination
    assert outbox.count_dead_letters() is None
    assert counting_table.requests == 3


def test_outbox_that_gives_a_message_up_counts_it_without_another_look(
    table: MemoryTable, outbox: Outbox
) -> None:
    assert outbox.destinations() == []
    bury(outbox, table, delivery())
    assert outbox.count_dead_letters() == DeadLetters(1, ["soc"], "HTTP 410 of soc")


def test_dead_letters_are_counted_with_their_destinations_and_the_first_reason(
    table: MemoryTable, outbox: Outbox
) -> None:
    bury(outbox, table, delivery(), delivery(2), delivery(destination="audit"))
    put(table, delivery(3))
    assert outbox.destinations() == ["soc"]
    assert outbox.count_dead_letters() == DeadLetters(3, ["audit", "soc"], "HTTP 410 of audit")


def test_zero_is_counted_once_after_the_last_dead_letter_is_gone(table: MemoryTable, outbox: Outbox) -> None:
    bury(outbox, table, delivery())
    for dead_letter in outbox.dead_letters():
        outbox.requeue(dead_letter, START)
    counts = [count_anew(table), count_anew(table)]
    assert counts == [DeadLetters(0, [], ""), None]


class RacedTable(MemoryTable):
    """A table in which another process gives a message up right after the dead letters were listed."""

    def names(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[str]:
        names = list(super().names(partition, start, end, page))
        other_outbox = Outbox(self, partition)
        for queued in other_outbox.waiting("soc"):
            other_outbox.dead_letter(queued, "HTTP 410")
        return iter(names)


def test_message_that_is_given_up_during_a_count_is_in_the_next_count() -> None:
    table = RacedTable()
    outbox = Outbox(table, RULE)
    bury(outbox, table, delivery())
    for dead_letter in outbox.dead_letters():
        outbox.requeue(dead_letter, START)
    counts = [count_anew(table), count_anew(table)]
    assert [count and count.number for count in counts] == [0, 1]
