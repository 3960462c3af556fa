"""A table that contradicts itself: its rows were restored from different times, or the service denied a row."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import product

import pytest

from detection.base.errors import ServiceError
from detection.correlation.detection import Detection
from detection.incidents.decide import Verdict
from detection.logs.events import Logs, Row
from detection.logs.window import Windows
from detection.messages.context import DigestEntry
from detection.rules.model import Rule
from detection.runs.commit import RunOptions
from detection.runs.run import read_gap, run
from detection.store.gaps import GapList
from detection.store.incident_list import IncidentList
from detection.store.incident_store import IncidentStore
from detection.store.layout import gap_row, head_row
from detection.store.outbox import Delivery, Outbox
from detection.store.table import PAGE, Conflict, Delete, Entity, MemoryTable, Operation, Put, Table
from tests.support.builders import (
    ALICE,
    DAY,
    HOUR,
    RULE,
    START,
    account,
    change_row,
    closed_at_start,
    logs,
    signal_row,
)
from tests.support.world import Faults, FaultyTable

USERS = [f"user_{number}@example.com" for number in range(6)]
ACCESSES = 400  # of a run of seven actors: 60 without a fault
HEAD = head_row(account())


class BoundedTable(FaultyTable):
    """A table that a run may access only so often."""

    def _access(self) -> None:
        super()._access()
        assert self._accesses < ACCESSES, "the run does not end"


class StoredLogs:
    """A source with all rows; a run reads those of its windows."""

    def __init__(self, changes: Sequence[Row], signals: Sequence[Row]) -> None:
        self._rows = changes, signals

    def read(self, rule: Rule, windows: Windows) -> Logs:
        return logs(*self._rows, windows, rule)


def actor_rows(actors: Iterable[str], hours: int) -> StoredLogs:
    changes = [change_row(f"c_{actor}", START - 2 * HOUR, actor) for actor in actors]
    signals = [
        signal_row(f"s{hour}_{actor}", START + (hour - 1) * HOUR, actor)
        for actor, hour in product(actors, range(hours))
    ]
    return StoredLogs(changes, signals)


def delivery(name: str, now: datetime) -> Delivery:
    return Delivery(name, "soc", name, 1, b"{}", now, now)


def render(verdict: Verdict, detection: Detection) -> Sequence[Delivery]:
    return [delivery(verdict.alert.alert, detection.windows.now)] if verdict.alert else []


def render_digest(draft: str, began: datetime, _: Sequence[DigestEntry]) -> Sequence[Delivery]:
    return [delivery(draft, began)]


def store_of(table: Table, token: str = "look") -> IncidentStore:
    return IncidentStore(table, RULE.folder, token)


def alerted(table: Table) -> Counter[str]:
    """The pairs that were alerted, by actor."""
    pairs = Counter[str]()
    for alert in IncidentList(table, RULE.folder).alerts():
        pairs[alert.key["Account"]] += alert.counts.pairs
    return pairs


@pytest.fixture
def table() -> MemoryTable:
    """A table after two runs that alerted pairs of one actor."""
    table = MemoryTable()
    run(RULE, START, actor_rows([ALICE], 1), store_of(table, "1"))
    run(RULE, START + HOUR, actor_rows([ALICE], 2), store_of(table, "2"))
    return table


def restore_former_head(table: MemoryTable) -> None:
    """The head of the actor is as the first run left it; all other rows are as the second run left them."""
    former = MemoryTable()
    run(RULE, START, actor_rows([ALICE], 1), store_of(former, "1"))
    head = former.get(RULE.folder, HEAD)
    assert head
    table.write(RULE.folder, [Put(HEAD, head.values)])


@pytest.mark.parametrize("storm_alerts", [None, 2])
def test_key_with_a_former_head_fails_the_run_after_all_others_are_alerted(
    table: MemoryTable, storm_alerts: int | None
) -> None:
    restore_former_head(table)
    bounded = BoundedTable(table, Faults())
    options = RunOptions(render, render_digest, storm_alerts)

    with pytest.raises(ServiceError, match=f"high volume covered .*{re.escape(HEAD)}") as caught:
        run(RULE, START + 2 * HOUR, actor_rows([ALICE, *USERS], 3), store_of(bounded, "3"), options)

    assert not isinstance(caught.value, Conflict)
    assert alerted(table) == {ALICE: 2, **dict.fromkeys(USERS, 3)}
    assert len(list(Outbox(table, RULE.folder).waiting("soc"))) == (1 if storm_alerts else len(USERS))
    assert store_of(table).watermark() == START + HOUR


def test_key_is_alerted_once_by_the_run_after_its_former_head_is_deleted(table: MemoryTable) -> None:
    restore_former_head(table)
    with pytest.raises(ServiceError):
        run(RULE, START + 2 * HOUR, actor_rows([ALICE, *USERS], 3), store_of(table, "3"))
    table.write(RULE.folder, [Delete(HEAD)])

    run(RULE, START + 3 * HOUR, actor_rows([ALICE, *USERS], 4), store_of(table, "4"))

    assert alerted(table) == {ALICE: 4, **dict.fromkeys(USERS, 4)}
    assert store_of(table).watermark() == START + 3 * HOUR


def test_key_without_a_head_fails_the_run_only_at_the_time_of_its_first_commit() -> None:
    table = MemoryTable()
    run(RULE, START, actor_rows([ALICE], 1), store_of(table, "1"))
    table.write(RULE.folder, [Delete(HEAD)])
    late = actor_rows([ALICE, *USERS], 2)

    with pytest.raises(ServiceError, match=re.escape(HEAD)):
        run(RULE, START, late, store_of(BoundedTable(table, Faults()), "2"))
    assert alerted(table) == {ALICE: 1, **dict.fromkeys(USERS, 2)}
    run(RULE, START + HOUR, late, store_of(table, "3"))

    assert alerted(table) == {ALICE: 2, **dict.fromkeys(USERS, 2)}


@pytest.mark.parametrize("flood_signals, new_pairs", [(500_000, 1), (3, 2)])
def test_key_without_a_head_opens_another_incident_and_alerts_again_what_high_volume_covered(
    flood_signals: int, new_pairs: int
) -> None:
    table, options = MemoryTable(), RunOptions(flood_signals=flood_signals)
    late = actor_rows([ALICE], 6)
    for hours in (1, 2):
        run(RULE, START + hours * HOUR, late, store_of(table, f"{hours}"), options)
    assert alerted(table) == {ALICE: 4}
    table.write(RULE.folder, [Delete(HEAD)])

    record, _ = run(RULE, START + 3 * HOUR, late, store_of(table, "3"), options)

    assert record.new_pairs == new_pairs
    assert len(list(IncidentList(table, RULE.folder).incidents())) == 2


class DenyingTable(BoundedTable):
    """A table that denies a row, with all rows next to it, in its first scans."""

    def __init__(self, table: Table, denials: int, row: str = "w") -> None:
        super().__init__(table, Faults())
        self._denials = denials
        self._row = row

    def scan(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[Entity]:
        if start <= self._row < end and self._denials:
            self._access()
            self._denials -= 1
        else:
            yield from super().scan(partition, start, end, page)


@pytest.mark.parametrize("denials", [1, 2, 1_000])
def test_outage_is_not_forgotten_by_a_run_that_is_denied_the_watermark(denials: int) -> None:
    table = MemoryTable()
    run(RULE, START - 4 * DAY, StoredLogs([], []), store_of(table, "1"))
    source = StoredLogs([change_row("c", START - 3 * DAY - HOUR)], [signal_row("s", START - 3 * DAY)])

    with pytest.raises(ServiceError):
        run(RULE, START, source, store_of(DenyingTable(table, denials), "2"))
    record, _ = run(RULE, START + HOUR, source, store_of(table, "3"))

    assert record.previous_watermark == START - 4 * DAY
    assert alerted(table) == {ALICE: 1}


def test_gap_that_is_denied_after_a_part_was_read_is_a_service_error() -> None:
    table = MemoryTable()
    for days in (60, 0):
        run(RULE, START - days * DAY, StoredLogs([], []), store_of(table, f"{days}"))
    (gap,) = GapList(table, RULE.folder).open_gaps()
    store = store_of(DenyingTable(table, denials=0), "gap")
    reading = read_gap(RULE, gap, lambda: START, StoredLogs([], []), store)
    next(reading)
    store.table = DenyingTable(table, 1_000, gap_row(gap.id))

    with pytest.raises(ServiceError, match=gap.id):
        list(reading)


def test_denied_watermark_of_an_hour_ago_costs_nothing(table: MemoryTable) -> None:
    source = actor_rows([ALICE, *USERS], 3)

    run(RULE, START + 2 * HOUR, source, store_of(DenyingTable(table, 1), "3"))

    assert alerted(table) == {ALICE: 3, **dict.fromkeys(USERS, 3)}
    assert store_of(table).watermark() == START + 2 * HOUR


def test_change_of_an_incident_that_is_gone_is_not_reported_as_done(table: MemoryTable) -> None:
    with pytest.raises(Conflict, match="incident in_gone was deleted"):
        store_of(table).update("in_gone", closed_at_start)


class RefusingTable(BoundedTable):
    """A table that refuses every write of some rows, though no other process writes them."""

    def __init__(self, table: Table, rows: str) -> None:
        super().__init__(table, Faults())
        self._refused = rows

    def write(self, partition: str, operations: Sequence[Operation]) -> None:
        self._access()
        if any(operation.row.startswith(self._refused) for operation in operations):
            raise Conflict("another process changed a row")
        self._table.write(partition, operations)


@pytest.mark.parametrize("rows", ["w", "u|", "s|", "h|", "m|", "i|", ""])
@pytest.mark.parametrize("is_first", [True, False])
def test_conflict_that_never_resolves_ends_the_run_with_an_error(
    table: MemoryTable, rows: str, *, is_first: bool
) -> None:
    refusing = RefusingTable(MemoryTable() if is_first else table, rows)
    options = RunOptions(render, render_digest, storm_alerts=1)

    with pytest.raises(ServiceError):
        run(RULE, START + 2 * HOUR, actor_rows([ALICE, *USERS], 3), store_of(refusing, "3"), options)
