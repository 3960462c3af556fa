"""A proxy before Azurite, which lets every request pass, or not: what the real service does and Azurite never.

It checks what it sees against the limits of the real service, which Azurite does not enforce (docs:
learn.microsoft.com, "Understanding the Table service data model", "Performing entity group transactions").
"""

import json
import re
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from email.utils import format_datetime
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

OPERATIONS, REQUEST_BYTES, ENTITY_BYTES, PROPERTY_BYTES, PROPERTIES = 100, 4 << 20, 1 << 20, 64 << 10, 252
_HOP_HEADERS = {"connection", "keep-alive", "transfer-encoding", "content-length"}
_NEXT = ("x-ms-continuation-NextPartitionKey", "x-ms-continuation-NextRowKey")


@dataclass(frozen=True, slots=True)
class TableRequest:
    """A request: its number among all, and among the transactions where it is one (else 0), both from 1."""

    number: int
    write_number: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_query(self) -> bool:
        """Whether it asks for rows of a range."""
        return self.method == "GET" and "$filter" in parse_qs(urlsplit(self.path).query)


@dataclass(frozen=True, slots=True)
class TableResponse:
    """An answer of the table service."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


Forward = Callable[[TableRequest], TableResponse]
# What becomes of a request: an answer, or None when the connection breaks without one.
Fault = Callable[[TableRequest, Forward], TableResponse | None]


def pass_through(request: TableRequest, forward: Forward) -> TableResponse | None:
    """No fault."""
    return forward(request)


class TableProxy:
    """What passed: requests, transactions, bytes, and what the real service would have refused."""

    def __init__(self, port: int) -> None:
        self._azurite = port
        self._lock = Lock()
        self.port = 0
        self.reset()

    def reset(self) -> None:
        """Begins to count anew, without a fault."""
        self.fault: Fault = pass_through
        self.requests = self.writes = self.bytes_sent = self.bytes_received = 0
        self.refused: list[str] = []

    def handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> TableResponse | None:
        with self._lock:
            self.requests += 1
            self.bytes_sent += len(body)
            is_write = path.endswith("/$batch")
            self.writes += is_write
            request = TableRequest(self.requests, self.writes if is_write else 0, method, path, headers, body)
            if is_write:
                self.refused += beyond_limits(body)
        response = self.fault(request, self._forward)
        self.bytes_received += len(response.body) if response else 0
        return response

    def _forward(self, request: TableRequest) -> TableResponse:
        connection = HTTPConnection("127.0.0.1", self._azurite, timeout=60)
        try:
            connection.request(request.method, request.path, request.body, dict(request.headers))
            response = connection.getresponse()
            content = response.read()
            headers = {
                name: value for name, value in response.getheaders() if name.lower() not in _HOP_HEADERS
            }
            return TableResponse(response.status, headers, content)
        finally:
            connection.close()


@contextmanager
def proxying(port: int) -> Iterator[TableProxy]:
    """A proxy before the Azurite at a port."""
    proxy = TableProxy(port)

    class ProxyHandler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # an answer is written in several pieces

        def _any(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = self.rfile.read(length)
            if len(body) < length:  # whoever sent it was killed: no service takes half a request
                self.close_connection = True
                return
            headers = {
                name: value for name, value in self.headers.items() if name.lower() not in _HOP_HEADERS
            }
            try:
                response = proxy.handle(self.command, self.path, headers, body)
            except OSError:  # Azurite is not there
                response = None
            if response is None:
                self.close_connection = True
                return
            self.send_response_only(response.status)  # without a `Date` of the proxy
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(response.body)))
            self.end_headers()
            self.wfile.write(response.body)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_MERGE = _any  # noqa: N815  # the base's names

        def log_message(self, *_: object) -> None:
            pass

    class ProxyServer(ThreadingHTTPServer):
        daemon_threads = True  # a killed process leaves its connections open

        def handle_error(self, *_: object) -> None:
            """A client that was killed is no news."""

    with ProxyServer(("127.0.0.1", 0), ProxyHandler) as server:
        proxy.port = server.server_port
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()


# -------------------------------------------------------------------------------------------------------------- faults


def at_write(number: int, action: Callable[[], object], *, after: bool) -> Fault:
    """Does something before, or after, the transaction of that number takes effect; it is not answered."""

    def fault(request: TableRequest, forward: Forward) -> TableResponse | None:
        if request.write_number != number:
            return forward(request)
        if after:
            forward(request)
        action()
        return None

    return fault


def in_turn(fault: Fault) -> Fault:
    """Requests wait for one another, so what happens to a request happens to no other."""
    lock = Lock()

    def locked_fault(request: TableRequest, forward: Forward) -> TableResponse | None:
        with lock:
            return fault(request, forward)

    return locked_fault


def throttling(number: int, seconds: int) -> Fault:
    """A request is to be repeated after some seconds."""
    response = _busy(seconds)
    return lambda request, forward: response if request.number == number else forward(request)


def throttling_calls(refusals: int, seconds: int) -> Fault:
    """Every call succeeds after so many refusals, each with so many seconds to wait."""
    response, attempts = _busy(seconds), refusals + 1
    return lambda request, forward: response if request.number % attempts else forward(request)


def _busy(seconds: int) -> TableResponse:
    return TableResponse(503, {"content-type": "application/json", "Retry-After": str(seconds)}, b"{}")


def hanging(seconds: float) -> Fault:
    """Every request is accepted and, for so long, not answered."""

    def fault(_request: TableRequest, _forward: Forward) -> TableResponse | None:
        time.sleep(seconds)
        return None

    return fault


def losing_answers(numbers: range) -> Fault:
    """These requests take effect, and their answers are lost."""

    def fault(request: TableRequest, forward: Forward) -> TableResponse | None:
        response = forward(request)
        return None if request.number in numbers else response

    return fault


def losing_first_answers() -> Fault:
    """Every request takes effect, and is answered when it is repeated."""
    unanswered: set[tuple[str, bytes]] = set()

    def fault(request: TableRequest, forward: Forward) -> TableResponse | None:
        response, content = forward(request), (request.path, request.body)
        if content in unanswered:
            unanswered.remove(content)
            return response
        unanswered.add(content)
        return None

    return fault


def failing(numbers: range, status: int, code: str) -> Fault:
    """These requests fail with an error of the service."""
    response = _error(status, code)
    return lambda request, forward: response if request.number in numbers else forward(request)


def denying(number: int) -> Fault:
    """This request, if it reads a row, is answered as if there were none; a query has no rows."""
    empty = TableResponse(200, {"content-type": "application/json"}, b'{"odata.metadata": "", "value": []}')

    def fault(request: TableRequest, forward: Forward) -> TableResponse | None:
        if request.number != number or request.method != "GET":
            return forward(request)
        return empty if request.is_query else _error(404, "ResourceNotFound")

    return fault


def _error(status: int, code: str) -> TableResponse:
    """An error of the service; without a code it is that of a proxy."""
    error = {"odata.error": {"code": code, "message": {"lang": "en-US", "value": f"{code}."}}}
    return TableResponse(
        status, {"content-type": "application/json"}, json.dumps(error if code else {}).encode()
    )


def accepting(writes: range) -> Fault:
    """These transactions are accepted without a result, and are not executed."""
    response = TableResponse(202, {"content-type": "multipart/mixed; boundary=b"}, b"--b--\r\n")
    return lambda request, forward: response if request.write_number in writes else forward(request)


def misshaping(numbers: range, body: bytes) -> Fault:
    """These reads are answered with a body that is not of the table service."""
    response = TableResponse(200, {"content-type": "application/json"}, body)

    def fault(request: TableRequest, forward: Forward) -> TableResponse | None:
        return response if request.method == "GET" and request.number in numbers else forward(request)

    return fault


def refusing_writes() -> Fault:
    """Every transaction conflicts, though no other process writes."""
    result = (
        b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\nContent-Type: application/http\r\n\r\n"
        b"HTTP/1.1 409 Conflict\r\nx-ms-error-code: EntityAlreadyExists\r\n\r\n\r\n--c--\r\n--b--\r\n"
    )
    response = TableResponse(202, {"content-type": "multipart/mixed; boundary=b"}, result)
    return lambda request, forward: response if request.write_number else forward(request)


def dating(date: datetime) -> Fault:
    """By the clock of the service, every response is of this time."""

    def fault(request: TableRequest, forward: Forward) -> TableResponse | None:
        response = forward(request)
        headers = {name: text for name, text in response.headers.items() if name.lower() != "date"}
        return replace(response, headers=headers | {"Date": format_datetime(date, usegmt=True)})

    return fault


def slowing(seconds: float) -> Fault:
    """Every answer takes so long."""

    def fault(request: TableRequest, forward: Forward) -> TableResponse | None:
        time.sleep(seconds)
        return forward(request)

    return fault


def short_pages() -> Fault:
    """Every query is answered in pages of two rows, before each an empty one, as the service may do."""
    held_responses: dict[str, TableResponse] = {}

    def fault(request: TableRequest, forward: Forward) -> TableResponse | None:
        if not request.is_query:
            return forward(request)
        page_key = parse_qs(urlsplit(request.path).query).get("NextRowKey", [""])[0]
        if page_key in held_responses:
            return held_responses.pop(page_key)
        page = _empty_page()
        held_responses[page.headers[_NEXT[0]]] = forward(replace(request, path=f"{request.path}&$top=2"))
        return page

    return fault


def paging_without_end(first_number: int) -> Fault:
    """From a request on, every query is answered with an empty page and a new token."""

    def fault(request: TableRequest, forward: Forward) -> TableResponse | None:
        return _empty_page() if request.is_query and request.number >= first_number else forward(request)

    return fault


def _empty_page() -> TableResponse:
    token = f"held-{uuid4().hex}"
    headers = {"content-type": "application/json;odata=minimalmetadata", _NEXT[0]: token, _NEXT[1]: token}
    return TableResponse(200, headers, json.dumps({"odata.metadata": "", "value": []}).encode())


# -------------------------------------------------------------------------------------------------------------- limits


def beyond_limits(body: bytes) -> list[str]:
    """What the real service would refuse in a transaction as it goes over the wire."""
    problems = []
    if len(body) > REQUEST_BYTES:
        problems.append(f"a request of {len(body)} bytes")
    operations = len(re.findall(rb"^(?:POST|PUT|DELETE|PATCH|MERGE) http", body, re.MULTILINE))
    if not 0 < operations <= OPERATIONS:
        problems.append(f"a transaction of {operations} operations")
    for entity in map(json.loads, re.findall(rb"^\{.*\}\r?$", body, re.MULTILINE)):
        problems += _entity_problems(entity)
    return problems


def _entity_problems(entity: Mapping[str, object]) -> Iterator[str]:
    values_by_name = {name: value for name, value in entity.items() if "@" not in name}
    properties = {
        name: value for name, value in values_by_name.items() if name not in ("PartitionKey", "RowKey")
    }
    sizes = {
        name: _size(value, str(entity.get(f"{name}@odata.type", "")))
        for name, value in values_by_name.items()
    }
    if len(properties) > PROPERTIES:
        yield f"an entity of {len(properties)} properties"
    if sum(sizes.values()) + 2 * sum(map(len, values_by_name)) > ENTITY_BYTES:
        yield f"an entity of {sum(sizes.values())} bytes"
    if max(sizes.values()) > PROPERTY_BYTES:
        yield f"a property of {max(sizes.values())} bytes"


def _size(value: object, kind: str) -> int:
    if kind == "Edm.Binary":
        return len(b64decode(str(value)))
    return 2 * len(value) if isinstance(value, str) else 8
