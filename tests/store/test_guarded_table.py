"""Guards of a table: what holds for every call, and for every step of a scan."""

from datetime import timedelta

import pytest

from detection.base.errors import ServiceError
from detection.store.guarded_table import GuardedTable, time_limit
from detection.store.table import MemoryTable, Put
from tests.support.builders import START
from tests.support.clock import Clock


def test_scan_ends_at_the_deadline_between_two_rows() -> None:
    table, clock = MemoryTable(), Clock(START)
    table.write("rule", [Put(row, {}) for row in "abc"])
    rows = GuardedTable(table, time_limit(START + timedelta(seconds=1), clock)).scan("rule", "a", "d")
    assert next(rows).row == "a"
    clock.sleep(1)
    with pytest.raises(ServiceError, match="its time was used up"):
        next(rows)


def test_scan_before_the_deadline_returns_every_row() -> None:
    table = MemoryTable()
    table.write("rule", [Put(row, {}) for row in "abc"])
    guarded = GuardedTable(table, time_limit(START + timedelta(seconds=1), Clock(START)))
    assert [row.row for row in guarded.scan("rule", "a", "d")] == ["a", "b", "c"]
