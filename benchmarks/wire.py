"""From an answer to events: 499,999 rows of the default rule, each way in a separate process.

The answer has 104 MB, about the most that the API sends. The ways over HTTP get it from a server in another
process.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from uuid import UUID

from benchmarks.answers import BEGIN, NOW, RULE, body, signal_rows
from benchmarks.figures import FigureTable
from benchmarks.processes import measure
from benchmarks.serving import serving
from benchmarks.size import Size
from detection.logs.events import Events, Row, to_events
from detection.logs.window import Window

ROWS = 499_999  # one fewer than a truncated answer has
SIDE = RULE.sequence.signals
WINDOW = Window(BEGIN, NOW)
WORKSPACE = str(UUID(int=1))
BARE = "json.loads"
Work = Callable[[], object]


def tables(size: Size) -> dict[str, FigureTable]:
    """All ways, compared with `json.loads` alone."""
    rows = min(ROWS, size.max_rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "answer.json")
        path.write_bytes(body("signals", list(signal_rows(rows))))
        with serving(lambda _: path.read_bytes()) as endpoint:
            processes = {name: measure(["-m", "benchmarks.wire", name, str(path), endpoint]) for name in WAYS}
    bare = processes[BARE].result
    lines = [
        [name, WAYS[name][0], f"{process.result:.2f}", f"{process.result / bare:.2f}", f"{process.peak:,.0f}"]
        for name, process in processes.items()
    ]
    columns = ("way", "gives", "CPU s", f"x {BARE}", "peak MiB")
    return {"wire": FigureTable(f"from the HTTP response to events: {rows:,} rows", columns, lines)}


# -------------------------------------------------------------------------------------------------------------- ways


# Each takes the bytes or the endpoint, imports its libraries, and returns the work to measure.


def _json(content: bytes, _: str) -> Work:
    return lambda: json.loads(content)


def _orjson(content: bytes, _: str) -> Work:
    import orjson

    return lambda: orjson.loads(content)


def _msgspec(content: bytes, _: str) -> Work:
    import msgspec

    return lambda: msgspec.json.decode(content)


def _from_json(content: bytes, _: str) -> Work:
    from pydantic_core import from_json

    return lambda: from_json(content)


def _orjson_events(content: bytes, _: str) -> Work:
    import orjson

    return lambda: _events(map(tuple, orjson.loads(content)["tables"][0]["rows"]))


def _msgspec_events(content: bytes, _: str) -> Work:
    """Decodes typed rows into tuples, without validating times or dynamic columns."""
    import msgspec

    rows = list[tuple[str, str, str, str, str, str, str, str, str, str | None]]
    body = msgspec.defstruct("Body", [("tables", list[msgspec.defstruct("Table", [("rows", rows)])])])  # type: ignore[misc]
    return lambda: _events(msgspec.json.decode(content, type=body).tables[0].rows)  # type: ignore[attr-defined]


def _query_workspace(_: bytes, endpoint: str) -> Work:
    from azure.monitor.query import LogsQueryClient

    from detection.logs.log_analytics.client import _EmulatorToken

    client = LogsQueryClient(_EmulatorToken(), endpoint=endpoint)
    return lambda: client.query_workspace(WORKSPACE, "signals", timespan=None, enforce_https=False)


def _job(_: bytes, endpoint: str) -> Work:
    """Reads an answer as a run does."""
    from detection.logs.log_analytics.cells import RowReader
    from detection.logs.log_analytics.client import open_log_analytics

    source = open_log_analytics([WORKSPACE], endpoint, None, lambda: NOW)
    return lambda: _events(RowReader(SIDE).read_all(source.run_query("signals", "signals")))


def _bytes_only(_: bytes, endpoint: str) -> Work:
    """The time of the client and the connection alone."""
    from azure.core.rest import HttpRequest

    from detection.logs.log_analytics.client import open_log_analytics

    source = open_log_analytics([WORKSPACE], endpoint, None, lambda: NOW)
    request = HttpRequest("POST", f"workspaces/{WORKSPACE}/query", json={"query": "signals"})
    return lambda: source._client.send_request(request, stream=True, **source._options).read()


def _events(rows: Iterable[Row]) -> Events:
    return to_events(rows, SIDE, WINDOW, once=True)


Way = Callable[[bytes, str], Work]
WAYS: dict[str, tuple[str, Way]] = {
    BARE: ("objects", _json),
    "orjson.loads": ("objects", _orjson),
    "msgspec.json.decode": ("objects", _msgspec),
    "pydantic_core.from_json": ("objects", _from_json),
    "orjson, to_events": ("events, unchecked", _orjson_events),
    "msgspec typed, to_events": ("events, unchecked", _msgspec_events),
    "query_workspace, over HTTP": ("the SDK's rows", _query_workspace),
    "send_request, over HTTP": ("bytes", _bytes_only),
    "this job, over HTTP": ("events, checked", _job),
}


def main() -> None:
    """Prints the CPU seconds of one way."""
    name, path, endpoint = sys.argv[1:]
    work = WAYS[name][1](b"" if "HTTP" in name else Path(path).read_bytes(), endpoint)
    began = time.process_time()
    result = work()
    print(time.process_time() - began, flush=True)
    del result


if __name__ == "__main__":
    main()
