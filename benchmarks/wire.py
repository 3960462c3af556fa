"""From the wire to events: 499,999 rows of the default rule, every way a process of its own.

The bodies are 104 MB, about what the API sends at most. Ways over HTTP get them from a server beside them.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path
from uuid import UUID

from rich.table import Table

from benchmarks.answers import BEGIN, NOW, RULE, body, signal_rows
from benchmarks.processes import measured
from benchmarks.serving import serving
from detection.events import Events, Row, to_events
from detection.window import Window

ROWS = 499_999  # one less than what counts as cut off
SIDE = RULE.sequence.signals
WINDOW = Window(BEGIN, NOW)
WORKSPACE = str(UUID(int=1))
BARE = "json.loads"
Work = Callable[[], object]


def table() -> Table:
    """All ways beside bare `json.loads`."""
    table = Table(
        "way",
        "gives",
        "CPU seconds",
        f"x {BARE}",
        "peak MiB",
        title=f"wire to events: {ROWS:,} rows",
        title_justify="left",
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "answer.json")
        measured(
            ["-m", "benchmarks.wire", "write", str(path), ""]
        )  # elsewhere: a child's peak begins with its parent's
        with serving(partial(_file, path)) as endpoint:
            bare = 0.0
            for name, (gives, _) in WAYS.items():
                one = measured(["-m", "benchmarks.wire", name, str(path), endpoint])
                bare = bare or one.last
                table.add_row(name, gives, f"{one.last:.2f}", f"{one.last / bare:.2f}", f"{one.peak:.0f}")
    return table


# -------------------------------------------------------------------------------------------------------------- ways


# Each takes the bytes or the endpoint, imports what it needs, and returns what is measured.


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
    """The rows typed, so that msgspec makes tuples of them; nobody checks times or dynamic columns."""
    import msgspec

    rows = list[tuple[str, str, str, str, str, str, str, str, str, str | None]]
    body = msgspec.defstruct("Body", [("tables", list[msgspec.defstruct("Table", [("rows", rows)])])])  # type: ignore[misc]
    return lambda: _events(msgspec.json.decode(content, type=body).tables[0].rows)  # type: ignore[attr-defined]


def _query_workspace(_: bytes, endpoint: str) -> Work:
    from azure.monitor.query import LogsQueryClient

    from detection.sources.log_analytics import _EmulatorToken

    client = LogsQueryClient(_EmulatorToken(), endpoint=endpoint)
    return lambda: client.query_workspace(WORKSPACE, "signals", timespan=None, enforce_https=False)


def _job(_: bytes, endpoint: str) -> Work:
    """As a run reads an answer."""
    from detection.sources.cells import Rows
    from detection.sources.log_analytics import open_log_analytics

    source = open_log_analytics([WORKSPACE], endpoint, None, lambda: NOW)
    return lambda: _events(Rows(SIDE).of(source.ask("signals", "signals")))


def _bytes_only(_: bytes, endpoint: str) -> Work:
    """What the client and the wire take of it."""
    from azure.core.rest import HttpRequest

    from detection.sources.log_analytics import open_log_analytics

    source = open_log_analytics([WORKSPACE], endpoint, None, lambda: NOW)
    request = HttpRequest("POST", f"workspaces/{WORKSPACE}/query", json={"query": "signals"})
    return lambda: source._send("signals", request, 60.0).read()


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


# ------------------------------------------------------------------------------------------------------------ server


@cache  # read once, by the process that answers
def _file(path: Path, _query: str) -> bytes:
    return path.read_bytes()


def main() -> None:
    """Writes the answer, or prints the seconds of a way."""
    name, path, endpoint = sys.argv[1:]
    if name == "write":
        Path(path).write_bytes(body("signals", list(signal_rows(ROWS))))
        return
    work = WAYS[name][1](b"" if "HTTP" in name else Path(path).read_bytes(), endpoint)
    began = time.process_time()  # the neighbours of this machine are busy at times
    held = work()
    print(time.process_time() - began, flush=True)
    del held


if __name__ == "__main__":
    main()
