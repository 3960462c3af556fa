"""The table in a storage account: against a real Azurite, and against answers that Azurite never gives.

What it has in common with the table in memory is in test_table.py.
"""

import base64
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Any

import azure.identity
import pytest
import requests
import responses
from azure.core.credentials import AccessToken
from azure.core.exceptions import ServiceResponseError
from azure.core.pipeline import PipelineResponse
from azure.core.pipeline.transport import RequestsTransport
from azure.data.tables import TableClient

from detection.base.errors import ConfigurationError, ServiceError, Unreachable
from detection.base.sign_in import PUBLIC_CLOUD, sign_in
from detection.incidents.decide import Circumstances, Verdict, decide
from detection.incidents.key_state import KeyState
from detection.store import azure_table
from detection.store.azure_table import EMPTY_PAGES, LONGEST_PAUSE, SETTINGS, AzureTable, open_table
from detection.store.incident_list import IncidentList
from detection.store.incident_store import IncidentStore
from detection.store.table import Conflict, Delete, Insert, Operation, Put, Replace, Table, Value
from tests.support.azurite import KEY, TlsEndpoint, connection_string, free_port, new_name
from tests.support.builders import (
    DAY,
    HOUR,
    RULE,
    START,
    account,
    chains,
    change,
    closed_at_start,
    first_windows,
    signal,
)
from tests.support.receiver import HANGING, receiving
from tests.support.retention import purge_marks

SERVICE = "https://account.table.core.windows.net"
IN_THE_CLOUD = (
    f"DefaultEndpointsProtocol=https;AccountName=account;AccountKey={KEY};EndpointSuffix=core.windows.net"
)
SIGNATURE = "c2lnbmF0dXJl"
ANY = re.compile(re.escape(SERVICE))
WRITERS = 16
HOSTILE = [
    "O'Brien",
    "' or PartitionKey ne '",
    "@first",
    "a b",
    "%2f%00",
    '+&=,;:|()$!*<>"`{}[]^~',
    "..",
    "ключ",
    "🔑",
    "\u202e",
]

Answers = list[PipelineResponse[Any, Any]]


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK repeats a request at once."""
    monkeypatch.setitem(SETTINGS, "retry_backoff_factor", 0)


@pytest.fixture
def service() -> Iterator[responses.RequestsMock]:
    """A table service that answers what a test tells it to."""
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture
def cloud_table(hasty: None, service: responses.RequestsMock) -> Table:
    return open_table(IN_THE_CLOUD, "incidents", None)


@pytest.fixture
def answers() -> Answers:
    """Every answer that the watched table got."""
    return []


@pytest.fixture
def watched_table(azurite: str, answers: Answers) -> Table:
    """A table on Azurite of which every answer is kept."""
    return AzureTable(
        TableClient.from_connection_string(azurite, new_name(), raw_response_hook=answers.append)
    )


def rows(table: Table, partition: str = "rule", start: str = "", end: str = "~") -> list[str]:
    return [entity.row for entity in table.scan(partition, start, end)]


def number(table: Table, row: str = "a") -> Value:
    entity = table.get("rule", row)
    assert entity is not None
    return entity.values["n"]


def at_once(work: Callable[[int], object]) -> list[object]:
    """What many threads get that do the same work; the error if one is raised."""

    def outcome(worker: int) -> object:
        try:
            return work(worker)
        except ServiceError as error:
            return type(error)

    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(outcome, range(WRITERS)))


def odata_error(code: str) -> dict[str, object]:
    return {"odata.error": {"code": code, "message": {"lang": "en-US", "value": "Something."}}}


# --------------------------------------------------------------------------------------------------- values and keys


@pytest.mark.parametrize("value", [2**31 - 1, 2**31, -(2**31) - 1, 2**63 - 1, -(2**63)])
def test_whole_numbers_of_64_bits_come_back(azure_table: Table, value: int) -> None:
    azure_table.write("rule", [Insert("a", {"n": value})])

    assert number(azure_table) == value


def test_text_that_looks_like_another_type_stays_text(azure_table: Table) -> None:
    values = {"a": "2026-01-01T00:00:00Z", "b": "1", "c": "true", "d": "AAEC"}
    azure_table.write("rule", [Insert("a", values)])

    entity = azure_table.get("rule", "a")

    assert entity is not None
    assert entity.values == values
    assert {type(value) for value in entity.values.values()} == {str}


@pytest.mark.parametrize("key", HOSTILE)
def test_a_hostile_row_is_written_replaced_and_removed(azure_table: Table, key: str) -> None:
    azure_table.write("rule", [Insert(key, {"n": 1})])
    entity = azure_table.get("rule", key)
    assert entity is not None
    azure_table.write("rule", [Replace(key, {"n": 2}, entity.version), Put(f"{key}+", {})])
    assert number(azure_table, key) == 2

    azure_table.write("rule", [Delete(key)])

    assert azure_table.get("rule", key) is None


@pytest.mark.parametrize("key", HOSTILE)
def test_a_scan_with_hostile_bounds_returns_its_range_and_no_more(azure_table: Table, key: str) -> None:
    azure_table.write("other", [Put("secret", {})])
    azure_table.write(key, [Put(key, {}), Put(f"{key}+", {}), Put(f"{key}-", {})])

    assert rows(azure_table, key, key, f"{key}-") == [key, f"{key}+"]


def test_keys_are_ordered_by_their_characters(azure_table: Table) -> None:
    keys = ["Z", "a", "_", "é", "0", "10", "2", "|", "a|b", "aa", "B"]
    azure_table.write("rule", [Put(key, {}) for key in keys])

    assert rows(azure_table, end="я") == sorted(keys)


def test_a_scan_reads_page_after_page(azure_table: Table) -> None:
    keys = [f"{place:04}" for place in range(1_100)]
    for start in range(0, len(keys), 100):
        azure_table.write("rule", [Put(key, {}) for key in keys[start : start + 100]])

    assert rows(azure_table) == keys


def test_rows_of_750_000_bytes_fit_until_the_request_is_full(azure_table: Table) -> None:
    large: dict[str, Value] = {f"b{place}": bytes(range(250)) * 250 for place in range(12)}

    azure_table.write("rule", [Put(row, large) for row in "abcd"])

    assert [entity.values for entity in azure_table.scan("rule", "", "~")] == [large] * 4


# ----------------------------------------------------------------------------------------------- versions and writers


def test_quick_writes_have_versions_of_their_own(azure_table: Table) -> None:
    def version(place: int) -> str:
        azure_table.write("rule", [Put("a", {"n": place})])
        entity = azure_table.get("rule", "a")
        assert entity is not None
        return entity.version

    assert len({version(place) for place in range(50)}) == 50


def test_of_many_that_insert_a_row_one_wins(azurite: str) -> None:
    name = new_name()

    outcomes = at_once(lambda n: open_table(azurite, name, None).write("rule", [Insert("a", {"n": n})]))

    assert outcomes.count(None) == 1
    assert outcomes.count(Conflict) == WRITERS - 1
    assert number(open_table(azurite, name, None)) == outcomes.index(None)


def test_no_update_of_many_is_lost(azure_table: Table) -> None:
    azure_table.write("rule", [Insert("a", {"n": 0})])

    def increment(_: int) -> None:
        entity = azure_table.get("rule", "a")
        assert entity is not None
        azure_table.write("rule", [Replace("a", {"n": int(entity.values["n"]) + 1}, entity.version)])

    outcomes = [outcome for _ in range(5) for outcome in at_once(increment)]

    assert number(azure_table) == outcomes.count(None)
    assert set(outcomes) <= {None, Conflict}


# --------------------------------------------------------------------------------- removing rows that are not there


def test_rows_that_are_gone_do_not_keep_others_from_being_removed(azure_table: Table) -> None:
    azure_table.write("rule", [Put(f"{place:03}", {}) for place in range(0, 100, 3)])

    azure_table.write("rule", [Delete(f"{place:03}") for place in range(100)])

    assert rows(azure_table) == []


@pytest.mark.parametrize("gone, queries", [(1, 1), (14, 1), (50, 4), (99, 8)])
def test_rows_that_are_gone_cost_a_query_for_each_fourteen_and_a_second_write(
    watched_table: Table, answers: Answers, gone: int, queries: int
) -> None:
    watched_table.write("rule", [Put("a", {})])
    answers.clear()

    watched_table.write("rule", [Put("b", {}), *(Delete(f"c{place}") for place in range(gone))])

    assert len(answers) == 1 + queries + 1  # refused, which rows there are, again


def test_rows_that_are_all_gone_are_no_error(azure_table: Table) -> None:
    azure_table.write("rule", [Put("z", {})])

    azure_table.write("rule", [Delete("a"), Delete("b")])

    assert rows(azure_table) == ["z"]


@pytest.mark.parametrize("refused", [Insert("z", {}), Replace("z", {}, 'W/"1"'), Replace("y", {}, 'W/"1"')])
def test_a_conflict_next_to_a_row_that_is_gone_is_a_conflict(azure_table: Table, refused: Operation) -> None:
    azure_table.write("rule", [Put("z", {"n": 1})])

    with pytest.raises(Conflict):
        azure_table.write("rule", [Delete("a"), Put("b", {}), refused])

    assert rows(azure_table) == ["z"]


# ------------------------------------------------------------------------------------------------ the table itself


def test_reading_makes_no_table(watched_table: Table, answers: Answers) -> None:
    assert watched_table.get("rule", "a") is None
    assert rows(watched_table) == []
    assert [answer.http_response.status_code for answer in answers] == [404, 404]


def test_table_that_answered_before_is_not_taken_for_one_that_does_not_exist(
    cloud_table: Table, service: responses.RequestsMock
) -> None:
    service.get(ANY, json={"value": []})
    service.get(ANY, status=404, json=odata_error("TableNotFound"))
    assert rows(cloud_table) == []

    with pytest.raises(ServiceError, match="404 TableNotFound"):
        rows(cloud_table)
    with pytest.raises(ServiceError, match="404 TableNotFound"):
        cloud_table.get("rule", "a")


def test_row_that_is_not_there_is_none_in_a_table_that_answered_before(
    cloud_table: Table, service: responses.RequestsMock
) -> None:
    service.get(ANY, json={"value": []})
    service.get(ANY, status=404, json=odata_error("ResourceNotFound"))
    assert rows(cloud_table) == []

    assert cloud_table.get("rule", "a") is None


@pytest.mark.parametrize("keys", [["b"], ["a", "c"], ["aa", "ab", "aa"], ["aa", "aa"]])
def test_scan_with_rows_outside_its_range_or_out_of_order_is_a_service_error(
    cloud_table: Table, service: responses.RequestsMock, keys: Sequence[str]
) -> None:
    service.get(ANY, json={"value": [ROW | {"RowKey": key} for key in keys]})

    with pytest.raises(ServiceError, match="range"):
        rows(cloud_table, start="aa", end="b")


def test_the_first_write_makes_the_table(watched_table: Table, answers: Answers) -> None:
    watched_table.write("rule", [Insert("a", {"n": 1})])

    assert number(watched_table) == 1
    assert len(answers) == 4  # not there, made, written; read


def test_a_table_that_another_run_has_just_made_is_taken(
    cloud_table: Table, service: responses.RequestsMock
) -> None:
    service.post(f"{SERVICE}/$batch", status=404, json=odata_error("TableNotFound"))
    service.post(f"{SERVICE}/Tables", status=409, json=odata_error("TableAlreadyExists"))
    service.post(f"{SERVICE}/$batch", status=403, json=odata_error("WhatComesNext"))

    with pytest.raises(ConfigurationError, match="WhatComesNext"):
        cloud_table.write("rule", [Put("a", {})])


def test_a_table_that_is_gone_again_is_not_made_for_ever(
    cloud_table: Table, service: responses.RequestsMock
) -> None:
    service.post(f"{SERVICE}/$batch", status=404, json=odata_error("TableNotFound"))
    service.post(f"{SERVICE}/Tables", status=201, json={"TableName": "incidents"})

    with pytest.raises(ServiceError, match="404 TableNotFound"):
        cloud_table.write("rule", [Put("a", {})])

    assert len(service.calls) == 3


@pytest.mark.parametrize("operations", [[Put("a", {})], [Put("a", {}), Put("b", {})]], ids=["one", "two"])
def test_a_write_is_one_request(
    watched_table: Table, answers: Answers, operations: Sequence[Operation]
) -> None:
    watched_table.write("rule", [Put("z", {})])
    answers.clear()

    watched_table.write("rule", operations)

    assert len(answers) == 1


@pytest.mark.parametrize(
    "header, date", [("Mon, 02 Mar 2026 10:00:00 GMT", START), ("yesterday", None), ("", None)]
)
def test_date_is_that_of_the_last_response(
    cloud_table: Table, service: responses.RequestsMock, header: str, date: datetime | None
) -> None:
    service.get(ANY, status=404, json=odata_error("ResourceNotFound"), headers={"Date": header})
    assert cloud_table.date() is None

    cloud_table.get("rule", "a")

    assert cloud_table.date() == date


def test_row_has_the_time_of_its_write_by_the_clock_that_dates_responses(azure_table: Table) -> None:
    azure_table.write("rule", [Put("a", {})])
    written = azure_table.date()
    entity = azure_table.get("rule", "a")
    (scanned,) = azure_table.scan("rule", "a", "b")

    assert written
    assert entity
    assert entity.written
    assert abs(entity.written - written) < timedelta(minutes=1)
    assert scanned.written == entity.written


def test_a_table_that_is_being_deleted_is_a_service_error(
    cloud_table: Table, service: responses.RequestsMock
) -> None:
    service.post(f"{SERVICE}/$batch", status=404, json=odata_error("TableNotFound"))
    service.post(f"{SERVICE}/Tables", status=409, json=odata_error("TableBeingDeleted"))

    with pytest.raises(ServiceError, match="409 TableBeingDeleted") as caught:
        cloud_table.write("rule", [Put("a", {})])

    assert not isinstance(caught.value, Conflict)


# ------------------------------------------------------------------------------------------ a service that has trouble


def test_a_busy_service_is_asked_again(cloud_table: Table, service: responses.RequestsMock) -> None:
    service.get(ANY, status=503, json=odata_error("ServerBusy"))
    service.get(ANY, json={"PartitionKey": "rule", "RowKey": "a", "odata.etag": "1", "n": 7})

    assert number(cloud_table) == 7


@pytest.mark.parametrize(
    "status, code", [(500, "OperationTimedOut"), (503, "ServerBusy"), (429, "TooManyRequests")]
)
def test_a_service_that_stays_in_trouble_is_a_service_error(
    cloud_table: Table, service: responses.RequestsMock, status: int, code: str
) -> None:
    service.get(ANY, status=status, json=odata_error(code))

    with pytest.raises(ServiceError, match=f"{status} {code}"):
        cloud_table.get("rule", "a")

    assert len(service.calls) == 4


def test_a_pause_that_the_service_asks_for_is_cut(
    service: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(RequestsTransport, "sleep", lambda _, seconds: slept.append(seconds))
    error = odata_error("ServerBusy")
    service.get(ANY, status=503, json=error, headers={"Retry-After": "600"})

    with pytest.raises(ServiceError, match="503 ServerBusy"):
        open_table(IN_THE_CLOUD, "incidents", None).get("rule", "a")

    assert slept == [LONGEST_PAUSE] * 3


@pytest.mark.usefixtures("hasty")
def test_a_service_that_never_answers_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(azure_table, "READ_TIMEOUT", 0.1)
    with receiving() as receiver:
        receiver.default_answer = HANGING
        table = open_table(connection_string(receiver.server_port), "incidents", None)

        with pytest.raises(Unreachable, match="ServiceResponseTimeoutError"):
            table.get("rule", "a")

        assert len(receiver.requests) == 3


def test_a_transaction_that_always_times_out_is_a_service_error(
    cloud_table: Table, service: responses.RequestsMock
) -> None:
    service.post(f"{SERVICE}/$batch", status=500, json=odata_error("OperationTimedOut"))

    with pytest.raises(ServiceError, match="500 OperationTimedOut"):
        cloud_table.write("rule", [Put("a", {}), Put("b", {})])

    assert len(service.calls) == 4


@pytest.mark.parametrize(
    "error",
    [requests.ConnectionError, requests.ConnectTimeout, requests.ReadTimeout, requests.exceptions.SSLError],
)
def test_a_service_that_cannot_be_reached_is_a_service_error(
    cloud_table: Table, service: responses.RequestsMock, error: type[Exception]
) -> None:
    service.get(ANY, body=error("boom"))
    service.post(f"{SERVICE}/$batch", body=error("boom"))

    with pytest.raises(ServiceError):
        cloud_table.get("rule", "a")
    with pytest.raises(ServiceError):
        rows(cloud_table)
    with pytest.raises(ServiceError):
        cloud_table.write("rule", [Put("a", {})])


@pytest.mark.parametrize("content_type", ["text/html", "application/json"])
def test_a_page_that_is_no_answer_is_a_service_error(
    cloud_table: Table, service: responses.RequestsMock, content_type: str
) -> None:
    page = "<html>Sign in to the network</html>"
    service.get(ANY, body=page, content_type=content_type)
    service.post(ANY, status=202, body=page, content_type=content_type)

    with pytest.raises(ServiceError):
        cloud_table.get("rule", "a")
    with pytest.raises(ServiceError):
        rows(cloud_table)
    with pytest.raises(ServiceError):
        cloud_table.write("rule", [Put("a", {})])


ROW = {"PartitionKey": "rule", "RowKey": "a", "odata.etag": "1"}


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"value": None},
        {"value": [None]},
        {"value": [{"RowKey": 5, "odata.etag": "1"}]},
        {"value": [{"RowKey": "a"}]},
        {"value": [ROW | {"n": {"x": 1}}]},
        {"value": [ROW | {"Timestamp": 7}]},
    ],
)
def test_rows_of_the_wrong_shape_are_a_service_error(
    cloud_table: Table, service: responses.RequestsMock, body: object
) -> None:
    service.get(ANY, json=body)

    with pytest.raises(ServiceError, match="cannot read"):
        rows(cloud_table)


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"RowKey": "a"},
        ROW | {"n": None},
        ROW | {"n": 1.5},
        ROW | {"n": "x", "n@odata.type": "Edm.Int64"},
    ],
)
def test_row_of_the_wrong_shape_is_a_service_error(
    cloud_table: Table, service: responses.RequestsMock, body: object
) -> None:
    service.get(ANY, json=body)

    with pytest.raises(ServiceError, match="cannot read"):
        cloud_table.get("rule", "a")


def test_another_row_than_the_one_that_was_read_is_a_service_error(
    cloud_table: Table, service: responses.RequestsMock
) -> None:
    service.get(ANY, json=ROW | {"RowKey": "b"})

    with pytest.raises(ServiceError, match="another row"):
        cloud_table.get("rule", "a")


@pytest.mark.parametrize("status", [400, 403, 404, 409, 412])
@pytest.mark.parametrize("body", [{"odata.error": None}, {"odata.error": {"code": 5, "message": "x"}}])
def test_error_of_the_wrong_shape_is_a_service_error(
    cloud_table: Table, service: responses.RequestsMock, status: int, body: object
) -> None:
    service.get(ANY, status=status, json=body)

    with pytest.raises(ServiceError, match="cannot read") as caught:
        cloud_table.get("rule", "a")

    assert not isinstance(caught.value, Conflict)


@pytest.mark.parametrize("operation", [Put("a", {}), Delete("a")], ids=["put", "delete"])
@pytest.mark.parametrize("status", [404, 409, 412])
def test_error_without_a_code_is_not_a_conflict(
    cloud_table: Table, service: responses.RequestsMock, status: int, operation: Operation
) -> None:
    service.post(ANY, status=status, body="<html>Not here</html>", content_type="text/html")

    with pytest.raises(ServiceError, match=f"{status}") as caught:
        cloud_table.write("rule", [operation])

    assert not isinstance(caught.value, Conflict)
    assert len(service.calls) == 1


@pytest.mark.parametrize("results", [0, 1, 3])
def test_transaction_without_one_result_for_each_operation_is_a_service_error(
    cloud_table: Table, service: responses.RequestsMock, results: int
) -> None:
    service.post(ANY, **accepted_transaction(results))

    with pytest.raises(ServiceError, match=f"{results} results for a transaction of 2 operations"):
        cloud_table.write("rule", [Put("a", {}), Put("b", {})])


def test_transaction_with_one_result_for_each_operation_is_written(
    cloud_table: Table, service: responses.RequestsMock
) -> None:
    service.post(ANY, **accepted_transaction(2))

    cloud_table.write("rule", [Put("a", {}), Put("b", {})])


def accepted_transaction(results: int) -> dict[str, Any]:
    """The response to a transaction, with this number of results."""
    result = "--c\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n\r\n"
    changeset = (
        f"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n{result * results}--c--\r\n--b--\r\n"
    )
    return {"status": 202, "body": changeset, "content_type": "multipart/mixed; boundary=b"}


def test_a_torn_answer_to_a_transaction_is_a_service_error(
    cloud_table: Table, service: responses.RequestsMock
) -> None:
    part = "--b\r\nContent-Type: application/http\r\n\r\nHTT\r\n--b--\r\n"
    service.post(ANY, status=202, body=part, content_type="multipart/mixed; boundary=b")

    with pytest.raises(ServiceError):
        cloud_table.write("rule", [Put("a", {})])


@pytest.mark.usefixtures("hasty")
def test_a_server_that_is_gone_is_a_service_error() -> None:
    table = open_table(connection_string(free_port()), new_name(), None)

    with pytest.raises(ServiceError, match="ServiceRequestError"):
        table.get("rule", "a")


def continuation(token: str) -> dict[str, str]:
    """The headers of a page that is not the last."""
    return {"x-ms-continuation-NextPartitionKey": "P", "x-ms-continuation-NextRowKey": token}


def test_an_empty_page_does_not_end_a_scan(cloud_table: Table, service: responses.RequestsMock) -> None:
    service.get(ANY, json={"value": []}, headers=continuation("R1"))
    service.get(ANY, json={"value": [{"RowKey": "a", "odata.etag": "1"}]}, headers=continuation("R2"))
    service.get(ANY, json={"value": []}, headers=continuation("R3"))
    service.get(ANY, json={"value": [{"RowKey": "b", "odata.etag": "1"}]})

    assert rows(cloud_table) == ["a", "b"]
    assert "NextPartitionKey=P&NextRowKey=R3" in str(service.calls[3].request.url)


@pytest.mark.parametrize("tokens", [["R1"], ["R1", "R2"]])
def test_empty_pages_whose_continuation_token_repeats_are_a_service_error(
    cloud_table: Table, service: responses.RequestsMock, tokens: Sequence[str]
) -> None:
    for token in [*tokens, *tokens]:
        service.get(ANY, json={"value": []}, headers=continuation(token))
    service.get(ANY, status=400, json=odata_error("InvalidInput"))

    service.assert_all_requests_are_fired = False
    with pytest.raises(ServiceError, match="repeats a continuation token"):
        rows(cloud_table)
    assert len(service.calls) == len(tokens) + 1


@pytest.mark.parametrize("empty_pages, is_failing", [(EMPTY_PAGES, False), (EMPTY_PAGES + 1, True)])
def test_scan_of_empty_pages_with_ever_new_tokens_ends(
    cloud_table: Table, service: responses.RequestsMock, empty_pages: int, is_failing: bool
) -> None:
    for number in range(empty_pages):
        service.get(ANY, json={"value": []}, headers=continuation(f"R{number}"))
    service.get(ANY, json={"value": [{"RowKey": "b", "odata.etag": "1"}]})

    service.assert_all_requests_are_fired = False
    with pytest.raises(ServiceError, match="empty pages in a row") if is_failing else nullcontext():
        assert rows(cloud_table) == ["b"]
    assert len(service.calls) == EMPTY_PAGES + 1


def test_missing_rows_whose_continuation_token_repeats_are_a_service_error(
    cloud_table: Table, service: responses.RequestsMock
) -> None:
    service.post(f"{SERVICE}/$batch", status=404, json=odata_error("ResourceNotFound"))
    for _ in range(10):
        service.get(ANY, json={"value": []}, headers=continuation("R"))
    service.get(ANY, status=400, json=odata_error("InvalidInput"))

    service.assert_all_requests_are_fired = False
    with pytest.raises(ServiceError, match="repeats a continuation token"):
        cloud_table.write("rule", [Delete("a")])


def test_a_scan_that_breaks_off_is_a_service_error(
    cloud_table: Table, service: responses.RequestsMock
) -> None:
    service.get(ANY, json={"value": [{"RowKey": "a", "odata.etag": "1"}]}, headers=continuation("R"))
    service.get(ANY, status=500, json=odata_error("OperationTimedOut"))

    with pytest.raises(ServiceError, match="OperationTimedOut"):
        rows(cloud_table)


# ------------------------------------------------------------------------------------------------------- who may enter


def test_a_wrong_key_is_a_mistake_in_the_settings(azurite: str) -> None:
    wrong = base64.b64encode(b"another key").decode()
    table = open_table(azurite.replace(KEY, wrong), new_name(), None)

    with pytest.raises(ConfigurationError, match="account key is wrong") as caught:
        table.get("rule", "a")

    assert wrong not in str(caught.value)


@pytest.mark.parametrize(
    "status, code, reason",
    [
        (403, "AuthenticationFailed", "the account key is wrong"),
        (403, "AuthorizationFailure", "does not allow this network"),
        (403, "KeyBasedAuthenticationNotPermitted", "allows no account keys"),
        (403, "AccountIsDisabled", "the error code names the reason"),
        (403, "", "a proxy or firewall"),
        (401, "", "a proxy or firewall"),
    ],
)
def test_refused_account_key_is_wrong_only_if_the_error_code_says_so(
    cloud_table: Table, service: responses.RequestsMock, status: int, code: str, reason: str
) -> None:
    service.get(ANY, status=status, json=odata_error(code) if code else {})

    with pytest.raises(ConfigurationError, match=reason) as caught:
        cloud_table.get("rule", "a")

    assert code in str(caught.value)
    assert ("key is wrong or replaced" in str(caught.value)) == (code == "AuthenticationFailed")


def test_a_damaged_key_is_a_mistake_in_the_settings(azurite: str) -> None:
    table = open_table(azurite.replace(KEY, "broken"), new_name(), None)

    with pytest.raises(ConfigurationError, match="is damaged") as caught:
        table.write("rule", [Put("a", {})])

    assert "broken" not in str(caught.value)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    "answer", [{"status": 403, "json": odata_error("AuthorizationFailure")}, {"body": None}]
)
def test_no_error_shows_a_signature(service: responses.RequestsMock, answer: dict[str, Any]) -> None:
    storage = f"TableEndpoint={SERVICE};SharedAccessSignature=sv=2019-02-02&sig={SIGNATURE}"
    broken = requests.ConnectionError(f"Max retries exceeded with url: /incidents?sig={SIGNATURE}")
    service.get(ANY, **(answer | ({"body": broken} if "body" in answer else {})))

    with pytest.raises((ConfigurationError, ServiceError)) as caught:
        open_table(storage, "incidents", None).get("rule", "a")

    assert SIGNATURE not in str(caught.value)
    assert caught.value.__suppress_context__  # a traceback does not show the SDK's error either


class SignedIdentity:
    """A credential with a token that Azurite believes: it does not check who signed it."""

    def __init__(self, **claims: object) -> None:
        now = int(time.time())
        tenant = "ab1f708d-50f6-404c-a006-d71b2ac7a606"
        default_claims = {"aud": "https://storage.azure.com", "iss": f"https://sts.windows.net/{tenant}/"}
        times = {"iat": now - 10, "nbf": now - 10, "exp": now + 3600}
        self._token = ".".join(map(encoded, ({"alg": "RS256"}, default_claims | times | claims, "signature")))

    def get_token(self, *scopes: str, **_: object) -> AccessToken:
        assert scopes == ("https://storage.azure.com/.default",)
        return AccessToken(self._token, int(time.time()) + 3600)


def encoded(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


@pytest.fixture
def enter_as(
    azurite_over_tls: TlsEndpoint, monkeypatch: pytest.MonkeyPatch
) -> Callable[[SignedIdentity], Table]:
    """Opens a table with the managed identity of the app."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(azurite_over_tls.certificate))

    def enter(identity: SignedIdentity) -> Table:
        monkeypatch.setattr(azure.identity, "ManagedIdentityCredential", lambda **_: identity)
        return open_table(azurite_over_tls.url, new_name(), "client id")

    return enter


def test_an_identity_writes_and_reads(enter_as: Callable[[SignedIdentity], Table]) -> None:
    table = enter_as(SignedIdentity())

    table.write("rule", [Insert("a", {"n": 1}), Put("b", {})])

    assert rows(table) == ["a", "b"]
    assert number(table) == 1


@pytest.mark.parametrize(
    "claims", [{"exp": 1}, {"aud": "https://vault.azure.net"}], ids=["expired", "audience"]
)
def test_an_identity_that_is_refused_is_told_which_role_it_needs(
    enter_as: Callable[[SignedIdentity], Table], claims: dict[str, object]
) -> None:
    table = enter_as(SignedIdentity(**claims))

    with pytest.raises(ConfigurationError, match=r"Storage Table Data Contributor.*an hour"):
        table.write("rule", [Put("a", {})])


def test_an_identity_that_is_not_there_is_a_mistake_in_the_settings(
    azurite_over_tls: TlsEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    class MissingIdentity:
        def get_token(self, *_: str, **__: object) -> AccessToken:
            raise azure.identity.CredentialUnavailableError("no identity answers")

    monkeypatch.setattr(azure.identity, "DefaultAzureCredential", lambda **_: MissingIdentity())

    with pytest.raises(ConfigurationError, match="AZURE_CLIENT_ID"):
        open_table(azurite_over_tls.url, new_name(), None).get("rule", "a")


# ------------------------------------------------------------------------------------------------------------- opening


def table_client(storage: str, client_id: str | None = None) -> TableClient:
    table = open_table(storage, "incidents", client_id)
    assert isinstance(table, AzureTable)
    return table._client


@pytest.mark.parametrize("storage", ["UseDevelopmentStorage=true", "usedevelopmentstorage=true;"])
def test_development_storage_is_azurites_own_port(storage: str) -> None:
    assert table_client(storage).url == "http://127.0.0.1:10002/devstoreaccount1"


def test_client_id_and_cloud_choose_the_identity() -> None:
    assert table_client(SERVICE, "client id").credential is sign_in("client id", PUBLIC_CLOUD)
    government = "https://account.table.core.usgovcloudapi.net"
    assert table_client(government).credential is sign_in(None, "login.microsoftonline.us")


@pytest.mark.parametrize(
    "suffix, audience",
    [
        ("core.windows.net", "https://storage.azure.com"),
        ("core.usgovcloudapi.net", "https://storage.azure.us"),
        ("core.chinacloudapi.cn", "https://storage.azure.cn"),
    ],
)
def test_each_cloud_has_its_audience(
    service: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch, suffix: str, audience: str
) -> None:
    requested_scopes: list[str] = []

    class Token:
        def get_token(self, *scopes: str, **_: object) -> AccessToken:
            requested_scopes.extend(scopes)
            return AccessToken("token", int(time.time()) + 3600)

    monkeypatch.setattr(azure.identity, "DefaultAzureCredential", lambda **_: Token())
    service.get(re.compile(rf"https://account\.table\.{suffix}/"), json={"value": []})

    rows(open_table(f"https://account.table.{suffix}", "incidents", None))

    assert requested_scopes == [f"{audience}/.default"]


@pytest.mark.parametrize(
    "storage",
    [
        "",
        "secret",
        "AccountName=account;AccountKey=",
        "AccountName=account;SomeKey=secret",
        "http://account.table.core.windows.net",
        f"{SERVICE}/?sv=1&sig=secret",
        "https://secret@account.table.core.windows.net",
        "https://[secret",
    ],
)
def test_what_is_no_storage_is_refused_and_not_shown(storage: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_table(storage, "incidents", None)

    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_identities_are_loaded_only_when_they_are_needed() -> None:
    program = "import sys, detection.store.azure_table; sys.exit('azure.identity' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# --------------------------------------------------------------------------------------------------- the index on it


@pytest.fixture(params=["timed out", "reset"])
def lossy_table(azurite: str, request: pytest.FixtureRequest) -> Table:
    """A table whose next transaction comes through, but whose answer gets lost on the way."""
    faults: list[str] = []

    def lose(answer: PipelineResponse[Any, Any]) -> None:
        if not faults or answer.http_request.method != "POST":
            return
        answer.http_response.read()
        if faults.pop() == "reset":
            raise ServiceResponseError("connection reset by peer")
        answer.http_response.status_code = 500

    client = TableClient.from_connection_string(azurite, new_name(), raw_response_hook=lose)
    client.create_table()
    faults.append(request.param)
    return AzureTable(client)


def commit_signals(store: IncidentStore, *signals: str, now: datetime = START) -> Verdict | None:
    """Tells signals that follow a change, as a run at `now` does."""
    actor_chains = chains([change("c", now - HOUR)], [signal(signal_id, now) for signal_id in signals])
    verdict = decide(
        actor_chains, Circumstances(RULE, first_windows(now)), store.load([account()])[account()]
    )
    if verdict:
        store.commit([store.prepare(verdict)])
    return verdict


@pytest.fixture
def store(azure_table: Table) -> IncidentStore:
    return IncidentStore(azure_table, "rule", "run")


def mark_counts(state: KeyState) -> tuple[int, int]:
    return len(state.changes), len(state.signals)


def test_an_insert_whose_answer_was_lost_is_a_conflict(lossy_table: Table) -> None:
    with pytest.raises(Conflict):
        lossy_table.write("rule", [Insert("a", {"n": 1})])

    assert number(lossy_table) == 1


def test_a_removal_whose_answer_was_lost_is_no_error(lossy_table: Table) -> None:
    lossy_table.write("rule", [Put("b", {}), Delete("a")])

    assert rows(lossy_table) == ["b"]


def test_a_commit_whose_answer_was_lost_is_a_commit(lossy_table: Table) -> None:
    store = IncidentStore(lossy_table, "rule", "run")

    assert commit_signals(store, "s")

    assert len(list(IncidentList(store.table, store.rule).alerts())) == 1


def test_what_was_committed_is_recalled(store: IncidentStore) -> None:
    verdict = commit_signals(store, "s1", "s2")

    state = store.load([account()])[account()]
    assert verdict is not None
    assert mark_counts(state) == (1, 2)
    assert state.incident == verdict.state.incident
    assert commit_signals(store, "s1", "s2") is None


def test_of_two_runs_that_judge_a_key_one_commits(azure_table: Table) -> None:
    first_store, second_store = (IncidentStore(azure_table, "rule", token) for token in ("one", "two"))
    actor_chains = chains([change("c", START - HOUR)], [signal("s", START)])
    verdict = decide(
        actor_chains, Circumstances(RULE, first_windows()), second_store.load([account()])[account()]
    )
    assert verdict
    commit_signals(first_store, "s")

    with pytest.raises(Conflict):
        second_store.commit([second_store.prepare(verdict)])

    assert len(list(IncidentList(first_store.table, first_store.rule).alerts())) == 1


def test_a_closed_incident_is_followed_by_the_next(store: IncidentStore) -> None:
    commit_signals(store, "s1")
    [(_, first_incident)] = IncidentList(store.table, store.rule).incidents()
    store.update(first_incident.id, closed_at_start)

    commit_signals(store, "s2", now=START + HOUR)

    assert [
        (incident.number, incident.status)
        for _, incident in IncidentList(store.table, store.rule).incidents()
    ] == [
        (1, "closed"),
        (2, "new"),
    ]


def test_marks_go_with_their_day(store: IncidentStore) -> None:
    commit_signals(store, "s1")
    commit_signals(store, "s2", now=START + 10 * DAY)

    assert purge_marks(store.table, store.rule, START + 5 * DAY) == 1

    assert mark_counts(store.load([account()])[account()]) == (1, 1)
    assert purge_marks(store.table, store.rule, START + 5 * DAY) == 0


def test_the_watermark_moves_forward(azure_table: Table) -> None:
    for now in (START, START + HOUR, START - HOUR):
        store = IncidentStore(azure_table, "rule", f"run {now}")
        store.watermark()
        store.finish(now, b"{}")

    assert IncidentStore(azure_table, "rule", "reader").watermark() == START + HOUR


def test_two_runs_that_finish_at_once_both_do(azure_table: Table) -> None:
    first_store, second_store = (IncidentStore(azure_table, "rule", token) for token in ("one", "two"))
    first_store.watermark()
    second_store.watermark()

    first_store.finish(START + HOUR, b"{}")
    second_store.finish(START, b"{}")

    assert IncidentStore(azure_table, "rule", "reader").watermark() == START + HOUR


def test_a_quiet_run_reads_and_writes_the_watermark_in_a_request_each(
    watched_table: Table, answers: Answers
) -> None:
    IncidentStore(watched_table, "rule", "before").finish(START - HOUR, b"{}")
    answers.clear()
    store = IncidentStore(watched_table, "rule", "run")

    store.watermark()
    store.finish(START, b"{}")

    assert len(answers) == 2
