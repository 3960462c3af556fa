"""The double of the table service in the benchmarks: queries that the contract of the port does not make."""

from collections.abc import Iterator

import pytest
from azure.core.exceptions import HttpResponseError
from azure.data.tables import TableClient

from benchmarks.table_double import PAGE_ROWS, KeyFilter, RequestFailed, SortedTable, serving_table
from detection.store.layout import chunks
from detection.store.table import OPERATIONS, Delete, Put
from tests.support.azurite import connection_string
from tests.support.builders import START

ROWS = [f"{number:04}" for number in range(2 * PAGE_ROWS + 50)]


@pytest.fixture
def table() -> SortedTable:
    """A table with ROWS in the partition `p`, written from the last to the first, and a row in another."""
    table = SortedTable(START)
    for rows in chunks(ROWS[::-1], OPERATIONS):
        table.write("p", [Put(row, {"text": row, "number": 1}) for row in rows])
    table.write("q", [Put("0000", {})])
    return table


@pytest.fixture
def client(table: SortedTable) -> Iterator[TableClient]:
    with serving_table(table) as port:
        yield TableClient.from_connection_string(connection_string(port), "incidents")


def rows_of(client: TableClient, text: str) -> list[str]:
    return [entity["RowKey"] for entity in client.query_entities(f"PartitionKey eq 'p' and {text}")]


@pytest.mark.parametrize(
    "text, rows",
    [
        ("RowKey ge '0010' and RowKey lt '0012'", ROWS[10:12]),
        ("RowKey gt '0010' and RowKey le '0012'", ROWS[11:13]),
        ("(RowKey eq '2000' or RowKey eq '0001' or RowKey eq 'none')", [ROWS[1], ROWS[2000]]),
        ("(RowKey le '0001' or (RowKey ge '0001' and RowKey lt '0003'))", ROWS[:3]),
        ("RowKey ge '9'", []),
        ("RowKey ge ''", ROWS),
    ],
)
def test_query_returns_the_rows_of_its_filter_in_order(
    client: TableClient, text: str, rows: list[str]
) -> None:
    assert rows_of(client, text) == rows


def test_query_is_answered_in_pages_that_go_on_where_the_page_before_ended(client: TableClient) -> None:
    query = client.query_entities("PartitionKey eq 'p'").by_page()
    page_rows = [entity["RowKey"] for entity in next(query)]
    token = query.continuation_token  # type: ignore[attr-defined]
    rest = client.query_entities("PartitionKey eq 'p'").by_page(token)
    assert page_rows == ROWS[:PAGE_ROWS]
    assert [[entity["RowKey"] for entity in page] for page in rest] == [
        ROWS[PAGE_ROWS : 2 * PAGE_ROWS],
        ROWS[2 * PAGE_ROWS :],
    ]


def test_top_limits_a_page(client: TableClient) -> None:
    pages = client.query_entities("PartitionKey eq 'p'", results_per_page=7).by_page()
    assert [entity["RowKey"] for entity in next(pages)] == ROWS[:7]


def test_select_returns_the_chosen_properties(client: TableClient) -> None:
    entity = next(client.query_entities("PartitionKey eq 'p'", select=["RowKey", "number"]))
    assert dict(entity) == {"RowKey": "0000", "number": 1}
    assert dict(client.get_entity("p", "0001", select=["text"])) == {"text": "0001"}


def test_rows_stay_sorted_when_many_are_deleted(table: SortedTable) -> None:
    for rows in chunks(ROWS[3:], OPERATIONS):
        table.write("p", [Delete(row) for row in rows])
    assert [entity.row for entity in table.scan("p", "", "~")] == ROWS[:3]
    table.write("p", [Put("1500", {})])
    assert [entity.row for entity in table.scan("p", "0002", "~")] == ["0002", "1500"]


def test_request_that_the_double_does_not_know_is_refused(client: TableClient) -> None:
    with pytest.raises(HttpResponseError, match="NotImplemented"):
        list(client.query_entities("PartitionKey eq 'p' and number eq 1"))
    with pytest.raises(HttpResponseError, match="NotImplemented"):
        list(client.query_entities("RowKey eq '0001'"))


def test_filter_with_more_comparisons_than_the_service_allows_is_refused() -> None:
    rows = " or ".join(f"RowKey eq '{row}'" for row in ROWS[:15])
    with pytest.raises(RequestFailed):
        KeyFilter(f"PartitionKey eq 'p' and ({rows})").parse()
