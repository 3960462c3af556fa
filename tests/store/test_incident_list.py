"""The list of incidents: kept beside them, so that thousands are read in a few requests."""

from detection.incidents.incident import acknowledged
from detection.runs.record import RECORD, RunFailure
from detection.store.incident_list import IncidentList
from tests.incidents.test_grouping import BOB, Job
from tests.support.builders import ALICE, DAY, HOUR, RULE, START, account, change, signal
from tests.support.retention import expire

RECORDED = RECORD.dump_json(RunFailure(RULE.folder, START, "bug", "", None, 0.0))


def test_incidents_opened_last_are_first() -> None:
    job = Job()
    job.commit_new(START, [change("c", START)], [signal("s", START)])
    job.commit_new(START + HOUR, [change("d", START, BOB)], [signal("t", START, BOB)])
    assert [summary.key for summary in IncidentList(job.table, RULE.folder).summaries()] == [
        account(BOB),
        account(ALICE),
    ]


def test_list_says_what_the_incident_says() -> None:
    job = Job()
    job.signals_at(START, START + HOUR)
    assert [summary.incident for summary in IncidentList(job.table, RULE.folder).summaries()] == job.incidents


def test_list_knows_what_was_done_and_has_no_history() -> None:
    job = Job()
    job.signals_at(START)
    job.store.update(job.incidents[-1].id, lambda incident: acknowledged(incident, "eve", START, "x" * 9_000))
    (summary,) = IncidentList(job.table, RULE.folder).summaries()
    assert (summary.incident.status, summary.incident.history) == ("acknowledged", ())


def test_key_is_listed_cut() -> None:
    job = Job()
    job.commit_new(START, [change("c", START, "x" * 60_000)], [signal("s", START, "x" * 60_000)])
    ((_, value),) = next(iter(IncidentList(job.table, RULE.folder).summaries())).key
    assert len(value) < 1_100


def test_next_incident_of_a_key_stands_beside_its_predecessor() -> None:
    job = Job()
    first_id, second_id = job.signals_at(START, START + 2 * DAY)
    assert [summary.incident.id for summary in IncidentList(job.table, RULE.folder).summaries()] == [
        second_id,
        first_id,
    ]


def test_incident_that_expires_leaves_the_list() -> None:
    job = Job()
    _, second_id = job.signals_at(START, START + 2 * DAY)
    expire(job.table, RULE.folder, START + DAY)
    assert (
        [incident.incident.id for incident in IncidentList(job.table, RULE.folder).summaries()]
        == [second_id]
        == [incident.id for incident in job.incidents]
    )


def test_incident_is_found_by_its_id_with_its_own_alerts() -> None:
    job = Job()
    first_id, _, second_id = job.signals_at(START, START + HOUR, START + 2 * DAY)
    key, incident, alerts = IncidentList(job.table, RULE.folder).incident(first_id) or ((), None, [])
    assert (key, incident) == (account(), job.incidents[0])
    assert [(alert.incident, alert.action) for alert in alerts] == [
        (first_id, "opened"),
        (first_id, "updated"),
    ]
    assert first_id != second_id


def test_id_that_is_of_no_incident_is_not_found() -> None:
    assert IncidentList(Job().table, RULE.folder).incident("in_none") is None
