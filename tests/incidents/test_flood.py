"""A key with more signals than are remembered one by one."""

from datetime import datetime, timedelta

import pytest

from detection.base.timestamps import iso
from detection.incidents.decide import Verdict
from detection.incidents.key_state import KeyState
from detection.logs.events import Logs
from detection.logs.window import Windows, plan_windows
from detection.messages.context import alert_context, digest_entry
from detection.messages.native import native
from detection.messages.slack import slack
from detection.messages.text import lines
from detection.rules.model import Rule
from detection.runs.commit import RunOptions
from detection.runs.record import RunRecord
from detection.runs.run import run
from detection.store.incident_store import IncidentStore
from detection.store.table import MemoryTable
from tests.support.builders import ALICE, HOUR, RULE, START, account, change_row, logs, signal_row, sliced

LIMIT = 10
MINUTE = timedelta(minutes=1)
NOW = START + HOUR


class GrowingLogs:
    """A log store that fills up: changes and signals by id, and when they happened."""

    def __init__(self) -> None:
        self.changes: dict[str, datetime] = {"c": START}
        self.signals: dict[str, datetime] = {}
        self.max_signals_per_actor: int | None = None

    def read(self, rule: Rule, windows: Windows) -> Logs:
        changes = [change_row(ident, time) for ident, time in self.changes.items()]
        signals = [signal_row(ident, time) for ident, time in self.signals.items()]
        whole = logs(changes, signals, windows, rule)
        return sliced(whole, self.max_signals_per_actor) if self.max_signals_per_actor else whole

    def add(self, number: int, start: datetime = START) -> list[str]:
        """So many more signals, a second apart."""
        names = [f"s{len(self.signals) + offset}" for offset in range(number)]
        self.signals |= {name: start + timedelta(seconds=offset) for offset, name in enumerate(names)}
        return names


@pytest.fixture
def log() -> GrowingLogs:
    return GrowingLogs()


@pytest.fixture
def table() -> MemoryTable:
    return MemoryTable()


def run_once(log: GrowingLogs, table: MemoryTable, now: datetime = NOW) -> tuple[RunRecord, list[Verdict]]:
    return run(
        RULE, now, log, IncidentStore(table, RULE.folder, f"run {now}"), RunOptions(flood_signals=LIMIT)
    )


def recalled_state(table: MemoryTable) -> KeyState:
    return IncidentStore(table, RULE.folder, "look").load(account(ALICE))


def test_as_many_signals_as_the_limit_are_remembered_one_by_one(log: GrowingLogs, table: MemoryTable) -> None:
    log.add(LIMIT)
    run_once(log, table)
    state = recalled_state(table)
    assert (len(state.signals), state.flood_until) == (LIMIT, None)


def test_one_more_is_a_flood_that_is_told_whole_in_one_alert(log: GrowingLogs, table: MemoryTable) -> None:
    log.add(LIMIT + 1)
    record, (verdict,) = run_once(log, table)
    latest = START + timedelta(seconds=LIMIT)
    assert verdict.alert
    assert (record.new_pairs, verdict.alert.flood_until) == (LIMIT + 1, latest)
    assert (recalled_state(table).signals, recalled_state(table).flood_until) == ({}, latest)


def test_alert_of_no_flood_does_not_speak_of_one(log: GrowingLogs, table: MemoryTable) -> None:
    log.add(LIMIT)
    _, (verdict,) = run_once(log, table)
    assert verdict.alert
    assert verdict.alert.flood_until is None
    assert not any("High volume" in line for line in lines(verdict.alert, RULE))


def test_a_flood_is_told_once(log: GrowingLogs, table: MemoryTable) -> None:
    log.add(3 * LIMIT)
    run_once(log, table)
    record, verdicts = run_once(log, table, NOW + MINUTE)
    assert (record.pairs, record.new_pairs, verdicts) == (3 * LIMIT, 0, [])


def test_what_arrives_late_behind_a_flood_counts_as_told(log: GrowingLogs, table: MemoryTable) -> None:
    log.add(3 * LIMIT)
    run_once(log, table)
    log.changes["late"] = START + timedelta(seconds=1)
    log.signals["late"] = START + timedelta(seconds=2)
    record, _ = run_once(log, table, NOW + MINUTE)
    assert record.new_pairs == 0


def test_what_happens_after_a_flood_is_told_and_remembered_one_by_one(
    log: GrowingLogs, table: MemoryTable
) -> None:
    log.add(3 * LIMIT)
    run_once(log, table)
    log.add(2, start=NOW)
    record, _ = run_once(log, table, NOW + HOUR)
    assert (record.new_pairs, len(recalled_state(table).signals)) == (2, 2)


def test_a_key_never_keeps_more_marks_than_the_limit(log: GrowingLogs, table: MemoryTable) -> None:
    alerted_count = 0
    for hour in range(1, 20):
        log.add(4, start=START + hour * HOUR - MINUTE)
        alerted_count += run_once(log, table, START + hour * HOUR)[0].new_pairs
        assert len(recalled_state(table).signals) <= LIMIT
    assert alerted_count == 4 * 19


@pytest.mark.parametrize("max_signals_per_actor", [1, 7, 100])
def test_pieces_of_a_crowd_are_each_told_once(
    log: GrowingLogs, table: MemoryTable, max_signals_per_actor: int
) -> None:
    log.add(5 * LIMIT)
    log.max_signals_per_actor = max_signals_per_actor
    record, verdicts = run_once(log, table)
    second_record, _ = run_once(log, table, NOW + MINUTE)
    assert (record.new_pairs, second_record.new_pairs) == (5 * LIMIT, 0)
    assert len(verdicts) == max(5 * LIMIT // max_signals_per_actor, 1) + (max_signals_per_actor == 7)
    assert len(recalled_state(table).signals) <= LIMIT


def test_every_format_says_so(log: GrowingLogs, table: MemoryTable) -> None:
    log.add(LIMIT + 1)
    _, (verdict,) = run_once(log, table)
    assert verdict.alert
    until = iso(START + timedelta(seconds=LIMIT))
    words = f"High volume: this alert covers everything of this actor up to {until}; later activity alerts separately"
    context = alert_context(verdict, RULE, plan_windows(NOW, None, RULE))
    assert f"  {words}" in lines(verdict.alert, RULE)
    assert words in slack(context).decode()
    assert f'"flood_until":"{until}"' in native(context).decode()
    assert digest_entry(verdict.alert, RULE).title.endswith(words)
