"""Commits of several keys in one transaction: as if each key had a transaction of its own."""

from collections import Counter
from collections.abc import Mapping

import pytest

from detection.runs.commit import RunOptions
from detection.runs.run import run
from detection.store import incident_store
from detection.store.outbox import Outbox
from detection.store.table import MemoryTable, Table, Value
from tests.runs.test_contradicting_table import (
    USERS,
    actor_rows,
    alerted,
    render,
    render_digest,
    store_of,
)
from tests.support.builders import HOUR, RULE, START
from tests.support.world import Crash, Faults, FaultyTable

ACTORS = [*USERS, *(f"guest_{number}@example.com" for number in range(8))]  # more than a transaction has
WHOLE = dict.fromkeys(ACTORS, 2)
ACCESSES = 16  # of a run over all actors, to its record
STORM = pytest.mark.parametrize("storm_alerts", [None, 2], ids=["messages", "digest"])


def options(storm_alerts: int | None) -> RunOptions:
    return RunOptions(render, render_digest, storm_alerts)


def messages(table: Table) -> Counter[str]:
    """The waiting messages, by the kind of their ids: alerts and digests."""
    return Counter(queued.delivery.id[:2] for queued in Outbox(table, RULE.folder).waiting("soc"))


def finish(table: Table, storm_alerts: int | None = None) -> None:
    """Two later runs, with all rows of the first. They find what the first left behind."""
    for hours in (2, 4):
        run(
            RULE,
            START + hours * HOUR,
            actor_rows(ACTORS, 2),
            store_of(table, f"{hours}"),
            options(storm_alerts),
        )


def content(table: MemoryTable) -> Mapping[str, Mapping[str, Value]]:
    return {row.row: row.values for row in table.scan(RULE.folder, "!", "~")}


def test_rows_are_the_same_however_keys_are_grouped(monkeypatch: pytest.MonkeyPatch) -> None:
    grouped, single = MemoryTable(), MemoryTable()
    run(RULE, START + HOUR, actor_rows(ACTORS, 2), store_of(grouped), options(None))
    monkeypatch.setattr(incident_store, "REQUEST_BYTES", 1)  # no key fits beside another
    run(RULE, START + HOUR, actor_rows(ACTORS, 2), store_of(single), options(None))

    assert content(grouped) == content(single)


def test_conflict_of_a_key_costs_only_that_key() -> None:
    table = MemoryTable()
    rival = ACTORS[3]

    def commit_first() -> None:
        run(RULE, START + HOUR, actor_rows([rival], 2), store_of(table, "rival"), options(None))

    faulty = FaultyTable(table, Faults(), commit_first, race_at=6)  # before the first transaction
    run(RULE, START + HOUR, actor_rows(ACTORS, 2), store_of(faulty, "run"), options(None))

    assert (
        faulty.figures["conflicts"] == 4
    )  # naming the grouping, the group, the key by itself, the watermark
    assert alerted(table) == WHOLE
    assert messages(table) == {"al": len(ACTORS)}


@STORM
@pytest.mark.parametrize("race_at", range(1, ACCESSES))
@pytest.mark.parametrize(
    "rivals", [ACTORS[:1], ACTORS[2:9], ACTORS], ids=["the first key", "some keys", "all keys"]
)
def test_another_run_at_any_moment_loses_and_repeats_nothing(
    rivals: list[str], race_at: int, storm_alerts: int | None
) -> None:
    table = MemoryTable()

    def commit_first() -> None:
        run(RULE, START + HOUR, actor_rows(rivals, 2), store_of(table, "rival"), options(storm_alerts))

    faulty = FaultyTable(table, Faults(), commit_first, race_at)
    try:
        run(RULE, START + HOUR, actor_rows(ACTORS, 2), store_of(faulty, "run"), options(storm_alerts))
    finally:
        finish(table, storm_alerts)

    assert alerted(table) == WHOLE


@STORM
@pytest.mark.parametrize("lost", range(1, 8))
def test_lost_answer_loses_and_repeats_nothing(lost: int, storm_alerts: int | None) -> None:
    table = MemoryTable()
    faulty = FaultyTable(table, Faults(lost=frozenset({lost})))

    run(RULE, START + HOUR, actor_rows(ACTORS, 2), store_of(faulty, "run"), options(storm_alerts))

    assert alerted(table) == WHOLE
    assert messages(table) == ({"20": 1} if storm_alerts else {"al": len(ACTORS)})


@STORM
@pytest.mark.parametrize("crash_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("crash", range(1, 6))
def test_death_at_any_write_loses_and_repeats_nothing(
    crash: int,
    crash_after: bool,
    storm_alerts: int | None,  # a parameter of the test
) -> None:
    table = MemoryTable()
    faulty = FaultyTable(table, Faults(crash=crash, crash_after=crash_after))
    with pytest.raises(Crash):
        run(RULE, START + HOUR, actor_rows(ACTORS, 2), store_of(faulty, "run"), options(storm_alerts))

    finish(table, storm_alerts)

    assert alerted(table) == WHOLE
    if storm_alerts is None:
        assert messages(table) == {"al": len(ACTORS)}
