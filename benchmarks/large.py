"""Runs over more signals than one answer holds: up to ten million of 1,000 actors, and three million of one
actor.

The double generates the rows of any slice and cuts an answer off at 100 MiB, as the API does. It runs in a
separate process. Each run is a first run, the most expensive kind: every signal is new. Its table is in
memory.
"""

import json
import re
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from pydantic_core import to_json

from benchmarks.answers import BEGIN, NOW, RULE, body
from benchmarks.figures import FigureTable
from benchmarks.processes import MeasurementFailed, measure
from benchmarks.serving import serving
from benchmarks.size import Size
from detection.logs.kql import COVERAGE_COLUMNS, HEALTH_COLUMNS, queries

SIZES = ((400_000, 1_000), (1_000_000, 1_000), (3_000_000, 1_000), (10_000_000, 1_000), (3_000_000, 1))
ANSWER_BYTES = 100 * 2**20  # bytes
LET = re.compile(r"let (\w+) = datetime\(([^)]+)\);")
PARTIAL = b'],"error":{"code":"PartialError","message":"The results of this query exceed the set limit."}}'


def tables(size: Size) -> dict[str, FigureTable]:
    """A run at every size."""
    rows = []
    for signals, actors in dict.fromkeys((min(signals, size.max_rows), actors) for signals, actors in SIZES):
        with serving(partial(_answer, signals, actors)) as endpoint:
            process = measure(["-m", "benchmarks.large", endpoint])
        counts = [process.result[name] for name in ("requests", "slices", "alerts", "pairs")]
        micros = process.cpu / signals * 1e6
        times = (f"{process.cpu:.1f}", f"{micros:,.1f}", f"{process.wall:.0f}", f"{process.peak:.0f}")
        rows.append([*(f"{count:,}" for count in (signals, actors, *counts)), *times])
    columns = (
        "signals",
        "actors",
        "requests",
        "slices",
        "alerts",
        "pairs",
        "CPU s",
        "CPU µs a signal",
        "wall s",
        "peak MiB",
    )
    return {"large": FigureTable("one run, every signal new", columns, rows)}


# ------------------------------------------------------------------------------------------------------------ double


def _answer(signals: int, actors: int, request: str) -> bytes:
    """Answers the queries of a run. A new query needs an answer here."""
    query = json.loads(request)["query"]
    (name,) = (name for name, text in queries(RULE).items() if query.endswith(text))
    if name == "changes":
        return body("changes", [_change(number) for number in range(actors)])
    if name == "signals":
        ends = {name: datetime.fromisoformat(time) for name, time in LET.findall(query)}
        return _signals(ends["signals_after"], ends["signals_until"], signals, actors)
    if name == "health":
        newest = NOW.isoformat()
        return _table(
            HEALTH_COLUMNS, [["changes", actors, actors, 0, newest], ["signals", signals, signals, 0, newest]]
        )
    assert name == "coverage", name
    return _table(COVERAGE_COLUMNS, [["exact", "e-mail", "", actors, signals, actors]])


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> bytes:
    columns_ = [{"name": name} for name in columns]
    return to_json({"tables": [{"name": "PrimaryResult", "columns": columns_, "rows": rows}]})


def _change(number: int) -> list[object]:
    time = (BEGIN + timedelta(seconds=number)).isoformat()
    return [
        f"audit_log-{number}",
        time,
        time,
        "api_key.created",
        f"user{number}@example.com",
        "203.0.113.9",
        f'{{"id":"key_{number}","data":{{"scopes":["api.model.request"]}}}}',
        '{"id":"proj_1","name":"Assistants"}',
        "Mozilla/5.0",
        "OpenAI",
        '["",""]',
        None,
    ]


def _signals(after: datetime, until: datetime, signals: int, actors: int) -> bytes:
    """The rows of a slice in order of time, spread evenly over the day; cut off at ANSWER_BYTES."""
    begin, end = (_number_before(moment, signals) for moment in (after, until))
    head = body("signals", [])[:-5]
    parts, size = list[str](), 0
    for number in range(begin, end):
        row = _row(number, signals, actors)
        size += len(row) + 1
        if size > ANSWER_BYTES:
            return head + b"[" + ",".join(parts).encode() + b"]}" + PARTIAL
        parts.append(row)
    return head + b"[" + ",".join(parts).encode() + b"]}]}"


def _number_before(moment: datetime, signals: int) -> int:
    """The signals stamped up to a moment: signal n is stamped at second n * 86,400 // signals of the day."""
    seconds = min(max((moment - BEGIN) // timedelta(seconds=1), -1), 86_399)
    return -(-(seconds + 1) * signals // 86_400)


def _row(number: int, signals: int, actors: int) -> str:
    second = number * 86_400 // signals
    time = f"2026-06-08T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z"
    kind = "length" if number % 2 else "content_filter"
    noise = number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128
    return (
        f'["chatcmpl-{noise:032x}","{time}","{time}","{kind}","user{noise % actors}@example.com",'
        f'"gpt-4o-2024-08-06","[\\"{kind}\\"]","req_{noise ^ 2**128 - 1:032x}","[\\"\\"]",null]'
    )


def main() -> None:
    """Makes one run on the double at the given endpoint and prints its counts."""
    from detection.logs.log_analytics.client import open_log_analytics
    from detection.runs.commit import RunOptions
    from detection.runs.record import RunStats
    from detection.runs.run import run
    from detection.store.incident_store import IncidentStore
    from detection.store.table import MemoryTable

    # The clock stands still, so that no time limit ends the run: the double is slower than the API.
    source, requests, slices = open_log_analytics([str(UUID(int=1))], sys.argv[1], None, lambda: NOW), 0, 0
    run_query = source.run_query

    def counting_query(name: str, query: str, seconds: float = 0) -> object:
        nonlocal requests
        requests += 1
        return run_query(name, query, seconds)

    source.run_query = counting_query  # type: ignore[method-assign,assignment]
    add_slice = RunStats.add

    def counting_add(stats: RunStats, *slice_: object) -> None:
        nonlocal slices
        slices += 1
        add_slice(stats, *slice_)  # type: ignore[arg-type]

    RunStats.add = counting_add  # type: ignore[assignment,method-assign]
    record, verdicts = run(RULE, NOW, source, IncidentStore(MemoryTable(), RULE.folder, "run"), RunOptions())
    if not record.coverage:
        raise MeasurementFailed("the run has no coverage")
    result = {"requests": requests, "alerts": len(verdicts), "pairs": record.new_pairs}
    print(to_json(result | {"slices": slices}).decode())


if __name__ == "__main__":
    main()
