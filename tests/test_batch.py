"""Batches: alerts told together, whoever dies, and whoever seals."""

import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import pytest

from detection.incidents.batch import SEAL_KEPT, Batch, Share, seal_left_behind
from detection.incidents.outbox import Delivery, Outbox
from detection.incidents.table import Conflict, MemoryTable, Operation
from tests.builders import HOUR, START

RULE = "some-rule"
NAME = "20260302T100000.000000Z-0123456789ab-1"


class Table(MemoryTable):
    """A table where something may come before the next write, and the answer of one may be lost."""

    before: Callable[[], object] | None = None
    lose: bool = False

    def write(self, partition: str, operations: Sequence[Operation]) -> None:
        if before := self.before:
            self.before = None
            before()
        super().write(partition, operations)
        if self.lose:
            self.lose = False
            raise Conflict("it was written, the answer was lost, and the client wrote again")


@pytest.fixture
def table() -> Table:
    return Table()


def batch(table: Table) -> Batch:
    return Batch(table, RULE, NAME, START)


def put(table: Table, one: Batch, *alerts: str) -> None:
    """Commits alerts as a run does."""
    for alert in alerts:
        table.write(RULE, [one.operation(Share(alert, "in_1", True, "High", "title", 1, 1, 1))])
        one.took()


def digest(name: str, began: datetime, shares: Sequence[Share]) -> list[Delivery]:
    body = json.dumps([share.alert for share in shares]).encode()
    return [Delivery(f"dg_{name}", "soc", f"dg_{name}", 1, body, began, began)]


def told(table: Table) -> list[list[str]]:
    return [json.loads(queued.delivery.body) for queued in Outbox(table, RULE).waiting("soc")]


def rows(table: Table) -> list[str]:
    return [entity.row for entity in table.scan(RULE, "s|", "s}")]


def test_digest_holds_every_share_and_only_the_seal_is_left(table: Table) -> None:
    one = batch(table)
    put(table, one, *(f"al_{number}" for number in range(250)))
    one.seal(digest)
    assert told(table) == [[f"al_{number}" for number in range(250)]]
    assert rows(table) == [f"s|{NAME}|000251"]


def test_batch_is_sealed_once(table: Table) -> None:
    one = batch(table)
    put(table, one, "al_1")
    one.seal(digest)
    batch(table).seal(digest)
    assert told(table) == [["al_1"]]


def test_seal_whose_answer_was_lost_is_recognised(table: Table) -> None:
    one = batch(table)
    put(table, one, "al_1")
    table.lose = True
    one.seal(digest)
    assert told(table) == [["al_1"]]
    assert len(rows(table)) == 1


def test_batch_without_shares_is_no_message(table: Table) -> None:
    batch(table).seal(digest)
    assert not told(table)
    assert not rows(table)


def test_batch_of_a_run_that_died_is_sealed_by_a_later_one(table: Table) -> None:
    put(table, batch(table), "al_1", "al_2")
    seal_left_behind(table, RULE, START + HOUR, digest)
    assert told(table) == [["al_1", "al_2"]]


def test_batch_of_a_run_that_may_be_at_work_is_left_alone(table: Table) -> None:
    put(table, batch(table), "al_1")
    seal_left_behind(table, RULE, START, digest)
    assert told(table) == []


def test_share_that_comes_before_the_seal_is_in_the_digest(table: Table) -> None:
    one = batch(table)
    put(table, one, "al_1")
    table.before = lambda: put(table, one, "al_2")
    seal_left_behind(table, RULE, START + HOUR, digest)
    assert told(table) == [["al_1", "al_2"]]


def test_run_whose_batch_was_sealed_cannot_add_to_it(table: Table) -> None:
    one = batch(table)
    put(table, one, "al_1")
    assert not one.is_sealed()
    seal_left_behind(table, RULE, START + HOUR, digest)
    assert one.is_sealed()
    with pytest.raises(Conflict):
        put(table, one, "al_2")


def test_what_a_sealer_that_died_left_is_cleared_and_not_told_again(table: Table) -> None:
    one = batch(table)
    put(table, one, "al_1", "al_2")
    one.seal(digest)
    put(table, batch(table), "al_1", "al_2")  # as if they had not been cleared
    seal_left_behind(table, RULE, START + HOUR, digest)
    assert told(table) == [["al_1", "al_2"]]
    assert len(rows(table)) == 1


def test_seal_goes_when_its_run_has_long_ended(table: Table) -> None:
    one = batch(table)
    put(table, one, "al_1")
    one.seal(digest)
    seal_left_behind(table, RULE, START + SEAL_KEPT, digest)
    assert len(rows(table)) == 1
    seal_left_behind(table, RULE, START + SEAL_KEPT + timedelta(seconds=1), digest)
    assert rows(table) == []
    assert told(table) == [["al_1"]]
