"""The incident store: what a complete run leaves to the next run, and which commit is a run's own."""

import pytest

from detection.incidents.decide import Circumstances, Verdict, decide
from detection.incidents.key_state import KeyState
from detection.store.incident_store import IncidentStore
from detection.store.layout import head_operation, whole_from
from detection.store.table import Conflict, MemoryTable
from tests.support.builders import (
    DAY,
    HOUR,
    START,
    account,
    chains,
    change,
    first_windows,
    grouped_by,
    signal,
)
from tests.support.world import Faults, FaultyTable

RULE = "some-rule"
BY_ACCOUNT = grouped_by("Selected", "Account")


def started(table: MemoryTable) -> IncidentStore:
    """The store of a run that has read the watermark."""
    store = IncidentStore(table, RULE, "run")
    store.watermark()
    return store


def test_first_run_finds_no_moments() -> None:
    store = started(MemoryTable())
    assert (store.kept_since, store.threshold_until, store.run) == (None, None, 1)
    assert (store.gaps, store.groupings, store.has_backlog) == ([], [], False)


def test_next_run_finds_the_moments_of_the_last_run() -> None:
    table = MemoryTable()
    started(table).finish(START, b"record", START - DAY, has_threshold=True)
    store = started(table)
    assert (store.kept_since, store.threshold_until, store.run) == (whole_from(START - DAY), START, 2)


def test_run_without_a_threshold_keeps_the_moment_of_the_last_run_with_one() -> None:
    table = MemoryTable()
    started(table).finish(START, b"record", has_threshold=True)
    started(table).finish(START + HOUR, b"record")
    store = started(table)
    assert (store.threshold_until, store.run) == (START, 3)


def test_marks_that_an_earlier_run_purged_stay_purged() -> None:
    table = MemoryTable()
    started(table).finish(START, b"record", START)
    started(table).finish(START + HOUR, b"record", START - DAY)
    assert started(table).kept_since == whole_from(START)


def test_backlog_is_noted_until_the_next_complete_run() -> None:
    table = MemoryTable()
    started(table).finish(START, b"record")
    started(table).note_backlog()
    assert started(table).has_backlog
    started(table).finish(START + HOUR, b"record")
    assert not started(table).has_backlog


def loaded(store: IncidentStore) -> KeyState:
    return store.load([account()])[account()]


def commit(store: IncidentStore, verdict: Verdict) -> None:
    store.commit([store.prepare(verdict)])


def verdict_on(state: KeyState) -> Verdict:
    """The verdict on a pair."""
    pair = chains([change("c", START)], [signal("s", START)])
    verdict = decide(pair, Circumstances(BY_ACCOUNT, first_windows()), state)
    assert verdict
    return verdict


def test_commit_whose_answer_was_lost_is_the_runs_own() -> None:
    table = MemoryTable()
    second = 2  # the first write lists the rule
    store = IncidentStore(FaultyTable(table, Faults(lost=frozenset({second}))), RULE, "run")

    commit(store, verdict_on(loaded(store)))

    assert loaded(started(table)).writer == store.writer


def test_commit_after_that_of_another_run_is_refused() -> None:
    table = MemoryTable()
    store, rival = (IncidentStore(table, RULE, name) for name in ("run", "rival"))
    verdict = verdict_on(loaded(store))
    commit(rival, verdict_on(loaded(rival)))

    with pytest.raises(Conflict):
        commit(store, verdict)

    assert loaded(started(table)).writer == rival.writer


def test_key_without_a_decision_is_loaded_without_one() -> None:
    table = MemoryTable()
    table.write(RULE, [head_operation(KeyState(account()))])
    assert loaded(started(table)).decided_at is None
