"""The list of incidents: its order, its pages and counts, and that thousands of incidents take few requests."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import chain, product

import pytest
from azure.data.tables import TableClient

from benchmarks.volume import CountingTable
from detection.desk import Desk
from detection.incidents.incident import Incident, Status
from detection.rules.model import SEVERITIES, Severity
from detection.store.azure_table import AzureTable
from detection.store.incident_list import (
    FILTERED_ROWS,
    HEAD_ROWS,
    MAX_COUNTED,
    MAX_FILTERED,
    POSITION,
    Count,
    IncidentList,
    Selection,
    read_page,
)
from detection.store.layout import IncidentSummary, delete_rows, incident_operations, summary_row
from detection.store.table import MemoryTable, Table
from tests.incidents.test_grouping import BOB, Job
from tests.support.azurite import new_name
from tests.support.builders import ALICE, DAY, HOUR, RULE, START, account, act, change, signal
from tests.support.retention import expire

OPEN: tuple[Status, ...] = ("new", "acknowledged")
EVERY_INCIDENT = Selection((*OPEN, "closed"))
ACKNOWLEDGED = Selection({"acknowledged"})


def summaries(job: Job) -> list[IncidentSummary]:
    page = read_page(job.table, [RULE.folder], EVERY_INCIDENT, size=1_000)
    return [summary for _, summary in page.summaries]


def test_incident_with_the_latest_alert_is_first() -> None:
    job = Job()
    job.commit_new(START, [change("c", START)], [signal("s", START)])
    job.commit_new(START + HOUR, [change("d", START, BOB)], [signal("t", START, BOB)])
    assert [summary.key for summary in summaries(job)] == [account(BOB), account(ALICE)]
    job.signals_at(START + 2 * HOUR)
    assert [summary.key for summary in summaries(job)] == [account(ALICE), account(BOB)]


def test_list_says_what_the_incident_says() -> None:
    job = Job()
    job.signals_at(START, START + HOUR)
    assert [summary.incident for summary in summaries(job)] == job.incidents


def test_list_knows_what_was_done_and_has_no_history() -> None:
    job = Job()
    job.signals_at(START)
    job.store.update(
        job.incidents[-1].id, lambda incident: act(incident, "acknowledged", "eve", START, "x" * 9_000)
    )
    (summary,) = summaries(job)
    assert (summary.incident.status, summary.incident.history) == ("acknowledged", ())


def test_key_is_listed_cut() -> None:
    job = Job()
    job.commit_new(START, [change("c", START, "x" * 60_000)], [signal("s", START, "x" * 60_000)])
    ((_, value),) = summaries(job)[0].key
    assert len(value) < 1_100


def test_next_incident_of_a_key_stands_beside_its_predecessor() -> None:
    job = Job()
    first_id, second_id = job.signals_at(START, START + 2 * DAY)
    assert [summary.incident.id for summary in summaries(job)] == [second_id, first_id]


def test_incident_that_expires_leaves_the_list() -> None:
    job = Job()
    _, second_id = job.signals_at(START, START + 2 * DAY)
    expire(job.table, RULE.folder, START + DAY)
    assert (
        [summary.incident.id for summary in summaries(job)]
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


# --------------------------------------------------------------------------------------------------------------- pages


def incident_at(number: int, severity: Severity = "High", status: Status = "new") -> Incident:
    """An incident whose latest alert is `number` seconds after START."""
    time = START + timedelta(seconds=number)
    return Incident(f"in_{number}", 1, time, time, 1, 1, None, status, severity=severity)


def write(table: Table, incidents: Sequence[Incident], rule: str = RULE.folder) -> None:
    for begin in range(0, len(incidents), 50):
        operations = [
            operation
            for incident in incidents[begin : begin + 50]
            for operation in incident_operations(account(), incident, None)
        ]
        table.write(rule, operations)


def ids_by_page(
    table: Table, selection: Selection, size: int = 3, rules: Sequence[str] = (RULE.folder,)
) -> list[list[str]]:
    """The ids of the incidents on each page."""
    page = read_page(table, rules, selection, size)
    pages = [page]
    while page.end is not None:
        assert POSITION.fullmatch(page.end)
        page = read_page(table, rules, selection, size, page.end)
        pages.append(page)
    return [[summary.incident.id for _, summary in page.summaries] for page in pages]


@pytest.fixture(params=["MemoryTable", "AzureTable"])
def table(request: pytest.FixtureRequest) -> Table:
    if request.param == "MemoryTable":
        return MemoryTable()
    on_azurite: Table = request.getfixturevalue("azure_table")
    return on_azurite


@pytest.mark.parametrize("severity", [None, "High", "Low"])
@pytest.mark.parametrize("statuses", [OPEN, ("new",), ("acknowledged",), ("closed",), (*OPEN, "closed")])
def test_pages_and_counts_are_those_of_the_filtered_and_sorted_incidents(
    table: Table, statuses: tuple[Status, ...], severity: Severity | None
) -> None:
    kinds = product(("High", "Informational", "Low"), ("closed", "acknowledged", "new"), range(2))
    incidents = [incident_at(n, level, status) for n, (level, status, _) in enumerate(kinds)]  # type: ignore[arg-type]
    write(table, incidents[::2], "first")
    write(table, incidents[1::2], "second")
    expected = sorted(
        (
            incident
            for incident in incidents
            if incident.status in statuses and severity in {None, incident.severity}
        ),
        key=lambda incident: (
            incident.status == "closed",
            -SEVERITIES.index(incident.severity or "High"),
            -incident.updated.timestamp(),
        ),
    )
    selection = Selection(statuses, severity)
    pages = ids_by_page(table, selection, rules=["first", "second"])
    assert list(chain(*pages)) == [incident.id for incident in expected]
    assert [len(page) for page in pages[:-1]] == [3] * (len(pages) - 1)
    assert pages[-1]
    head = read_page(table, ["first", "second"], selection, 3).head
    assert head.count(selection) == Count(len(expected), exact=True)


@pytest.mark.parametrize("severity", [None, "High", "Low"])
def test_selection_by_the_time_of_the_latest_alert_is_a_range_of_each_severity(
    table: Table, severity: Severity | None
) -> None:
    kinds = product(("High", "Informational", "Low"), ("closed", "new"), range(4))
    incidents = [incident_at(n, level, status) for n, (level, status, _) in enumerate(kinds)]  # type: ignore[arg-type]
    write(table, incidents)
    since, until = incidents[3].updated, incidents[17].updated
    selection = Selection((*OPEN, "closed"), severity, since, until)
    expected = {
        incident.id
        for incident in incidents
        if since <= incident.updated < until and severity in {None, incident.severity}
    }
    assert set(chain(*ids_by_page(table, selection))) == expected
    head = read_page(table, [RULE.folder], selection, 3).head
    assert head.count(selection) == Count(len(expected), exact=True)


def test_old_incidents_are_not_read_for_a_week() -> None:
    table = CountingTable(MemoryTable())
    write(table, [incident_at(number) for number in range(5_000)])
    selection = Selection(OPEN, since=incident_at(4_990).updated)
    table.requests = 0
    assert len(read_page(table, [RULE.folder], selection, 50).summaries) == 10
    assert table.requests <= 2 * (len(SEVERITIES) + 1)


def test_summaries_that_match_are_selected_and_the_page_says_where_it_ends(table: Table) -> None:
    write(table, [incident_at(number) for number in range(9)])
    selection = Selection(OPEN, matches=lambda _, summary: summary.incident.id in {"in_1", "in_7"})
    assert ids_by_page(table, selection, 1) == [["in_7"], ["in_1"]]


def test_summaries_name_their_rule(table: Table) -> None:
    for number, rule in enumerate(("first", "second", "third")):
        write(table, [incident_at(number)], rule)
    page = read_page(table, ["first", "second", "third"], EVERY_INCIDENT, 3)
    assert [(rule, summary.incident.id) for rule, summary in page.summaries] == [
        ("third", "in_2"),
        ("second", "in_1"),
        ("first", "in_0"),
    ]


def test_page_after_an_incident_that_is_gone_goes_on_at_its_place(table: Table) -> None:
    write(table, [incident_at(number) for number in range(5)])
    end = read_page(table, [RULE.folder], EVERY_INCIDENT, 2).end
    assert end == summary_row(incident_at(3)).removeprefix("l|")
    delete_rows(table, RULE.folder, [summary_row(incident_at(3))])
    page = read_page(table, [RULE.folder], EVERY_INCIDENT, 2, end)
    assert [summary.incident.id for _, summary in page.summaries] == ["in_2", "in_1"]


def test_acknowledged_incident_changes_no_place_and_a_closed_one_goes_to_the_end() -> None:
    job = Job()
    job.commit_new(START, [change("c", START)], [signal("s", START)])
    job.commit_new(START + HOUR, [change("d", START, BOB)], [signal("t", START, BOB)])
    alice, bob = sorted(job.incidents, key=lambda incident: incident.opened)
    job.store.update(bob.id, lambda incident: act(incident, "acknowledged", "eve", START))
    assert [summary.incident.id for summary in summaries(job)] == [bob.id, alice.id]
    job.store.update(bob.id, lambda incident: act(incident, "closed", "eve", START, classification="benign"))
    assert [summary.incident.id for summary in summaries(job)] == [alice.id, bob.id]
    assert len(list(job.table.scan(RULE.folder, "l|", "l}"))) == 2


# -------------------------------------------------------------------------------------------------------------- counts


def count(table: Table, *statuses: Status, severity: Severity | None = None) -> Count:
    return read_page(table, [RULE.folder], EVERY_INCIDENT, 50).head.count(Selection(statuses, severity))


def test_counts_of_many_incidents_are_those_of_the_first_thousand_in_the_order_of_the_list() -> None:
    table = MemoryTable()
    write(table, [incident_at(number, "High", "acknowledged") for number in range(30)])
    write(table, [incident_at(number, "Medium") for number in range(100, 170)])
    write(table, [incident_at(number, "High", "closed") for number in range(1_000, 2_000)])
    assert count(table, *OPEN) == Count(100, exact=True)
    assert count(table, "new") == Count(70, exact=True)
    assert count(table, "acknowledged") == Count(30, exact=True)
    assert count(table, *OPEN, severity="High") == Count(30, exact=True)
    assert count(table, *OPEN, severity="Low") == Count(0, exact=True)
    assert count(table, "closed") == Count(900, exact=False)
    assert count(table, "closed", severity="Low") == Count(0, exact=False)
    assert count(table, *OPEN, "closed") == Count(MAX_COUNTED, exact=False)


@pytest.mark.parametrize("incidents, is_exact", [(MAX_COUNTED - 1, True), (MAX_COUNTED, False)])
def test_count_of_fewer_than_a_thousand_is_exact(incidents: int, is_exact: bool) -> None:
    table = MemoryTable()
    write(table, [incident_at(number) for number in range(incidents)])
    assert count(table, *OPEN) == Count(incidents, is_exact)


# ------------------------------------------------------------------------------------------------------------ requests


@pytest.mark.parametrize("incidents, requests", [(0, 1), (HEAD_ROWS, 1), (HEAD_ROWS + 1, 2), (5_000, 2)])
@pytest.mark.parametrize("statuses", [OPEN, (*OPEN, "closed")])
def test_first_page_takes_a_request_and_a_longer_list_another_for_its_counts(
    statuses: tuple[Status, ...], incidents: int, requests: int
) -> None:
    table = CountingTable(MemoryTable())
    write(table, [incident_at(n, status="new" if n % 2 else "closed") for n in range(incidents)])
    table.requests = 0
    read_page(table, [RULE.folder], Selection(statuses), 50)
    assert table.requests == requests
    table.requests = 0
    read_page(table, [RULE.folder], Selection(statuses), 50, is_counted=False)
    assert table.requests == 1


@pytest.mark.parametrize("severity", [None, "High"])
def test_later_page_takes_as_few_requests_as_the_first(severity: Severity | None) -> None:
    table = CountingTable(MemoryTable())
    write(table, [incident_at(number) for number in range(5_000)])
    selection, end = Selection(OPEN, severity), summary_row(incident_at(2_000)).removeprefix("l|")
    table.requests = 0
    page = read_page(table, [RULE.folder], selection, 50, end)
    assert page.summaries[0][1].incident.id == "in_1999"
    assert table.requests == 2


def test_page_of_a_rare_status_looks_through_a_thousand_rows_and_says_where_it_ends() -> None:
    table = CountingTable(MemoryTable())
    write(table, [incident_at(n, status="new" if n else "acknowledged") for n in range(2 * MAX_FILTERED)])
    table.requests = 0
    pages = ids_by_page(table, ACKNOWLEDGED)
    assert pages == [[], ["in_0"]]
    assert table.requests <= 2 * (MAX_FILTERED // FILTERED_ROWS + 2)


def test_first_page_of_a_long_list_is_less_than_200_kb_on_the_wire(azurite: str) -> None:
    bodies: list[int] = []
    client = TableClient.from_connection_string(
        azurite,
        new_name(),
        raw_response_hook=lambda response: bodies.append(len(response.http_response.body())),
    )
    table = AzureTable(client)
    key = (("AccountUPN", "somebody.with.a.long.name@subsidiary.example.com"),)
    title = "somebody.with.a.long.name@subsidiary.example.com created an API key, then hit the content filter"
    for begin in range(0, 1_200, 50):
        incidents = [
            replace(incident_at(n), id=f"in_{n:032x}", title=title) for n in range(begin, begin + 50)
        ]
        table.write(
            RULE.folder,
            [operation for incident in incidents for operation in incident_operations(key, incident, None)],
        )
    bodies.clear()
    page = (
        Desk([RULE], table, (), lambda: START).for_list().incident_page(Selection(OPEN), 50, is_counted=False)
    )
    assert len(page.incidents) == 50
    assert len(bodies) == 1
    assert sum(bodies) < 200_000


def test_incident_takes_two_requests_by_its_id_and_one_if_there_is_none() -> None:
    table = CountingTable(MemoryTable())
    write(table, [incident_at(number) for number in range(2_000)])
    table.requests = 0
    assert IncidentList(table, RULE.folder).incident("in_1000")
    assert table.requests == 2
    assert IncidentList(table, RULE.folder).incident("in_none") is None
    assert table.requests == 3


def test_positions_sort_as_the_list_does() -> None:
    rows = [
        summary_row(incident_at(number, severity, status))
        for status in ("new", "closed")
        for severity in reversed(SEVERITIES)
        for number in (10**7, 10**6, 0)
    ]
    assert rows == sorted(rows)
