"""The semi-join: DuckDB executes the signals query of a run with it and without it."""

import tempfile
import zlib
from datetime import datetime
from pathlib import Path

import duckdb_kql
from pydantic_core import to_json

from benchmarks import tenant
from benchmarks.answers import RULE
from benchmarks.figures import FigureTable
from benchmarks.size import Size
from detection.logs.kql import bounds, queries, with_bounds
from detection.logs.window import plan_windows
from tests.support.query_api import tables_of

SIGNALS, CHANGES, ACTORS = 200_000, 1_000, 5_000


def tables(size: Size) -> dict[str, FigureTable]:
    """Rows and bytes of both answers: signals of all actors, and of the actors who made a change."""
    number = min(SIGNALS, size.max_rows)
    text = with_bounds(
        queries(RULE)["signals"], bounds(plan_windows(datetime.fromisoformat(tenant.AT), None, RULE))
    )
    query_texts = {"without": text[: text.rindex("signals | where")] + "signals", "with": text}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        tenant.write(Path(folder), number, CHANGES, ACTORS)
        with tables_of(Path(folder), RULE.tables) as connection:
            connection.execute("SET VARIABLE moment = '2100-01-01'::TIMESTAMP")
            for name, query in query_texts.items():
                answer = duckdb_kql.execute(connection.cursor(), query).fetchall()
                answer_json = to_json(answer)
                sizes = (f"{len(content) / 1e6:.1f}" for content in (answer_json, zlib.compress(answer_json)))
                rows.append([name, f"{len(answer):,}", *sizes])
    title = (
        f"semi-join: {number:,} abuse signals of {ACTORS:,} actors, a fifth of whom made {CHANGES:,} changes"
    )
    return {"semi-join": FigureTable(title, ("semi-join", "rows", "MB", "MB compressed"), rows)}
