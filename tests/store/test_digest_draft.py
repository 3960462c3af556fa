"""Batches: alerts told together, whoever dies, and whoever seals."""

import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import pytest

from detection.messages.context import DigestEntry
from detection.store.digest_draft import END_ROW_KEPT, DigestDraft, publish_abandoned_digests
from detection.store.outbox import Delivery, Outbox, queue
from detection.store.table import Conflict, MemoryTable, Operation
from tests.support.builders import HOUR, START

RULE = "some-rule"
NAME = "20260302T100000.000000Z-0123456789ab-1"


class FaultyTable(MemoryTable):
    """A table where something may come before the next write, and the answer of one may be lost."""

    before_write: Callable[[], object] | None = None
    loses_answer: bool = False

    def write(self, partition: str, operations: Sequence[Operation]) -> None:
        if hook := self.before_write:
            self.before_write = None
            hook()
        super().write(partition, operations)
        if self.loses_answer:
            self.loses_answer = False
            raise Conflict("it was written, the answer was lost, and the client wrote again")


@pytest.fixture
def table() -> FaultyTable:
    return FaultyTable()


def make_draft(table: FaultyTable) -> DigestDraft:
    return DigestDraft(table, RULE, NAME, START)


def put(table: FaultyTable, draft: DigestDraft, *alerts: str) -> None:
    """Commits alerts as a run does."""
    for alert in alerts:
        table.write(RULE, [draft.operation([DigestEntry(alert, "in_1", True, "High", "title", 1, 1, 1)])])
        draft.row_committed()


def render_digest(name: str, began: datetime, entries: Sequence[DigestEntry]) -> list[Delivery]:
    body = json.dumps([entry.alert for entry in entries]).encode()
    return [Delivery(f"dg_{name}", "soc", f"dg_{name}", 1, body, began, began)]


def digest_alerts(table: FaultyTable) -> list[list[str]]:
    return [json.loads(queued.delivery.body) for queued in Outbox(table, RULE).waiting("soc")]


def rows(table: FaultyTable) -> list[str]:
    return [entity.row for entity in table.scan(RULE, "s|", "s}")]


def test_digest_holds_every_share_and_only_the_seal_is_left(table: FaultyTable) -> None:
    draft = make_draft(table)
    put(table, draft, *(f"al_{number}" for number in range(250)))
    draft.publish(render_digest)
    assert digest_alerts(table) == [[f"al_{number}" for number in range(250)]]
    assert rows(table) == [f"s|{NAME}|000251"]


def test_draft_is_published_where_its_digest_was_restored_without_the_end_row(table: FaultyTable) -> None:
    draft = make_draft(table)
    put(table, draft, "al_1", "al_2")
    table.write(RULE, [queue(render_digest(NAME, START, ())[0])])

    draft.publish(render_digest)

    assert digest_alerts(table) == [["al_1", "al_2"]]
    assert rows(table) == [f"s|{NAME}|000003"]


def test_batch_is_sealed_once(table: FaultyTable) -> None:
    draft = make_draft(table)
    put(table, draft, "al_1")
    draft.publish(render_digest)
    make_draft(table).publish(render_digest)
    assert digest_alerts(table) == [["al_1"]]


def test_seal_whose_answer_was_lost_is_recognised(table: FaultyTable) -> None:
    draft = make_draft(table)
    put(table, draft, "al_1")
    table.loses_answer = True
    draft.publish(render_digest)
    assert digest_alerts(table) == [["al_1"]]
    assert len(rows(table)) == 1


def test_batch_without_shares_is_no_message(table: FaultyTable) -> None:
    make_draft(table).publish(render_digest)
    assert not digest_alerts(table)
    assert not rows(table)


def test_batch_of_a_run_that_died_is_sealed_by_a_later_one(table: FaultyTable) -> None:
    put(table, make_draft(table), "al_1", "al_2")
    publish_abandoned_digests(table, RULE, START + HOUR, render_digest)
    assert digest_alerts(table) == [["al_1", "al_2"]]


def test_batch_of_a_run_that_may_be_at_work_is_left_alone(table: FaultyTable) -> None:
    put(table, make_draft(table), "al_1")
    publish_abandoned_digests(table, RULE, START, render_digest)
    assert digest_alerts(table) == []


def test_share_that_comes_before_the_seal_is_in_the_digest(table: FaultyTable) -> None:
    draft = make_draft(table)
    put(table, draft, "al_1")
    table.before_write = lambda: put(table, draft, "al_2")
    publish_abandoned_digests(table, RULE, START + HOUR, render_digest)
    assert digest_alerts(table) == [["al_1", "al_2"]]


def test_run_whose_batch_was_sealed_cannot_add_to_it(table: FaultyTable) -> None:
    draft = make_draft(table)
    put(table, draft, "al_1")
    assert not draft.is_published()
    publish_abandoned_digests(table, RULE, START + HOUR, render_digest)
    assert draft.is_published()
    with pytest.raises(Conflict):
        put(table, draft, "al_2")


def test_what_a_sealer_that_died_left_is_cleared_and_not_told_again(table: FaultyTable) -> None:
    draft = make_draft(table)
    put(table, draft, "al_1", "al_2")
    draft.publish(render_digest)
    put(table, make_draft(table), "al_1", "al_2")  # as if they had not been cleared
    publish_abandoned_digests(table, RULE, START + HOUR, render_digest)
    assert digest_alerts(table) == [["al_1", "al_2"]]
    assert len(rows(table)) == 1


def test_seal_goes_when_its_run_has_long_ended(table: FaultyTable) -> None:
    draft = make_draft(table)
    put(table, draft, "al_1")
    draft.publish(render_digest)
    publish_abandoned_digests(table, RULE, START + END_ROW_KEPT, render_digest)
    assert len(rows(table)) == 1
    publish_abandoned_digests(table, RULE, START + END_ROW_KEPT + timedelta(seconds=1), render_digest)
    assert rows(table) == []
    assert digest_alerts(table) == [["al_1"]]
