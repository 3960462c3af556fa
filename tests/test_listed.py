"""The list of incidents: kept beside them, so that thousands are read in a few requests."""

from datetime import timedelta

from detection.incidents.grouping import acknowledged
from detection.runs.record import RECORD, RunFailure
from detection.store.incident_store import IncidentStore
from detection.store.table import Delete, MemoryTable, Put
from tests.builders import ALICE, DAY, HOUR, RULE, START, account, change, closed_at_start, signal
from tests.test_incidents import BOB, Job

RECORDED = RECORD.dump_json(RunFailure(RULE.folder, START, "bug", "", None, 0.0))


def test_incidents_opened_last_are_first() -> None:
    job = Job()
    job.commit_new(START, [change("c", START)], [signal("s", START)])
    job.commit_new(START + HOUR, [change("d", START, BOB)], [signal("t", START, BOB)])
    assert [summary.key for summary in job.store.summaries()] == [account(BOB), account(ALICE)]


def test_list_says_what_the_incident_says() -> None:
    job = Job()
    job.signals_at(START, START + HOUR)
    assert [summary.incident for summary in job.store.summaries()] == job.incidents


def test_list_knows_what_was_done_and_has_no_history() -> None:
    job = Job()
    job.signals_at(START)
    job.store.update(account(), lambda incident: acknowledged(incident, "eve", START, "x" * 9_000))
    (summary,) = job.store.summaries()
    assert (summary.incident.status, summary.incident.history) == ("acknowledged", ())


def test_key_is_listed_cut() -> None:
    job = Job()
    job.commit_new(START, [change("c", START, "x" * 60_000)], [signal("s", START, "x" * 60_000)])
    ((_, value),) = next(iter(job.store.summaries())).key
    assert len(value) < 1_100


def test_next_incident_of_a_key_stands_beside_its_predecessor() -> None:
    job = Job()
    first_id, second_id = job.signals_at(START, START + 2 * DAY)
    assert [summary.incident.id for summary in job.store.summaries()] == [second_id, first_id]


def test_incident_that_expires_leaves_the_list() -> None:
    job = Job()
    _, second_id = job.signals_at(START, START + 2 * DAY)
    job.store.expire(START + DAY)
    assert (
        [incident.incident.id for incident in job.store.summaries()]
        == [second_id]
        == [incident.id for incident in job.incidents]
    )


def test_incident_is_found_by_its_id_with_its_own_alerts() -> None:
    job = Job()
    first_id, _, second_id = job.signals_at(START, START + HOUR, START + 2 * DAY)
    key, incident, alerts = job.store.incident(first_id) or ((), None, [])
    assert (key, incident) == (account(), job.incidents[0])
    assert [(alert.incident, alert.action) for alert in alerts] == [
        (first_id, "opened"),
        (first_id, "updated"),
    ]
    assert first_id != second_id


def test_id_that_is_of_no_incident_is_not_found() -> None:
    assert Job().store.incident("in_none") is None


# -------------------------------------------------------------------------- a table of a version that kept no list


def remove_list(job: Job) -> None:
    """The table as that version would have left it after a complete run."""
    for entity in job.table.scan(RULE.folder, "l|", "l}"):
        job.table.write(RULE.folder, [Delete(entity.row)])
    watermark = job.table.get(RULE.folder, "w")
    assert watermark
    values = {name: value for name, value in watermark.values.items() if name != "listed"}
    job.table.write(RULE.folder, [Put("w", values)])


def finish(table: MemoryTable, days: int) -> None:
    store = IncidentStore(table, RULE.folder, f"run {days}")
    store.watermark()
    store.finish(START + timedelta(days=days), RECORDED, ())


def test_incidents_from_before_are_found_and_after_a_run_listed() -> None:
    job = Job()
    (name,) = job.signals_at(START)
    finish(job.table, 1)
    remove_list(job)

    assert list(job.store.summaries()) == []
    assert job.store.incident(name) is not None

    finish(job.table, 2)
    assert [summary.incident for summary in job.store.summaries()] == job.incidents


def test_what_is_listed_already_stays_as_it_is() -> None:
    job = Job()
    job.signals_at(START)
    finish(job.table, 1)
    remove_list(job)
    job.store.update(account(), closed_at_start)

    finish(job.table, 2)

    assert [summary.incident.status for summary in job.store.summaries()] == ["closed"]
