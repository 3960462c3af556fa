"""A double of Table Storage on the loopback, for the real client. It sends each response after a latency.

Azurite reads a whole table for each query, so its times are not those of the service. The double keeps the rows
sorted, and counts requests and bytes. It speaks the part of the protocol that the job uses or may use: entities
by key, queries by comparisons of keys with `$select`, `$top` and continuation, and entity group transactions
with ETags. It answers any other request with 501, and lists it among the refused requests.

Run it in a process of its own: then its CPU is not the job's.
"""

import asyncio
import re
import time
from base64 import b64decode, b64encode
from bisect import bisect_left, bisect_right, insort
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from itertools import islice
from queue import SimpleQueue
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic_core import from_json, to_json

from detection.store.table import (
    PAGE,
    REQUEST_BYTES,
    Delete,
    Entity,
    Insert,
    MemoryTable,
    Operation,
    Put,
    Replace,
    Value,
    _Partition,
)

LATENCY = 0.010  # seconds from a request to its response
RECEIVER_LATENCY = 0.050  # the same, of the receiver of messages
PAGE_ROWS = 1_000  # most rows of a response ("Query timeout and pagination")
COMPARISONS = 15  # most comparisons of a filter ("Querying tables and entities")
COUNTS = "/counts"  # the path of the counts; it is answered at once and not counted
_BUCKET_KEYS = 1_000
_LAST = "\U0010ffff"  # after every row key
_INT32 = range(-(2**31), 2**31)
_KEYS = re.compile(r"\w+\(PartitionKey='((?:[^']|'')*)',RowKey='((?:[^']|'')*)'\)")
_TOKEN = re.compile(r"\(|\)|'(?:[^']|'')*'|[^\s()']+")
_BOUNDARY = re.compile(rb"boundary=(changeset_[\w-]+)")
_REASONS = {200: "OK", 201: "Created", 202: "Accepted", 204: "No Content"}

Ranges = Sequence[tuple[str, str]]  # of row keys: start <= key < end, sorted and apart


# ---------------------------------------------------------------------------------------------------------------- rows


class SortedTable(MemoryTable):
    """A table in memory for millions of rows. Its clock stands still at `date`; None: it has no clock."""

    def __init__(self, date: datetime | None = None) -> None:
        super().__init__((lambda: date) if date else None)

    def scan(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[Entity]:
        while rows := self.page(partition, [(start, end)], page):
            yield from rows
            start = rows[-1].row + "\0"

    def page(self, partition: str, ranges: Ranges, rows: int) -> list[Entity]:
        """The first rows in the ranges of row keys."""
        sorted_rows = self._rows_of(partition)
        return list(
            islice((row for start, end in ranges for row in sorted_rows.rows_between(start, end)), rows)
        )

    def _rows_of(self, partition: str) -> "_SortedRows":
        rows = self._partitions.setdefault(partition, _SortedRows())
        assert isinstance(rows, _SortedRows)
        return rows


class _SortedRows(_Partition):
    """Rows by key, and the keys in short sorted lists: a row more moves a thousand keys, and not a million."""

    def __init__(self) -> None:
        super().__init__()
        self._buckets: list[list[str]] = [[]]
        self._starts = [""]  # of the keys in each bucket

    def put(self, entity: Entity) -> None:
        if entity.row not in self.rows:
            number = self._bucket_of(entity.row)
            bucket = self._buckets[number]
            insort(bucket, entity.row)
            if len(bucket) > 2 * _BUCKET_KEYS:
                self._buckets[number : number + 1] = [bucket[:_BUCKET_KEYS], bucket[_BUCKET_KEYS:]]
                self._starts.insert(number + 1, bucket[_BUCKET_KEYS])
        self.rows[entity.row] = entity

    def remove(self, row: str) -> None:
        if self.rows.pop(row, None):
            bucket = self._buckets[self._bucket_of(row)]
            del bucket[bisect_left(bucket, row)]

    def between(self, start: str, end: str) -> list[Entity]:
        return list(self.rows_between(start, end))

    def rows_between(self, start: str, end: str) -> Iterator[Entity]:
        for bucket in islice(self._buckets, self._bucket_of(start), self._bucket_of(end) + 1):
            for row in bucket[bisect_left(bucket, start) : bisect_left(bucket, end)]:
                yield self.rows[row]

    def _bucket_of(self, row: str) -> int:
        return bisect_right(self._starts, row) - 1


# ------------------------------------------------------------------------------------------------------------- service


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request, or an operation of a transaction. The names of headers are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response of the service."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class RequestFailed(Exception):
    """The service refuses a request: its status and error code, and the number of the operation."""

    def __init__(self, status: int, code: str, operation: int = 0) -> None:
        super().__init__(f"{status} {code}")
        self.status, self.code, self.operation = status, code, operation

    def response(self) -> HttpResponse:
        """The response that says so."""
        message = {"lang": "en-US", "value": f"{self.operation}:{self.code}"}
        body = to_json({"odata.error": {"code": self.code, "message": message}})
        return HttpResponse(
            self.status, {"Content-Type": "application/json", "x-ms-error-code": self.code}, body
        )


class TableService:
    """Answers the requests of a client of one table, and counts requests and the bytes of bodies both ways."""

    def __init__(self, table: SortedTable) -> None:
        self._table = table
        self._date = format_datetime((table.date() or datetime.now(UTC)).astimezone(UTC), usegmt=True)
        self.requests = self.bytes = 0
        self.refused: list[str] = []  # requests that the double does not know, or that break a limit

    def respond(self, request: HttpRequest) -> HttpResponse:
        """The response to a request."""
        try:
            response = self._route(request)
        except RequestFailed as failure:
            if failure.status in (400, 413, 501):
                self.refused.append(f"{failure}: {request.method} {request.target}")
            response = failure.response()
        self.requests += 1
        self.bytes += len(request.body) + len(response.body)
        return HttpResponse(response.status, {"Date": self._date, **response.headers}, response.body)

    def _route(self, request: HttpRequest) -> HttpResponse:
        url, name = urlsplit(request.target), _resource(request.target)
        match request.method, name:
            case "POST", "$batch":
                return self._transaction(request.body)
            case "POST", "Tables":
                return HttpResponse(204, {})
            case "GET", _ if keys := _KEYS.fullmatch(name):
                return self._entity(_unescape(keys[1]), _unescape(keys[2]), _select(url.query))
            case "GET", _ if name.endswith("()"):
                return self._query({key: texts[0] for key, texts in parse_qs(url.query).items()})
            case _:
                raise RequestFailed(501, "NotImplemented")

    def _entity(self, partition: str, row: str, select: Sequence[str]) -> HttpResponse:
        entity = self._table.get(partition, row)
        if entity is None:
            raise RequestFailed(404, "ResourceNotFound")
        headers = {"Content-Type": "application/json", "ETag": _etag(entity)}
        return HttpResponse(200, headers, to_json(_properties(partition, entity, select)))

    def _query(self, parameters: Mapping[str, str]) -> HttpResponse:
        partition, ranges = KeyFilter(parameters.get("$filter", "")).parse()
        ranges = _intersection(ranges, [(parameters.get("NextRowKey", ""), _LAST)])
        limit = min(int(parameters.get("$top", PAGE_ROWS)), PAGE_ROWS)
        *rows, next_row = [*self._table.page(partition, ranges, limit + 1), None]
        if len(rows) > limit:
            next_row = rows.pop()
        select = _select(f"$select={parameters.get('$select', '')}")
        headers = {"Content-Type": "application/json"}
        if next_row:
            prefix = "x-ms-continuation-Next"
            headers |= {f"{prefix}PartitionKey": partition, f"{prefix}RowKey": next_row.row}
        content = {"value": [_properties(partition, row, select) for row in rows]}
        return HttpResponse(200, headers, to_json(content))

    def _transaction(self, body: bytes) -> HttpResponse:
        if len(body) > REQUEST_BYTES:
            raise RequestFailed(413, "RequestBodyTooLarge")
        try:
            partition, operations = self._operations(body)
            self._table.write(partition, operations)
        except ValueError as error:
            raise RequestFailed(400, f"InvalidInput ({error})") from None
        except RequestFailed as failure:
            return _multipart([failure.response()])
        etags = (self._table.get(partition, operation.row) for operation in operations)
        return _multipart([HttpResponse(204, {"ETag": _etag(row)} if row else {}) for row in etags])

    def _operations(self, body: bytes) -> tuple[str, list[Operation]]:
        """The partition and the operations of a transaction. Raises RequestFailed as the rows demand."""
        parts = [self._operation(request, number) for number, request in enumerate(_operation_requests(body))]
        partitions = {partition for partition, _ in parts}
        if len(partitions) != 1:
            raise RequestFailed(400, "InvalidInput")
        return partitions.pop(), [operation for _, operation in parts]

    def _operation(self, request: HttpRequest, number: int) -> tuple[str, Operation]:
        """The partition and the operation of a request in a transaction, if the rows allow it."""
        values = from_json(request.body) if request.body else {}
        if keys := _KEYS.fullmatch(_resource(request.target)):
            partition, row = _unescape(keys[1]), _unescape(keys[2])
        else:
            partition, row = values["PartitionKey"], values["RowKey"]
        current, match = self._table.get(partition, row), request.headers.get("if-match", "")
        if request.method == "POST" and current:
            raise RequestFailed(409, "EntityAlreadyExists", number)
        if match and current is None:
            raise RequestFailed(404, "ResourceNotFound", number)
        if match not in ("", "*") and current and match != _etag(current):
            raise RequestFailed(412, "UpdateConditionNotSatisfied", number)
        match request.method:
            case "POST":
                return partition, Insert(row, _values(values))
            case "PUT" if current and match:
                return partition, Replace(row, _values(values), current.version)
            case "PUT":
                return partition, Put(row, _values(values))
            case "DELETE":
                return partition, Delete(row)
        raise RequestFailed(501, "NotImplemented", number)


def _operation_requests(body: bytes) -> Iterator[HttpRequest]:
    boundary = _BOUNDARY.search(body)
    if boundary is None:
        raise RequestFailed(400, "InvalidInput")
    for part in body.split(b"--" + boundary[1])[1:-1]:
        _, head, content = part.split(b"\r\n\r\n", 2)
        yield _request(head, content.strip())


def _request(head: bytes, body: bytes) -> HttpRequest:
    line, *fields = head.decode("latin-1").split("\r\n")
    method, target, _ = line.split(" ")
    headers = (field.partition(":") for field in fields)
    return HttpRequest(method, target, {name.lower(): text.strip() for name, _, text in headers}, body)


def _multipart(responses: Sequence[HttpResponse]) -> HttpResponse:
    parts = b"".join(
        b"--changeset\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        + _serialized(response, {"Content-ID": str(number)})
        + b"\r\n"
        for number, response in enumerate(responses)
    )
    head = b"--batch\r\nContent-Type: multipart/mixed; boundary=changeset\r\n\r\n"
    body = head + parts + b"--changeset--\r\n--batch--\r\n"
    return HttpResponse(202, {"Content-Type": "multipart/mixed; boundary=batch"}, body)


def _serialized(response: HttpResponse, more_headers: Mapping[str, str]) -> bytes:
    headers = "".join(f"{name}: {text}\r\n" for name, text in {**more_headers, **response.headers}.items())
    reason = _REASONS.get(response.status, "Failed")
    return f"HTTP/1.1 {response.status} {reason}\r\n{headers}\r\n".encode() + response.body


def _resource(target: str) -> str:
    """The last part of a path: a table, a row of it, or `$batch`."""
    return unquote(urlsplit(target).path.rpartition("/")[2])


def _unescape(text: str) -> str:
    return text.replace("''", "'")


def _select(query: str) -> list[str]:
    return [name for name in parse_qs(query).get("$select", [""])[0].split(",") if name]


def _etag(entity: Entity) -> str:
    return f'W/"{entity.version}"'


def _properties(partition: str, entity: Entity, select: Sequence[str]) -> dict[str, object]:
    """An entity as JSON with minimal metadata. Without `select` it has all properties."""
    written = entity.written or datetime.now(UTC)
    properties: dict[str, object] = {
        "odata.etag": _etag(entity),
        "PartitionKey": partition,
        "RowKey": entity.row,
        "Timestamp": f"{written:%Y-%m-%dT%H:%M:%S.%f}0Z",
    }
    for name, value in entity.values.items():
        if isinstance(value, bytes):
            properties |= {f"{name}@odata.type": "Edm.Binary", name: b64encode(value).decode()}
        elif isinstance(value, int) and not isinstance(value, bool) and value not in _INT32:
            properties |= {f"{name}@odata.type": "Edm.Int64", name: str(value)}
        else:
            properties[name] = value
    if not select:
        return properties
    names = {"odata.etag", *select, *(f"{name}@odata.type" for name in select)}
    return {name: value for name, value in properties.items() if name in names}


def _values(properties: Mapping[str, Any]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for name, value in properties.items():
        if "@" in name or name in ("PartitionKey", "RowKey"):
            continue
        match properties.get(f"{name}@odata.type"):
            case "Edm.Binary":
                values[name] = b64decode(value)
            case "Edm.Int64":
                values[name] = int(value)
            case _:
                values[name] = value
    return values


# -------------------------------------------------------------------------------------------------------------- filter


class KeyFilter:
    """A filter of a query as a partition and ranges of row keys. It compares keys and nothing else."""

    def __init__(self, text: str) -> None:
        self._tokens = _TOKEN.findall(text)
        self._partitions = set[str]()
        self._comparisons = 0

    def parse(self) -> tuple[str, Ranges]:
        """Raises RequestFailed for a filter without a partition, with several, or with another property."""
        ranges = self._any_of()
        if self._tokens or len(self._partitions) != 1 or self._comparisons > COMPARISONS:
            raise RequestFailed(501, "NotImplemented")
        return self._partitions.pop(), ranges

    def _any_of(self) -> Ranges:
        ranges = self._all_of()
        while self._tokens and self._tokens[0] == "or":
            del self._tokens[0]
            ranges = _union(ranges, self._all_of())
        return ranges

    def _all_of(self) -> Ranges:
        ranges = self._term()
        while self._tokens and self._tokens[0] == "and":
            del self._tokens[0]
            ranges = _intersection(ranges, self._term())
        return ranges

    def _term(self) -> Ranges:
        if self._tokens[:1] == ["("]:
            del self._tokens[0]
            ranges = self._any_of()
            if self._tokens[:1] != [")"]:
                raise RequestFailed(400, "InvalidInput")
            del self._tokens[0]
            return ranges
        if len(self._tokens) < 3:
            raise RequestFailed(400, "InvalidInput")
        (name, comparison, literal), self._tokens = self._tokens[:3], self._tokens[3:]
        key = _unescape(literal[1:-1])
        self._comparisons += 1
        if (name, comparison) == ("PartitionKey", "eq"):
            self._partitions.add(key)
            return [("", _LAST)]
        after = f"{key}\0"  # the first key after `key`
        ranges_by_comparison = {
            "eq": (key, after),
            "ge": (key, _LAST),
            "gt": (after, _LAST),
            "lt": ("", key),
            "le": ("", after),
        }
        if name != "RowKey" or comparison not in ranges_by_comparison:
            raise RequestFailed(501, "NotImplemented")
        return [ranges_by_comparison[comparison]]


def _intersection(ranges: Ranges, more_ranges: Ranges) -> Ranges:
    pairs = (
        (max(start, more_start), min(end, more_end))
        for start, end in ranges
        for more_start, more_end in more_ranges
    )
    return sorted((start, end) for start, end in pairs if start < end)


def _union(ranges: Ranges, more_ranges: Ranges) -> Ranges:
    joined: list[tuple[str, str]] = []
    for start, end in sorted([*ranges, *more_ranges]):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


# -------------------------------------------------------------------------------------------------------------- server


Respond = Callable[[HttpRequest], HttpResponse]


class _Connection(asyncio.Protocol):
    """A kept-alive connection of a client: it sends each response `latency` seconds after its request."""

    def __init__(self, respond: Respond, latency: float, transports: set[asyncio.Transport]) -> None:
        self._respond, self._latency, self._transports = respond, latency, transports
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._transports.add(transport)

    def connection_lost(self, _: Exception | None) -> None:
        if self._transport:
            self._transports.discard(self._transport)
            self._transport = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (request := self._next_request()) and self._transport:
            loop = asyncio.get_running_loop()
            due = loop.time() + (0 if request.target == COUNTS else self._latency)
            response = self._respond(request)
            length = {"Content-Length": str(len(response.body))}
            loop.call_at(due, self._write, _serialized(response, length))

    def _write(self, response: bytes) -> None:
        if self._transport:  # the client may have closed the connection
            self._transport.write(response)

    def _next_request(self) -> HttpRequest | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        request = _request(bytes(self._buffer[:end]), b"")
        body_end = end + 4 + int(request.headers.get("content-length", 0))
        if len(self._buffer) < body_end:
            return None
        body = bytes(self._buffer[end + 4 : body_end])
        del self._buffer[:body_end]
        return HttpRequest(request.method, request.target, request.headers, body)


@asynccontextmanager
async def started(table: SortedTable, latency: float = LATENCY) -> AsyncIterator[tuple[int, int]]:
    """Serves the table, and a receiver of messages, in this event loop. Yields the port of each.

    GET /counts of the table's port returns what it counted as JSON: requests, bytes, refused requests, and the
    CPU seconds of this process.
    """
    service, began, transports = TableService(table), time.process_time(), set[asyncio.Transport]()

    def respond(request: HttpRequest) -> HttpResponse:
        if request.target != COUNTS:
            return service.respond(request)
        counts = {"requests": service.requests, "bytes": service.bytes, "refused": service.refused}
        return HttpResponse(200, {}, to_json({**counts, "cpu": time.process_time() - began}))

    def receive(_: HttpRequest) -> HttpResponse:
        return HttpResponse(204, {})

    servers = [
        await asyncio.get_running_loop().create_server(partial(_Connection, *connection), "127.0.0.1", 0)
        for connection in ((respond, latency, transports), (receive, RECEIVER_LATENCY, transports))
    ]
    table_port, receiver_port = (server.sockets[0].getsockname()[1] for server in servers)
    try:
        yield table_port, receiver_port
    finally:
        for server in servers:
            server.close()
        for transport in transports:
            transport.abort()
        await asyncio.sleep(0)  # the transports close in the next round of the loop


def serve(table: SortedTable, announce: Callable[[int, int], object]) -> None:
    """Serves until the process ends. Calls `announce` with the ports of the table and of the receiver."""

    async def run() -> None:
        async with started(table) as ports:
            announce(*ports)
            await asyncio.Event().wait()

    asyncio.run(run())


@contextmanager
def serving_table(table: SortedTable) -> Iterator[int]:
    """Serves the table without latency in a thread, for tests. Yields its port."""
    ready: SimpleQueue[tuple[int, Callable[[], object]]] = SimpleQueue()

    async def run() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        async with started(table, latency=0) as (port, _):
            ready.put((port, partial(loop.call_soon_threadsafe, stop.set)))
            await stop.wait()

    thread = Thread(target=lambda: asyncio.run(run()))
    thread.start()
    port, stop = ready.get()
    try:
        yield port
    finally:
        stop()
        thread.join()
