"""Commits of several keys in one transaction: as if each key had a transaction of its own."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from threading import get_ident

import pytest

from detection.base.deadlines import LONGEST_RUN
from detection.logs.events import Logs
from detection.logs.window import Windows
from detection.rules.model import Rule
from detection.runs.commit import RunOptions
from detection.runs.run import run
from detection.store import incident_store
from detection.store.incident_list import IncidentList
from detection.store.outbox import Outbox
from detection.store.table import MemoryTable, Operation, Table, Value
from tests.runs.test_contradicting_table import (
    USERS,
    DenyingTable,
    StoredLogs,
    actor_rows,
    alerted,
    render,
    render_digest,
    store_of,
)
from tests.support.builders import HOUR, RULE, START, TICK, change_row, signal_row
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


@STORM
def test_incident_is_committed_with_its_title_severity_actor_and_digest(storm_alerts: int | None) -> None:
    table = MemoryTable()

    run(RULE, START + HOUR, actor_rows(ACTORS, 2), store_of(table), options(storm_alerts))

    incidents = [incident for _, incident in IncidentList(table, RULE.folder).incidents()]
    assert {incident.actor for incident in incidents} == set(ACTORS)
    for incident in incidents:
        assert incident.actor in incident.title
        assert (incident.severity, incident.changes, incident.signals) == ("High", 1, 2)
        assert len(incident.digests) == (1 if storm_alerts else 0)


def test_keys_before_and_after_a_key_in_parts_are_committed() -> None:
    table = MemoryTable()
    before, large, after = USERS[:3]
    source = StoredLogs(
        [change_row(f"c_{actor}", START, actor) for actor in (before, large, after)],
        [
            *(signal_row(f"s_{actor}", START, actor) for actor in (before, after)),
            *(signal_row(f"s{number}_{large}", START, large) for number in range(5)),
        ],
    )

    run(RULE, START + HOUR, source, store_of(table), replace(options(None), events_per_part=3))

    assert alerted(table) == {before: 1, large: 5, after: 1}


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


class CountingSource(StoredLogs):
    """A source that counts how often a run reads it."""

    readings = 0

    def read(self, rule: Rule, windows: Windows) -> Logs:
        self.readings += 1
        return super().read(rule, windows)


@pytest.mark.parametrize(
    "age, readings", [(LONGEST_RUN - TICK, 2), (LONGEST_RUN, 1)], ids=["younger", "as old"]
)
def test_run_reads_again_if_the_last_decision_on_a_key_is_younger_than_the_longest_run(
    age: timedelta, readings: int
) -> None:
    table = MemoryTable()
    changes, signals = [change_row("c", START - HOUR)], [signal_row("s1", START - HOUR)]
    run(RULE, START, StoredLogs(changes, signals), store_of(table, "former"))
    source = CountingSource(changes, [*signals, signal_row("s2", START)])

    run(RULE, START + age, source, store_of(table, "run"))

    assert source.readings == readings


@pytest.mark.parametrize("race_at", range(1, ACCESSES))
def test_slow_run_that_commits_at_any_moment_of_a_later_run_alerts_no_pair_twice(race_at: int) -> None:
    table = MemoryTable()
    run(RULE, START + HOUR, actor_rows([], 0), store_of(table, "first"))

    def commit_late() -> None:
        # This run began before the first was complete: it reads no watermark. Its commit does not supersede the
        # later run, so only the version of the key's head shows the commit.
        slow = DenyingTable(table, denials=1)
        run(RULE, START + HOUR, actor_rows(USERS[:1], 2), store_of(slow, "slow"))

    faulty = FaultyTable(table, Faults(), commit_late, race_at)
    run(RULE, START + 4 * HOUR, actor_rows(USERS[:1], 2), store_of(faulty, "later"))

    assert alerted(table) == {USERS[0]: 2}


class ThreadNotingTable(MemoryTable):
    """A table in memory that notes which threads write to it."""

    def __init__(self) -> None:
        super().__init__()
        self.writers = set[int]()

    def write(self, partition: str, operations: Sequence[Operation]) -> None:
        self.writers.add(get_ident())
        super().write(partition, operations)


@STORM
def test_run_writes_in_its_own_thread_so_no_two_of_its_writes_are_open_at_once(
    storm_alerts: int | None,
) -> None:
    table = ThreadNotingTable()

    run(RULE, START + HOUR, actor_rows(ACTORS, 2), store_of(table, "run"), options(storm_alerts))

    assert table.writers == {get_ident()}


class AlternatingTable(FaultyTable):
    """A table on which another run takes its turn right before each commit of a key."""

    def __init__(self, table: Table, turn: Callable[[], object]) -> None:
        super().__init__(table, Faults())
        self._turn = turn

    def write(self, partition: str, operations: Sequence[Operation]) -> None:
        if any(operation.row.startswith("h|") for operation in operations):
            self._turn()
        super().write(partition, operations)


@STORM
def test_runs_that_commit_other_keys_in_turn_never_conflict(
    monkeypatch: pytest.MonkeyPatch, storm_alerts: int | None
) -> None:
    monkeypatch.setattr(incident_store, "REQUEST_BYTES", 1)  # each key has a transaction of its own
    table, conflicts = MemoryTable(), Counter[str]()
    run(RULE, START + HOUR, actor_rows([], 0), store_of(table, "first"))
    rivals = [f"rival_{number}@example.com" for number in range(len(ACTORS))]
    turns = iter(rivals)

    def commit_next() -> None:
        if rival := next(turns, None):
            faulty = FaultyTable(table, Faults())
            run(RULE, START + HOUR, actor_rows([rival], 2), store_of(faulty, rival), options(storm_alerts))
            conflicts.update(faulty.figures)

    alternating = AlternatingTable(table, commit_next)
    # All runs are up to the time of the first, so none moves the watermark, which all runs share.
    run(RULE, START + HOUR, actor_rows(ACTORS, 2), store_of(alternating, "run"), options(storm_alerts))

    assert alerted(table) == dict.fromkeys([*ACTORS, *rivals], 2)
    assert conflicts["conflicts"] + alternating.figures["conflicts"] == 0


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
