"""A double of the Log Analytics query API on this machine: real HTTP, its wire format, and real answers.

It executes the KQL it receives in DuckDB, over the same rows that `Files` reads. A test may change what
it answers (`amend`), let it answer something else (`fault`), and see what it was asked (`requests`).
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import duckdb
import duckdb_kql
from duckdb_kql import engine
from duckdb_kql.translate import CLOCK_SLOT

from detection.logs.files.folder import join_has_any
from detection.logs.files.loading import ARRIVED, files_of, load_table
from detection.logs.kql import with_parameters
from detection.rules.model import LogTable

Body = dict[str, Any]

KQL_TYPES = {
    "TIMESTAMP": "datetime",
    "VARCHAR": "string",
    "JSON": "dynamic",
    "BIGINT": "long",
    "HUGEINT": "long",  # a sum of longs
    "INTEGER": "int",
    "DOUBLE": "real",
    "BOOLEAN": "bool",
}
_PATH = re.compile(r"/v1/workspaces/([0-9a-f-]{36})/query")
_BOUND = re.compile(r"^let (\w+) = datetime\(([^)]+)\);\n", re.MULTILINE)  # as `with_bounds` writes them
_UNKNOWN = (r"Table with name (\S+) does not exist", r'column "(\w+)" not found', r"unknown \w+ '?(\w+)")


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """What the API was asked."""

    workspace: str
    body: Body
    headers: Mapping[str, str]

    @property
    def query(self) -> str:
        """The KQL."""
        text = self.body["query"]
        assert isinstance(text, str)
        return text


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it goes over the wire."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


def no_fault(_request: ApiRequest) -> Reply | None:
    """Answers as it should."""
    return None


def unchanged(body: Body) -> Body:
    """Says what it has found."""
    return body


DROPPED = Reply(0)  # the connection is closed without an answer


class QueryApi:
    """Answers from the tables of a DuckDB connection, as they stand at `moment`; the same question once."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, endpoint: str = "") -> None:
        self.endpoint = endpoint
        self._replies: dict[tuple[str, datetime], Reply] = {}
        self._connection = connection
        self.reset()

    def reply(self, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """The answer to a POST."""
        path_match = _PATH.fullmatch(path)
        if not path_match:
            return error(404, "PathNotFoundError", "The requested path does not exist")
        if not headers.get("Authorization", "").startswith("Bearer "):
            return error(
                401, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing."
            )
        request = ApiRequest(path_match[1], json.loads(body), headers)
        self.requests.append(request)
        return self.fault(request) or self.answer(request.query)

    def reset(self) -> None:
        """As it was at first; what it has found out about its tables it still knows."""
        self.moment = datetime(2100, 1, 1, tzinfo=UTC)
        self.requests: list[ApiRequest] = []
        self.fault: Callable[[ApiRequest], Reply | None] = no_fault
        self.amend: Callable[[Body], Body] = unchanged

    def answer(self, query: str) -> Reply:
        """What the tables say, whatever the faults."""
        question = (query, self.moment)
        if question not in self._replies:
            self._replies[question] = self._execute(*question)
        cached_reply = self._replies[question]
        return (
            cached_reply if cached_reply.status != 200 else reply(self.amend(json.loads(cached_reply.body)))
        )

    def _execute(self, query: str, moment: datetime) -> Reply:
        connection = self._connection.cursor()
        try:
            connection.execute("SET VARIABLE moment = ?::TIMESTAMP", [moment.replace(tzinfo=None)])
            answer = connection.execute(*_sql(connection, _with_arrivals(query), moment))
            columns = [
                {"name": name, "type": KQL_TYPES[str(kind)]} for name, kind, *_ in answer.description or ()
            ]
            rows = [[_wire(value) for value in row] for row in answer.fetchall()]
        except duckdb_kql.KqlSyntaxError:
            return bad_argument("SyntaxError", "Syntax Error")
        except (duckdb_kql.KqlError, duckdb.Error) as problem:
            return bad_argument("SemanticError", "A semantic error occurred.", ("SEM0100", _unknown(problem)))
        finally:
            connection.close()
        return reply({"tables": [{"name": "PrimaryResult", "columns": columns, "rows": rows}]})


@contextmanager
def query_api(connection: duckdb.DuckDBPyConnection) -> Iterator[QueryApi]:
    """The double, listening at its `endpoint`."""
    api = QueryApi(connection)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # an answer is written in several pieces

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["Content-Length"]))
            answer = api.reply(self.path, sent, dict(self.headers))
            if answer is DROPPED:
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.status != 204:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        api.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield api
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def tables_of(folder: Path, tables: Mapping[str, LogTable]) -> Iterator[duckdb.DuckDBPyConnection]:
    """The tables of a folder of exported logs, each with the rows that have arrived by the variable `moment`."""
    connection = duckdb_kql.connect()
    for name, table in tables.items():
        if files := files_of(folder, name):
            load_table(connection, name, table, files)
            for view, hidden in ((name, f"{ARRIVED}, _file, _line"), (f"{name}_arrived", "_file, _line")):
                connection.execute(
                    f'CREATE VIEW "{view}" AS SELECT * EXCLUDE ({hidden}) FROM "{name}_rows" '
                    f"WHERE {ARRIVED} IS NULL OR {ARRIVED} <= getvariable('moment')"
                )
    try:
        yield connection
    finally:
        connection.close()


# ------------------------------------------------------------------------------------------------------ wire format


def reply(body: Body, status: int = 200) -> Reply:
    """An answer with a JSON body."""
    return Reply(status, json.dumps(body).encode())


def error(status: int, code: str, message: str) -> Reply:
    """An error of the API."""
    return reply({"error": {"code": code, "message": message}}, status)


def bad_argument(code: str, message: str, inner: tuple[str, str] | None = None) -> Reply:
    """What the API says to a query it cannot run."""
    problem: Body = {"code": code, "message": message}
    if inner:
        problem["innererror"] = {"code": inner[0], "message": inner[1]}
    outer = {"message": "The request had some invalid properties", "code": "BadArgumentError"}
    return reply({"error": {**outer, "innererror": problem}}, 400)


def partial(body: Body) -> Body:
    """The answer as the API gives it when it could not finish: what it has, 200, and an error."""
    too_large = {
        "code": "-2133196797",
        "message": "The results of this query exceed the set limit of 64000000 bytes, so not all records were returned.",
    }
    engine = {
        "code": "EngineError",
        "message": "Something went wrong processing your query on the server.",
        "innererror": too_large,
    }
    message = "There were some errors when processing your query."
    return {**body, "error": {"code": "PartialError", "message": message, "details": [engine]}}


def basic_plan() -> Reply:
    """What the API says of a table on the Basic plan (as in grafana/grafana#89818 and Azure/azure-sdk-for-go#24606)."""
    message = (
        "Query of Basic Logs table is not supported with the API 'https://api.loganalytics.io/v1/workspaces/{workspaceId}/query'."
        "\nYou can use 'https://api.loganalytics.io/v1/workspaces/{workspaceId}/search' instead."
        "\nTo learn more on queries on Basic Logs table, read here: https://aka.ms/basicLogsQueryAPI."
    )
    return bad_argument("UnsupportedApiQueryValidationError", message)


def no_role() -> Reply:
    """What the API says to an identity without a role on the workspace, or with one that does not work yet."""
    return error(
        403,
        "InsufficientAccessError",
        "The provided credentials have insufficient access to perform the requested operation",
    )


def no_table(name: str) -> Reply:
    """What the API says to a query over a table that the workspace does not have."""
    text = f"'where' operator: Failed to resolve table or column expression named '{name}'"
    return bad_argument("SemanticError", "A semantic error occurred.", ("SEM0100", text))


def _with_arrivals(query: str) -> str:
    """The query over tables that know when their rows arrived, where it asks for that: the local engine does not."""
    if "ingestion_time()" not in query:
        return query
    tables = r"\b(\w+_CL|SentinelOpenAIAuditLogs|ASimAgentEventLogs|CopilotActivity)\b"
    return re.sub(tables, r"\1_arrived", query).replace("ingestion_time()", ARRIVED)


def _sql(
    connection: duckdb.DuckDBPyConnection, query: str, moment: datetime
) -> tuple[str, dict[str, datetime]]:
    """The query in SQL with its parameters. Queries that differ only in their bounds are translated once."""
    lets = dict(_BOUND.findall(query))
    bounds = {name: datetime.fromisoformat(text).replace(tzinfo=None) for name, text in lets.items()}
    text = _BOUND.sub("", query)
    if bounds:
        text = with_parameters(text, bounds)
    schema = tuple((table, tuple(columns)) for table, columns in engine.schema(connection).items())
    sql, slots, asks_clock = _translated(text, schema)
    clock = {CLOCK_SLOT: moment.replace(tzinfo=None)} if asks_clock else {}
    return sql, {slot: bounds[name] for name, slot in slots} | clock


@lru_cache(maxsize=256)
def _translated(
    query: str, schema: tuple[tuple[str, tuple[str, ...]], ...]
) -> tuple[str, tuple[tuple[str, str], ...], bool]:
    tables = {name: list(columns) for name, columns in schema}
    result = duckdb_kql.to_sql(query, schema=tables, query_now=datetime(2000, 1, 1))
    slots = tuple(
        (declaration.name, declaration.slot)
        for declaration in result.declarations
        if declaration.slot in result.slots
    )
    return join_has_any(result), slots, CLOCK_SLOT in result.parameters


def _wire(value: object) -> object:
    """A value as the API writes it: times in UTC with seven digits or none, dynamic values as JSON text."""
    if isinstance(value, datetime):
        fraction = f".{value.microsecond:06}0" if value.microsecond else ""
        return f"{value:%Y-%m-%dT%H:%M:%S}{fraction}Z"
    return value


def _unknown(problem: Exception) -> str:
    names = (match[1] for pattern in _UNKNOWN if (match := re.search(pattern, str(problem))))
    name = next(names, None)
    assert name, f"the double has no Kusto error for: {problem}"
    return f"'where' operator: Failed to resolve table or column expression named '{name}'"
