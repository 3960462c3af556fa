"""Responses that break the parsers of the SDK: a failing service for the table and the queries, over real HTTP."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from uuid import UUID

import pytest

from detection.base.errors import DetectionError, ServiceError
from detection.logs.log_analytics.client import open_log_analytics
from detection.logs.log_analytics.splitting import QueryUnfinished
from detection.store.azure_table import SETTINGS, open_table
from detection.store.table import Table
from tests.support.azurite import connection_string
from tests.support.receiver import Receiver, raw, receiving
from tests.support.table_calls import read_row, scan_rows, write_row

DEEP = b'{"odata.error":' * 50_000


def response(status: str, body: bytes, *headers: bytes) -> bytes:
    fields = (b"content-type: application/json", b"content-length: %d" % len(body), *headers)
    return b"\r\n".join([b"HTTP/1.1 " + status.encode(), *fields, b"", body])


MALFORMED = {
    "deep JSON": response("200 OK", DEEP),
    "deep error": response("409 Conflict", DEEP),
    "Retry-After": response("503 Service Unavailable", b"", b"retry-after: soon"),
    "Retry-After in milliseconds": response("503 Service Unavailable", b"", b"retry-after-ms: soon"),
    "Location": response("301 Moved Permanently", b"", b"location: https://[bad"),
    "length": b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n{}",
    "chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    "encoding": response("200 OK", b"xx", b"content-encoding: gzip"),
    "status line": b"HTTP/1.1 abc\r\n\r\n",
    "header line": b"HTTP/1.1 200 OK\r\nx: " + b"a" * 70_000 + b"\r\n\r\n",
}
RESPONSES = pytest.mark.parametrize("content", MALFORMED.values(), ids=list(MALFORMED))


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setitem(SETTINGS, "retry_backoff_factor", 0)
    with receiving() as server:
        yield server


@RESPONSES
@pytest.mark.parametrize("call", [read_row, scan_rows, write_row])
def test_malformed_response_of_the_table_is_a_service_error(
    service: Receiver, content: bytes, call: Callable[[Table], None]
) -> None:
    service.default_answer = raw(content)
    with pytest.raises(ServiceError):
        call(open_table(connection_string(service.server_port), "incidents", None))


@RESPONSES
def test_malformed_response_of_the_query_api_is_no_bug(service: Receiver, content: bytes) -> None:
    service.default_answer = raw(content)
    endpoint = f"http://127.0.0.1:{service.server_port}"
    logs = open_log_analytics([str(UUID(int=1))], endpoint, None, lambda: datetime(2026, 6, 9, tzinfo=UTC))
    with pytest.raises((DetectionError, QueryUnfinished)):
        logs.run_query("signals", "print 1", seconds=5)
