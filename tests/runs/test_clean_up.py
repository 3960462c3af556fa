"""When runs clean up the table, and how much they delete."""

from collections.abc import Sequence
from datetime import datetime

import pytest

from benchmarks.volume import CountingTable, RowSource, many_actors
from detection.rules.silences import Silence
from detection.runs.commit import RunOptions
from detection.runs.record import RunRecord
from detection.runs.run import run
from detection.store.groupings import groupings_of
from detection.store.incident_list import IncidentList
from detection.store.incident_store import IncidentStore
from detection.store.outbox import RULES_PARTITION, Delivery, Outbox, listed_rules, queue
from detection.store.retention import delete_old_rows
from detection.store.silence_list import SilenceList
from detection.store.table import MemoryTable, Table
from tests.support.builders import DAY, HOUR, RULE, START, change_row, signal_row

NOTHING = RowSource([], [])
RETENTION = 5 * DAY
QUIET_REQUESTS = 2  # of a run without its rule's listing and the outbox: watermark, record


def run_at(table: Table, now: datetime, source: RowSource = NOTHING) -> RunRecord:
    store = IncidentStore(table, RULE.folder, f"run {now}")
    return run(RULE, now, source, store, RunOptions(retention=RETENTION))[0]


def alert_days(table: Table) -> set[int]:
    """The days since START of the alerts in the table."""
    return {(alert.time - START).days for alert in IncidentList(table, RULE.folder).alerts()}


def heads(table: Table) -> int:
    return len(list(table.scan(RULE.folder, "h|", "h}")))


def groupings(table: Table) -> list[datetime]:
    """The times at which groupings were last named."""
    return [named.time for named in groupings_of(table.scan(RULE.folder, "u|", "u}"))]


def days_of_alerts(days: Sequence[int], actors: int = 1) -> MemoryTable:
    """A table after a run with alerts on each of these days."""
    table = MemoryTable()
    run_at(table, START - DAY)
    for day in days:
        now = START + day * DAY
        run_at(table, now, many_actors(actors, now))
    return table


def test_the_first_run_of_a_day_deletes_the_alerts_that_are_older_than_retention() -> None:
    table = days_of_alerts([0, 1])

    run_at(table, START + 6 * DAY)  # deletion goes by the watermark that this run began with
    assert alert_days(table) == {0, 1}
    run_at(table, START + 6 * DAY + HOUR)
    assert alert_days(table) == {0, 1}
    run_at(table, START + 7 * DAY)

    assert alert_days(table) == {1}


def test_the_first_run_of_a_day_deletes_old_dead_letters_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    table = days_of_alerts([0])
    outbox = Outbox(table, RULE.folder)
    for day in (0, 1):
        created = START + day * DAY
        message = Delivery(f"al_{day}", "soc", f"in_{day}", 1, b"{}", created, created)
        table.write(RULE.folder, [queue(message)])
    for queued in list(outbox.waiting("soc")):
        outbox.dead_letter(queued, "HTTP 410")

    run_at(table, START + 5 * DAY + HOUR)
    assert len(list(outbox.dead_letters())) == 2
    run_at(table, START + 6 * DAY + HOUR)

    assert [dead.delivery.id for dead in outbox.dead_letters()] == ["al_1"]
    assert "1 dead letter from before 2026-03-02T11:00:00Z deleted" in caplog.text


def test_the_first_run_of_a_day_deletes_old_records_and_silences() -> None:
    table = days_of_alerts([0])
    silence = Silence(name="old", owner="bob", reason="test", created=START, expires=START + DAY, actor="bob")
    SilenceList(table, RULE.folder).add(silence)

    for day in range(1, 9):
        run_at(table, START + day * DAY)

    records = IncidentStore(table, RULE.folder, "look").records()
    assert (len(records), SilenceList(table, RULE.folder).silences()) == (7, [])


def test_the_first_run_of_a_day_deletes_the_groupings_whose_marks_are_gone() -> None:
    table = days_of_alerts([0, 1])
    assert groupings(table) == [START + DAY]

    for day in range(2, 4):
        run_at(table, START + day * DAY)
    assert groupings(table) == [START + DAY]
    for day in range(4, 7):
        run_at(table, START + day * DAY)

    assert groupings(table) == []


def test_a_run_that_commits_something_cleans_up_whenever_it_is() -> None:
    table = days_of_alerts([0])
    run_at(table, START + 6 * DAY)

    run_at(table, START + 6 * DAY + HOUR)
    assert 0 in alert_days(table)
    now = START + 6 * DAY + 2 * HOUR
    run_at(table, now, many_actors(1, now))

    assert alert_days(table) == {6}


def test_a_quiet_run_of_the_same_day_looks_for_nothing() -> None:
    table = days_of_alerts([0])
    run_at(table, START + 6 * DAY)
    counting_table = CountingTable(table)

    run_at(counting_table, START + 6 * DAY + HOUR)

    assert counting_table.requests == QUIET_REQUESTS


def test_a_clean_up_that_reached_its_bound_goes_on_in_quiet_hours_until_all_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("detection.runs.clean_up.REQUESTS", 40)
    actors = 300
    table = days_of_alerts([0], actors)
    run_at(table, START + 6 * DAY)

    run_at(table, START + 7 * DAY)
    assert 0 < heads(table) < actors
    for hour in range(1, 24):
        run_at(table, START + 7 * DAY + hour * HOUR)
    assert heads(table) == 0
    counting_table = CountingTable(table)
    run_at(counting_table, START + 7 * DAY + 23 * HOUR)

    assert counting_table.requests == QUIET_REQUESTS


def test_a_clean_up_makes_four_requests_for_each_commit_of_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detection.runs.clean_up.REQUESTS", 0)
    expired, commits = 300, 6
    table, same_table = days_of_alerts([0], expired), days_of_alerts([0], expired)
    for prepared in (table, same_table):
        run_at(prepared, START + 6 * DAY + HOUR)
    now = START + 7 * DAY

    run_at(table, now, many_actors(commits, now, prefix="new"))
    former = now - DAY + HOUR
    delete_old_rows(same_table, RULE.folder, former - DAY, former - RETENTION, limit=4 * commits)

    assert 0 < heads(table) - commits == heads(same_table) < expired


def test_rows_stay_flat_and_nothing_outlives_retention_where_new_actors_alert_every_hour() -> None:
    table = MemoryTable()
    sizes: list[int] = []
    run_at(table, START)
    for hour in range(1, 24 * 14):
        now = START + hour * HOUR
        names = [f"{hour}-{number}@example.com" for number in range(2)]
        changes = [change_row(f"c {name}", now - HOUR, name) for name in names]
        run_at(table, now, RowSource(changes, [signal_row(f"s {name}", now, name) for name in names]))
        if hour % 24 == 23:
            sizes.append(sum(1 for _ in table.scan(RULE.folder, "", "~")))
            incidents = [incident for _, incident in IncidentList(table, RULE.folder).incidents()]
            assert len(incidents) == heads(table)
            assert now - min(incident.updated for incident in incidents) < RETENTION + DAY + HOUR

    assert max(sizes[7:]) < 1.02 * sizes[7]


def test_a_rule_is_on_the_list_of_rules_once_however_often_it_runs() -> None:
    table = days_of_alerts(range(10))

    assert listed_rules(table) == [RULE.folder]
    assert len(list(table.scan(RULES_PARTITION, "", "~"))) == 1
