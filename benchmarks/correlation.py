"""From Python rows to chains: plain Python compared with DuckDB, Polars, pandas and a nested loop, with
conversion.

All count the same pairs of the same unordered rows (id, time, actor). Plain Python also returns the signals
that each change reaches; the others only count the pairs.
"""

import random
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks.figures import FigureTable
from benchmarks.processes import measure, seconds_of
from benchmarks.size import Size

BEGIN = datetime(2026, 6, 8, tzinfo=UTC)
ACTORS = 5_000
WITHIN = timedelta(hours=24)
SIZES = (10_000, 100_000, 1_000_000)
LOOPED = 10_000  # signals for the nested loop, whose time grows a hundredfold when they grow tenfold
MAX_SIGNALS_PER_ACTOR = 500_000

Row = tuple[str, datetime, str]


def tables(size: Size) -> dict[str, FigureTable]:
    """Every engine at every size, and one actor with a rising number of changes."""
    return {"correlation": _engines(size), "flat": _flat(size)}


def _engines(size: Size) -> FigureTable:
    """Every engine, with one change for every hundred signals."""
    rows = []
    for signals in size.capped(SIZES):
        changes = -(-signals // 100)
        answers = {
            name: _measured(name, signals, changes, ACTORS)
            for name in WAYS
            if name != "nested loop" or signals <= LOOPED
        }
        (pairs,) = {answer["pairs"] for answer in answers.values()}
        seconds = [f"{answers[name]['seconds']:.3f}" if name in answers else "" for name in WAYS]
        rows.append([f"{signals:,}", f"{changes:,}", f"{pairs:,}", *seconds])
    columns = ("signals", "changes", "pairs", *WAYS)
    return FigureTable("correlation: CPU seconds from rows to chains", columns, rows)


def _flat(size: Size) -> FigureTable:
    """One actor: the pairs grow with the changes, the time does not."""
    signals, rows = min(MAX_SIGNALS_PER_ACTOR, size.max_rows), []
    for changes in size.capped((1, 10, 100, 1_000)):
        answer = _measured("plain Python", signals, changes, 1)
        rows.append([f"{changes:,}", f"{signals:,}", f"{answer['pairs']:,}", f"{answer['seconds']:.3f}"])
    columns = ("changes", "signals", "pairs", "CPU s")
    return FigureTable("correlation: one actor, plain Python", columns, rows)


def _measured(name: str, signals: int, changes: int, actors: int) -> Any:  # noqa: ANN401  # JSON
    return measure(["-m", "benchmarks.correlation", name, str(signals), str(changes), str(actors)]).result


def rows(number: int, prefix: str, actors: int) -> list[Row]:
    """Rows of one day for random actors; changes begin half a day earlier."""
    chance, early = random.Random(prefix), timedelta(hours=12 if prefix == "change" else 0)
    return [
        (
            f"{prefix}{index}",
            BEGIN - early + timedelta(seconds=chance.randrange(86_400)),
            f"user{chance.randrange(actors)}@example.com",
        )
        for index in range(number)
    ]


# -------------------------------------------------------------------------------------------------------------- ways


def _python(changes: Sequence[Row], signals: Sequence[Row]) -> int:
    from detection.correlation.correlate import correlate
    from detection.logs.events import Event

    change_events = [Event(ident, time, actor, "", ()) for ident, time, actor in changes]
    signal_events = [Event(ident, time, actor, "", ()) for ident, time, actor in signals]
    return sum(
        len(span)
        for chain in correlate(change_events, signal_events, WITHIN, once=True)
        for span in chain.spans
    )


def _loop(changes: Sequence[Row], signals: Sequence[Row]) -> int:
    return sum(
        actor == signal_actor and changed <= signalled <= changed + WITHIN
        for _, changed, actor in changes
        for _, signalled, signal_actor in signals
    )


def _pandas(changes: Sequence[Row], signals: Sequence[Row]) -> int:
    import pandas as pd

    change_frame = pd.DataFrame(changes, columns=["change", "changed", "actor"])
    signal_frame = pd.DataFrame(signals, columns=["signal", "signalled", "actor"])
    pairs = change_frame.merge(signal_frame, on="actor")
    return int(((pairs.changed <= pairs.signalled) & (pairs.signalled <= pairs.changed + WITHIN)).sum())


def _polars(changes: Sequence[Row], signals: Sequence[Row]) -> int:
    import polars as pl

    change_frame = pl.LazyFrame(changes, schema=["change", "changed", "actor"], orient="row")
    signal_frame = pl.LazyFrame(signals, schema=["signal", "signalled", "actor"], orient="row")
    inside = (pl.col("changed") <= pl.col("signalled")) & (pl.col("signalled") <= pl.col("changed") + WITHIN)
    return int(change_frame.join(signal_frame, on="actor").filter(inside).select(pl.len()).collect().item())


def _duckdb(changes: Sequence[Row], signals: Sequence[Row]) -> int:
    import duckdb
    import pyarrow as pa

    connection = duckdb.connect()
    for name, side_rows in (("changes", changes), ("signals", signals)):
        columns = dict(zip(("id", "time", "actor"), map(list, zip(*side_rows, strict=True)), strict=True))
        connection.register(name, pa.table(columns))
    answer = connection.execute(
        "SELECT count(*) FROM changes c JOIN signals s ON c.actor = s.actor "
        "AND s.time BETWEEN c.time AND c.time + INTERVAL 24 HOUR"
    ).fetchone()
    assert answer
    return int(answer[0])


WAYS: dict[str, Callable[[Sequence[Row], Sequence[Row]], int]] = {
    "plain Python": _python,
    "DuckDB": _duckdb,
    "Polars": _polars,
    "pandas": _pandas,
    "nested loop": _loop,
}


def main() -> None:
    """Prints the CPU seconds (the best of three) and the pairs of an engine at a size."""
    name, signals, changes, actors = sys.argv[1], *map(int, sys.argv[2:])
    change_rows, signal_rows = rows(changes, "change", actors), rows(signals, "signal", actors)
    pairs = WAYS[name](change_rows, signal_rows)  # warms up the imports
    print(f'{{"seconds": {seconds_of(lambda: WAYS[name](change_rows, signal_rows))}, "pairs": {pairs}}}')


if __name__ == "__main__":
    main()
