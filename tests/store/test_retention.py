"""What grows in the table has an end: marks, alerts, incidents, heads and pointers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

import pytest

from benchmarks.growth import rows_by_kind
from benchmarks.volume import CountingTable
from detection.incidents.decide import Verdict
from detection.incidents.floods import Flood, actor_digest
from detection.incidents.key_state import KeyState
from detection.logs.window import Window
from detection.rules.silences import Silence
from detection.store.incident_list import IncidentList
from detection.store.incident_store import IncidentStore
from detection.store.layout import head_row
from detection.store.retention import delete_old_rows
from detection.store.silence_list import SilenceList
from detection.store.table import PAGE, Entity, MemoryTable, Operation, Table
from tests.incidents.test_grouping import BOB, Job
from tests.support.builders import ALICE, DAY, HOUR, RULE, START, account, act, change, signal
from tests.support.retention import LONG_AGO, expire, purge_marks

MIDNIGHT = START.replace(hour=0)


class InterferedTable:
    """A table in memory in which another process writes right before the next write."""

    def __init__(self, table: MemoryTable, interfere: Callable[[], object]) -> None:
        self._table = table
        self._interfere: Callable[[], object] | None = interfere

    def get(self, partition: str, row: str) -> Entity | None:
        return self._table.get(partition, row)

    def scan(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[Entity]:
        return self._table.scan(partition, start, end, page)

    def names(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[str]:
        return self._table.names(partition, start, end, page)

    def write(self, partition: str, operations: Sequence[Operation]) -> None:
        interfere, self._interfere = self._interfere, None
        if interfere:
            interfere()
        self._table.write(partition, operations)

    def date(self) -> datetime | None:
        return self._table.date()


def commit(job: Job, now: datetime, *actors: str) -> list[Verdict]:
    """Commits a new change and a new signal of each actor."""
    names = actors or (ALICE,)
    return job.commit_new(
        now,
        [change(f"c {now} {actor}", now, actor) for actor in names],
        [signal(f"s {now} {actor}", now, actor) for actor in names],
    )


def ids(verdicts: Sequence[Verdict]) -> list[str]:
    """The ids of alerts and incidents."""
    return [
        name
        for verdict in verdicts
        if verdict.alert
        for name in (verdict.alert.alert, verdict.alert.incident)
    ]


def test_nothing_of_a_departed_key_stays() -> None:
    job = Job()
    for now in (START, START + HOUR, START + 3 * DAY):
        commit(job, now)
    job.store.update(
        job.incidents[-1].id,
        lambda incident: act(incident, "closed", "eve", START + 4 * DAY, classification="benign"),
    )

    assert delete_old_rows(job.table, RULE.folder, START + 9 * DAY, START + 9 * DAY)

    assert not rows_by_kind(job.table)


def test_key_without_an_alert_departs_too() -> None:
    job = Job()
    (verdict,) = commit(Job(), START)
    without_alert = replace(verdict, alert=None, state=replace(verdict.state, incident=None))
    job.store.commit([job.store.prepare(without_alert)])
    assert set(rows_by_kind(job.table)) == {"h", "m", "p", "e"}

    assert delete_old_rows(job.table, RULE.folder, START + 9 * DAY, START + 9 * DAY)

    assert not rows_by_kind(job.table)


def test_alerts_and_incidents_of_a_key_that_goes_on_leave_and_its_head_stays() -> None:
    job = Job()
    for day in range(10):
        commit(job, START + day * DAY + HOUR * day)

    expire(job.table, RULE.folder, MIDNIGHT + 8 * DAY)

    counts = rows_by_kind(job.table)
    assert (counts["h"], counts["a"], counts["i"], counts["l"], counts["e"]) == (1, 2, 2, 2, 2)


def test_an_incident_stays_until_its_last_alert_is_old() -> None:
    job = Job()
    first_id, _ = job.signals_at(START, START + 20 * HOUR)

    expire(job.table, RULE.folder, MIDNIGHT + DAY)

    assert [incident.id for incident in job.incidents] == [first_id]
    assert len(list(IncidentList(job.table, RULE.folder).alerts())) == 1


def test_a_head_stays_as_long_as_its_key_has_marks_and_goes_with_them() -> None:
    job = Job()
    commit(job, START)
    kept_windows = [Window(START - HOUR, START + HOUR)]

    for _ in range(2):
        assert delete_old_rows(
            job.table, RULE.folder, START + 9 * DAY, START + 9 * DAY, kept_windows=kept_windows
        )
        assert rows_by_kind(job.table) == {"h": 1, "m": 1, "p": 1}
    assert delete_old_rows(job.table, RULE.folder, START + 9 * DAY, START + 9 * DAY)

    assert not rows_by_kind(job.table)


def test_a_head_with_a_flood_stays_while_a_window_is_kept() -> None:
    job = Job()
    flood = Flood(actor_digest(ALICE), START, START)
    flooded = KeyState(account(), 1, decided_at=START, floods=(flood,))
    job.store.commit([job.store.prepare(Verdict(flooded, []))])

    expire(job.table, RULE.folder, START + 9 * DAY, [Window(START - HOUR, START + HOUR)])
    expire(job.table, RULE.folder, START + 10 * DAY, [Window(START - HOUR, START + HOUR)])
    assert rows_by_kind(job.table) == {"h": 1, "e": 1}
    expire(job.table, RULE.folder, START + 11 * DAY)

    assert not rows_by_kind(job.table)


def test_a_silence_of_a_gap_stays_while_its_signals_can_be_read() -> None:
    table = MemoryTable()
    silences = SilenceList(table, RULE.folder)
    for name, expires in (("before", START - DAY), ("in", START + HOUR)):
        begins = expires - HOUR
        fields = {"owner": "soc", "reason": "a test", "actor": ALICE, "begins": begins, "expires": expires}
        silences.add(Silence.model_validate({"name": name, **fields}))

    expire(table, RULE.folder, START + 9 * DAY, [Window(START - HOUR, START + HOUR)])
    assert [silence.name for silence in silences.silences()] == ["in"]
    expire(table, RULE.folder, START + 9 * DAY)
    assert not silences.silences()


def test_a_run_that_commits_the_key_at_the_same_time_wins() -> None:
    job = Job()
    commit(job, START)
    purge_marks(job.table, RULE.folder, START + 9 * DAY)
    returned: list[Verdict] = []
    table = InterferedTable(job.table, lambda: returned.extend(commit(job, START + 9 * DAY)))

    expire(table, RULE.folder, START + 5 * DAY)

    state = job.store.load([account()])[account()]
    assert [verdict.state.commits for verdict in returned] == [state.commits]
    assert len(state.signals) == 1
    delete_old_rows(job.table, RULE.folder, START + 20 * DAY, START + 20 * DAY)
    assert not rows_by_kind(job.table)


def test_a_run_that_loaded_an_expired_incident_decides_again() -> None:
    job, slow_job = Job(), Job(token="slow")
    slow_job.store.table = job.table
    commit(job, START)
    commit(job, START + 9 * DAY)
    loaded = slow_job.store.load([account()])[account()]
    assert loaded.incident
    first_id = job.incidents[0].id

    def write_again() -> None:
        slow_job.store.update(
            first_id, lambda incident: act(incident, "closed", "eve", START, classification="benign")
        )

    expire(InterferedTable(job.table, write_again), RULE.folder, START + 5 * DAY)
    assert [incident.number for incident in job.incidents] == [1, 2]  # the update won
    expire(job.table, RULE.folder, START + 5 * DAY)

    assert [incident.number for incident in job.incidents] == [2]
    assert rows_by_kind(job.table)["l"] == 1


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("days", [5, 400])
def test_a_key_that_departs_and_returns_gets_other_ids(parts: int, days: int) -> None:
    job = Job()
    changes = [change("c", START)]
    signals = [signal(f"s{number}", START) for number in range(parts)]
    verdicts = job.commit_new(START, changes, signals, limit=1)
    delete_old_rows(job.table, RULE.folder, START + 2 * DAY, START + 2 * DAY)
    assert not rows_by_kind(job.table)

    returned = job.commit_new(START + days * DAY, changes, signals, limit=1)

    assert returned[0].state.commits > verdicts[-1].state.commits
    assert len({*ids(verdicts), *ids(returned)}) == len({*ids(verdicts)}) + len({*ids(returned)})
    assert next(verdict.alert.action for verdict in returned if verdict.alert) == "opened"


@pytest.mark.parametrize("signals", [1, 4], ids=["last number is that second", "last number lies ahead"])
def test_no_number_is_issued_again_in_the_second_in_which_a_key_could_return(signals: int) -> None:
    job = Job()
    late = MIDNIGHT + DAY - HOUR / 3600 / 2  # half a second before the day ends
    verdicts = job.commit_new(
        late, [change("c", late)], [signal(f"s{number}", late) for number in range(signals)], limit=1
    )
    numbers = [verdict.state.commits for verdict in verdicts]
    assert numbers == list(range(int(late.timestamp()), int(late.timestamp()) + signals + 1))

    purge_marks(job.table, RULE.folder, MIDNIGHT + 3 * DAY)
    for retention_end in (MIDNIGHT + DAY, MIDNIGHT + DAY + HOUR):  # a run began at this second
        expire(job.table, RULE.folder, retention_end)
        returned = commit(job, retention_end)
        assert returned[0].state.commits > numbers[-1]
        assert not set(ids(verdicts)) & set(ids(returned))


@pytest.mark.parametrize("alerts", [1, 24, 25, 130])
def test_all_alerts_of_a_key_go_in_one_clean_up(alerts: int) -> None:
    job = Job()
    signals = [signal(f"s{number}", START) for number in range(alerts)]
    job.commit_new(START, [change("c", START)], signals, limit=1)

    assert delete_old_rows(job.table, RULE.folder, START + 9 * DAY, START + 9 * DAY)

    assert not rows_by_kind(job.table)


def test_a_key_with_many_incidents_of_a_day_loses_them_day_by_day() -> None:
    job = Job()
    for number in range(60):
        job.commit_new(START, [change("c", START)], [signal(f"s{number}", START)])
        job.store.update(
            job.incidents[-1].id,
            lambda incident: act(incident, "closed", "eve", START, classification="benign"),
        )
    assert len(job.incidents) == 60

    for days in range(3, 7):
        delete_old_rows(job.table, RULE.folder, START + 9 * DAY, START + days * DAY)

    assert not rows_by_kind(job.table)


def test_rows_of_many_keys_share_transactions() -> None:
    job = Job()
    actors = [f"actor-{number}@example.com" for number in range(200)]
    commit(job, START, *actors)
    table = CountingTable(job.table)

    assert delete_old_rows(table, RULE.folder, START + 9 * DAY, START + 9 * DAY)

    assert not rows_by_kind(job.table)
    assert table.writes < len(actors) / 8
    assert table.requests - table.writes <= 20  # six for each hundred actors, and the pointers


def test_a_clean_up_is_bounded_and_the_next_goes_on() -> None:
    job = Job()
    commit(job, START, *(f"actor-{number}@example.com" for number in range(100)))
    table = CountingTable(job.table)

    assert not delete_old_rows(table, RULE.folder, START + 9 * DAY, START + 9 * DAY, limit=20)

    assert 20 <= table.requests < 30
    assert rows_by_kind(job.table)["h"]
    runs = [delete_old_rows(table, RULE.folder, START + 9 * DAY, START + 9 * DAY, limit=20) for _ in range(9)]
    assert runs[-1]
    assert not rows_by_kind(job.table)


def test_days_in_a_kept_window_keep_their_marks_and_are_not_read() -> None:
    job = Job()
    for day in range(8):
        commit(job, START + day * DAY)
    kept_windows = [Window(START + 5 * DAY, START + 5 * DAY + HOUR), Window(START + 2 * DAY, START + 3 * DAY)]

    removed = [purge_marks(job.table, RULE.folder, START + 8 * DAY, kept_windows) for _ in range(2)]

    state = job.store.load([account()])[account()]
    assert {(day - START.date()).days for day in state.signals.values()} == {2, 3, 5, 7}
    assert removed == [4, 0]
    table = CountingTable(job.table)
    delete_old_rows(table, RULE.folder, START + 8 * DAY, LONG_AGO, kept_windows, daily=False)
    assert table.requests == 4  # before, between and after the windows, and for old alerts


def test_a_window_without_an_end_keeps_all_marks_after_its_begin() -> None:
    job = Job()
    commit(job, START)
    commit(job, START + 2 * DAY)

    purge_marks(job.table, RULE.folder, START + 9 * DAY, [Window(START + DAY, None)])

    assert list(job.store.load([account()])[account()].signals.values()) == [(START + 2 * DAY).date()]


def test_keys_do_not_share_an_end() -> None:
    job = Job()
    commit(job, START, ALICE, BOB)
    commit(job, START + 5 * DAY, BOB)

    delete_old_rows(job.table, RULE.folder, START + 3 * DAY, START + 3 * DAY)

    [head] = job.table.scan(RULE.folder, "h|", "h}")
    assert head.row == head_row(account(BOB))
    assert rows_by_kind(job.table)["a"] == 1


def test_departed_keys_go_from_the_real_table(azure_table: Table) -> None:
    job = Job()
    job.store = IncidentStore(azure_table, RULE.folder, "run")
    commit(job, START, ALICE, BOB)
    commit(job, START + 5 * DAY, BOB)

    assert delete_old_rows(azure_table, RULE.folder, START + 3 * DAY, START + 3 * DAY)
    assert rows_by_kind(azure_table) == {"a": 1, "h": 1, "i": 1, "m": 1, "e": 1, "l": 1, "p": 1}
    assert delete_old_rows(azure_table, RULE.folder, START + 9 * DAY, START + 9 * DAY)

    assert not rows_by_kind(azure_table)
