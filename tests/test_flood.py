"""A key with more signals than are remembered one by one."""

from datetime import datetime, timedelta

import pytest

from detection.events import Logs
from detection.incidents.grouping import Memory, Verdict
from detection.incidents.index import Index
from detection.incidents.table import MemoryTable
from detection.messages.native import native
from detection.messages.share import share
from detection.messages.slack import slack
from detection.messages.telling import telling
from detection.messages.text import lines
from detection.record import Record
from detection.rule import Rule
from detection.run import run
from detection.tell import Terms
from detection.timestamps import iso
from detection.window import Windows, windows
from tests.builders import ALICE, HOUR, RULE, START, account, change_row, logs, signal_row, sliced

LIMIT = 10
MINUTE = timedelta(minutes=1)
NOW = START + HOUR


class Log:
    """A log store that fills up: changes and signals by id, and when they happened."""

    def __init__(self) -> None:
        self.changes: dict[str, datetime] = {"c": START}
        self.signals: dict[str, datetime] = {}
        self.crowd: int | None = None

    def read(self, rule: Rule, windows: Windows) -> Logs:
        changes = [change_row(ident, time) for ident, time in self.changes.items()]
        signals = [signal_row(ident, time) for ident, time in self.signals.items()]
        whole = logs(changes, signals, windows, rule)
        return sliced(whole, self.crowd) if self.crowd else whole

    def add(self, number: int, first: datetime = START) -> list[str]:
        """So many more signals, a second apart."""
        names = [f"s{len(self.signals) + at}" for at in range(number)]
        self.signals |= {name: first + timedelta(seconds=at) for at, name in enumerate(names)}
        return names


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def table() -> MemoryTable:
    return MemoryTable()


def ran(log: Log, table: MemoryTable, now: datetime = NOW) -> tuple[Record, list[Verdict]]:
    return run(RULE, now, log, Index(table, RULE.folder, f"run {now}"), Terms(flood=LIMIT))


def remembered(table: MemoryTable) -> Memory:
    return Index(table, RULE.folder, "look").recall(account(ALICE))


def test_as_many_signals_as_the_limit_are_remembered_one_by_one(log: Log, table: MemoryTable) -> None:
    log.add(LIMIT)
    ran(log, table)
    memory = remembered(table)
    assert (len(memory.signals), memory.flood) == (LIMIT, None)


def test_one_more_is_a_flood_that_is_told_whole_in_one_alert(log: Log, table: MemoryTable) -> None:
    log.add(LIMIT + 1)
    record, (verdict,) = ran(log, table)
    latest = START + timedelta(seconds=LIMIT)
    assert verdict.alert
    assert (record.new_pairs, verdict.alert.flood) == (LIMIT + 1, iso(latest))
    assert (remembered(table).signals, remembered(table).flood) == (frozenset(), latest)


def test_alert_of_no_flood_does_not_speak_of_one(log: Log, table: MemoryTable) -> None:
    log.add(LIMIT)
    _, (verdict,) = ran(log, table)
    assert verdict.alert
    assert verdict.alert.flood is None
    assert not any("Flood" in line for line in lines(verdict.alert, RULE))


def test_a_flood_is_told_once(log: Log, table: MemoryTable) -> None:
    log.add(3 * LIMIT)
    ran(log, table)
    record, told = ran(log, table, NOW + MINUTE)
    assert (record.pairs, record.new_pairs, told) == (3 * LIMIT, 0, [])


def test_what_arrives_late_behind_a_flood_counts_as_told(log: Log, table: MemoryTable) -> None:
    log.add(3 * LIMIT)
    ran(log, table)
    log.changes["late"] = START + timedelta(seconds=1)
    log.signals["late"] = START + timedelta(seconds=2)
    record, _ = ran(log, table, NOW + MINUTE)
    assert record.new_pairs == 0


def test_what_happens_after_a_flood_is_told_and_remembered_one_by_one(log: Log, table: MemoryTable) -> None:
    log.add(3 * LIMIT)
    ran(log, table)
    log.add(2, first=NOW)
    record, _ = ran(log, table, NOW + HOUR)
    assert (record.new_pairs, len(remembered(table).signals)) == (2, 2)


def test_a_key_never_keeps_more_marks_than_the_limit(log: Log, table: MemoryTable) -> None:
    told = 0
    for hour in range(1, 20):
        log.add(4, first=START + hour * HOUR - MINUTE)
        told += ran(log, table, START + hour * HOUR)[0].new_pairs
        assert len(remembered(table).signals) <= LIMIT
    assert told == 4 * 19


@pytest.mark.parametrize("crowd", [1, 7, 100])
def test_pieces_of_a_crowd_are_each_told_once(log: Log, table: MemoryTable, crowd: int) -> None:
    log.add(5 * LIMIT)
    log.crowd = crowd
    record, told = ran(log, table)
    again, _ = ran(log, table, NOW + MINUTE)
    assert (record.new_pairs, again.new_pairs) == (5 * LIMIT, 0)
    assert len(told) == max(5 * LIMIT // crowd, 1) + (crowd == 7)
    assert len(remembered(table).signals) <= LIMIT


def test_every_format_says_so(log: Log, table: MemoryTable) -> None:
    log.add(LIMIT + 1)
    _, (verdict,) = ran(log, table)
    assert verdict.alert
    until = iso(START + timedelta(seconds=LIMIT))
    words = f"Flood: everything of this actor up to {until} counts as told"
    told = telling(verdict, RULE, windows(NOW, None, RULE))
    assert f"  {words}" in lines(verdict.alert, RULE)
    assert words in slack(told).decode()
    assert f'"flood":"{until}"' in native(told).decode()
    assert share(verdict.alert, RULE).title.endswith(words)
