"""The list of incidents: kept beside them, so that thousands are read in a few requests."""

from datetime import timedelta

from detection.incidents.grouping import acknowledged
from detection.incidents.index import Index
from detection.incidents.table import Delete, MemoryTable, Put
from detection.record import RECORD, Failure
from tests.builders import ALICE, DAY, HOUR, RULE, START, account, change, closed_at_start, signal
from tests.test_incidents import BOB, Job

RECORDED = RECORD.dump_json(Failure(RULE.folder, START, "bug", "", None, 0.0))


def test_incidents_opened_last_are_first() -> None:
    job = Job()
    job.tells(START, [change("c", START)], [signal("s", START)])
    job.tells(START + HOUR, [change("d", START, BOB)], [signal("t", START, BOB)])
    assert [one.key for one in job.index.listed()] == [account(BOB), account(ALICE)]


def test_list_says_what_the_incident_says() -> None:
    job = Job()
    job.signals_at(START, START + HOUR)
    assert [one.incident for one in job.index.listed()] == job.incidents


def test_list_knows_what_was_done_and_has_no_history() -> None:
    job = Job()
    job.signals_at(START)
    job.index.amend(account(), lambda one: acknowledged(one, "eve", START, "x" * 9_000))
    (one,) = job.index.listed()
    assert (one.incident.status, one.incident.history) == ("acknowledged", ())


def test_key_is_listed_cut() -> None:
    job = Job()
    job.tells(START, [change("c", START, "x" * 60_000)], [signal("s", START, "x" * 60_000)])
    ((_, value),) = next(iter(job.index.listed())).key
    assert len(value) < 1_100


def test_next_incident_of_a_key_stands_beside_its_predecessor() -> None:
    job = Job()
    first, second = job.signals_at(START, START + 2 * DAY)
    assert [one.incident.id for one in job.index.listed()] == [second, first]


def test_incident_that_expires_leaves_the_list() -> None:
    job = Job()
    _, second = job.signals_at(START, START + 2 * DAY)
    job.index.expire(START + DAY)
    assert [one.incident.id for one in job.index.listed()] == [second] == [one.id for one in job.incidents]


def test_incident_is_found_by_its_id_with_its_own_alerts() -> None:
    job = Job()
    first, _, second = job.signals_at(START, START + HOUR, START + 2 * DAY)
    key, incident, alerts = job.index.incident(first) or ((), None, [])
    assert (key, incident) == (account(), job.incidents[0])
    assert [(one.incident, one.action) for one in alerts] == [(first, "opened"), (first, "updated")]
    assert first != second


def test_id_that_is_of_no_incident_is_not_found() -> None:
    assert Job().index.incident("in_none") is None


# -------------------------------------------------------------------------- a table of a version that kept no list


def former(job: Job) -> None:
    """The table as that version would have left it after a complete run."""
    for entity in job.table.scan(RULE.folder, "l|", "l}"):
        job.table.write(RULE.folder, [Delete(entity.row)])
    mark = job.table.get(RULE.folder, "w")
    assert mark
    values = {name: value for name, value in mark.values.items() if name != "listed"}
    job.table.write(RULE.folder, [Put("w", values)])


def finish(table: MemoryTable, days: int) -> None:
    index = Index(table, RULE.folder, f"run {days}")
    index.watermark()
    index.finish(START + timedelta(days=days), RECORDED, ())


def test_incidents_from_before_are_found_and_after_a_run_listed() -> None:
    job = Job()
    (name,) = job.signals_at(START)
    finish(job.table, 1)
    former(job)

    assert list(job.index.listed()) == []
    assert job.index.incident(name) is not None

    finish(job.table, 2)
    assert [one.incident for one in job.index.listed()] == job.incidents


def test_what_is_listed_already_stays_as_it_is() -> None:
    job = Job()
    job.signals_at(START)
    finish(job.table, 1)
    former(job)
    job.index.amend(account(), closed_at_start)

    finish(job.table, 2)

    assert [one.incident.status for one in job.index.listed()] == ["closed"]
