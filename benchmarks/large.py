"""Runs over more signals than one answer holds, up to ten million, and over ten million of one actor.

The double is a process of its own: it makes the rows of any slice up, and cuts an answer off at 100 MiB, as
the API does. The run is a first one, the dearest there is: every signal is new. Its table is in memory too.
"""

import re
import sys
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from pydantic_core import to_json
from rich.table import Table

from benchmarks.answers import BEGIN, NOW, RULE, body
from benchmarks.processes import measured
from benchmarks.serving import serving

SIZES = ((400_000, 1_000), (1_000_000, 1_000), (3_000_000, 1_000), (10_000_000, 1_000), (3_000_000, 1))
ANSWER = 100 * 2**20  # bytes
LET = re.compile(r"let (\w+) = datetime\(([^)]+)\);")
PARTIAL = b'],"error":{"code":"PartialError","message":"The results of this query exceed the set limit."}}'


def table(most: int = SIZES[-2][0]) -> Table:
    """A run of every size up to the largest."""
    columns = ("signals", "actors", "requests", "slices", "alerts", "pairs", "CPU s", "wall s", "peak MiB")
    table = Table(
        *columns, title="one run, every signal new: peak memory follows the slice", title_justify="left"
    )
    for signals, actors in SIZES:
        if signals <= most:
            with serving(partial(_answer, signals, actors)) as endpoint:
                one = measured(["-m", "benchmarks.large", endpoint])
            counts = [f"{one.last[name]:,}" for name in ("requests", "slices", "alerts", "pairs")]
            row = (
                f"{signals:,}",
                f"{actors:,}",
                *counts,
                f"{one.cpu:.0f}",
                f"{one.wall:.0f}",
                f"{one.peak:.0f}",
            )
            table.add_row(*row)
    return table


# ------------------------------------------------------------------------------------------------------------ double


def _answer(signals: int, actors: int, query: str) -> bytes:
    if "summarize Rows" in query:
        newest = NOW.isoformat()
        rows = [["changes", actors, actors, newest], ["signals", signals, signals, newest]]
        columns = [{"name": name} for name in ("Side", "Rows", "Named", "Newest")]
        return to_json({"tables": [{"name": "PrimaryResult", "columns": columns, "rows": rows}]})
    if "let signals =" not in query:
        return body("changes", [_change(at) for at in range(actors)])
    ends = {name: datetime.fromisoformat(time) for name, time in LET.findall(query)}
    return _signals(ends["signals_after"], ends["signals_until"], signals, actors)


def _change(at: int) -> list[object]:
    time = (BEGIN + timedelta(seconds=at)).isoformat()
    return [
        f"audit_log-{at}",
        time,
        time,
        "api_key.created",
        f"user{at}@example.com",
        "203.0.113.9",
        '["",""]',
        None,
    ]


def _signals(after: datetime, until: datetime, signals: int, actors: int) -> bytes:
    """The rows of a slice, one after the other over the day; cut off where the answer is too long."""
    first, last = (_number_before(moment, signals) for moment in (after, until))
    head = body("signals", [])[:-5]
    parts, size = list[str](), 0
    for at in range(first, last):
        row = _row(at, signals, actors)
        size += len(row) + 1
        if size > ANSWER:
            return head + b"[" + ",".join(parts).encode() + b"]}" + PARTIAL
        parts.append(row)
    return head + b"[" + ",".join(parts).encode() + b"]}]}"


def _number_before(moment: datetime, signals: int) -> int:
    """How many signals are stamped up to a moment: the signal `at` has the second at * 86,400 // signals of the day."""
    seconds = min(max((moment - BEGIN) // timedelta(seconds=1), -1), 86_399)
    return -(-(seconds + 1) * signals // 86_400)


def _row(at: int, signals: int, actors: int) -> str:
    second = at * 86_400 // signals
    time = f"2026-06-08T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z"
    kind = "length" if at % 2 else "content_filter"
    noise = at * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128
    return (
        f'["chatcmpl-{noise:032x}","{time}","{time}","{kind}","user{noise % actors}@example.com",'
        f'"gpt-4o-2024-08-06","[\\"{kind}\\"]","req_{noise ^ 2**128 - 1:032x}","[\\"\\"]",null]'
    )


def main() -> None:
    """One run, on the double at an endpoint."""
    from detection.incidents.index import Index
    from detection.incidents.table import MemoryTable
    from detection.record import Seen
    from detection.run import run
    from detection.sources.log_analytics import open_log_analytics
    from detection.tell import Terms

    # The clock stands still: it is memory that is measured; the seconds are printed beside it.
    source, requests, slices = open_log_analytics([str(UUID(int=1))], sys.argv[1], None, lambda: NOW), 0, 0
    ask = source.ask

    def counting(name: str, query: str, seconds: float = 0) -> object:
        nonlocal requests
        requests += 1
        return ask(name, query, seconds)

    source.ask = counting  # type: ignore[method-assign,assignment]
    adding = Seen.add

    def slice_by_slice(seen: Seen, *slice_: object) -> None:
        nonlocal slices
        slices += 1
        adding(seen, *slice_)  # type: ignore[arg-type]

    Seen.add = slice_by_slice  # type: ignore[assignment,method-assign]
    record, told = run(RULE, NOW, source, Index(MemoryTable(), RULE.folder, "run"), Terms())
    result = {"requests": requests, "alerts": len(told), "pairs": record.new_pairs}
    print(to_json(result | {"slices": slices}).decode())


if __name__ == "__main__":
    main()
