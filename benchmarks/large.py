"""Runs over more signals than one answer holds: up to ten million of 1,000 actors, and three million of one
actor.

The double generates the rows of any slice and cuts an answer off at 100 MiB, as the API does. It runs in a
separate process. Each run is a first run, the most expensive kind: every signal is new. Its table is in
memory.
"""

import json
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from pydantic_core import to_json

from benchmarks.answers import BEGIN, NOW, RULE, body
from benchmarks.figures import FigureTable
from benchmarks.processes import MeasurementFailed, measure
from benchmarks.serving import serving
from benchmarks.size import Size
from detection.logs.kql import COVERAGE_COLUMNS, HEALTH_COLUMNS, queries

SIZES = ((400_000, 1_000), (1_000_000, 1_000), (3_000_000, 1_000), (10_000_000, 1_000), (3_000_000, 1))
CPU_GOAL = 14  # µs a signal, at the first size
ANSWER_BYTES = 100 * 2**20  # bytes
LET = re.compile(r"let (\w+) = datetime\(([^)]+)\);")
PARTIAL = b'],"error":{"code":"PartialError","message":"The results of this query exceed the set limit."}}'


def tables(size: Size) -> dict[str, FigureTable]:
    """A run at every size, and where the CPU time of the first goes."""
    rows, stage_rows = [], list[list[str]]()
    for signals, actors in dict.fromkeys((min(signals, size.max_rows), actors) for signals, actors in SIZES):
        with serving(partial(_answer, signals, actors)) as endpoint:
            process = measure(["-m", "benchmarks.large", endpoint])
        counts = [process.result[name] for name in ("requests", "slices", "alerts", "pairs")]
        micros = process.cpu / signals * 1e6
        times = (f"{process.cpu:.1f}", f"{micros:,.1f}", f"{process.wall:.0f}", f"{process.peak:.0f}")
        rows.append([*(f"{count:,}" for count in (signals, actors, *counts)), *times])
        if not stage_rows:
            stages = process.result["stages"]
            stages["start and records"] = process.cpu - sum(stages.values())
            total = ("in all", f"{micros:.1f}", f"{CPU_GOAL}", f"{micros / CPU_GOAL:.2f}")
            stage_rows = [[name, f"{cpu / signals * 1e6:.1f}", "", ""] for name, cpu in stages.items()]
            stage_rows.append([*total])
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
    return {
        "large": FigureTable("one run, every signal new", columns, rows),
        "large-stages": FigureTable(
            f"CPU of a new signal, {rows[0][0]} signals of {rows[0][1]} actors",
            ("stage", "µs a signal", "goal", "µs ÷ goal"),
            stage_rows,
        ),
    }


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
    """Makes one run on the double at the given endpoint and prints its counts, and the CPU seconds of its stages."""
    from detection.incidents.decide import Decision
    from detection.logs.log_analytics.client import open_log_analytics
    from detection.logs.source import read_slices
    from detection.runs import run as run_module
    from detection.runs.commit import Committer, RunOptions
    from detection.runs.record import RunStats
    from detection.store.incident_store import IncidentStore
    from detection.store.table import MemoryTable

    # The clock stands still, so that no time limit ends the run: the double is slower than the API.
    source = open_log_analytics([str(UUID(int=1))], sys.argv[1], None, lambda: NOW)
    calls, stages = Counter[str](), defaultdict[str, float](float)

    def measured(function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        """The function, which counts its calls, and the CPU time of the process as a stage."""

        def measured_function(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # of any function
            calls[function.__name__] += 1
            began = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                stages[stage] += time.process_time() - began

        return measured_function

    def measured_slices(*args: Any) -> Iterator[Any]:  # noqa: ANN401  # of any source
        slices = iter(read_slices(*args))
        advance = measured(next, "reading")
        while (logs := advance(slices, None)) is not None:
            yield logs

    source.run_query = measured(source.run_query, "")  # type: ignore[method-assign]
    for module, name, stage in (
        (run_module, "correlate_logs", "correlation"),
        (Decision, "verdict", "decision"),
        (Committer, "commit", "commit"),
        (RunStats, "add", "counts"),
    ):
        setattr(module, name, measured(getattr(module, name), stage))
    run_module.read_slices = measured_slices  # type: ignore[attr-defined,assignment]
    store = IncidentStore(MemoryTable(), RULE.folder, "run")
    record, verdicts = run_module.run(RULE, NOW, source, store, RunOptions())
    if not record.coverage:
        raise MeasurementFailed("the run has no coverage")
    stages["commit"] -= stages["decision"]
    del stages[""]
    result = {"requests": calls["run_query"], "alerts": len(verdicts), "pairs": record.new_pairs}
    print(to_json(result | {"slices": calls["add"], "stages": stages}).decode())


if __name__ == "__main__":
    main()
