"""What the semi-join keeps off the wire: the signals' query of a run, executed by DuckDB, with it and without."""

import tempfile
import zlib
from datetime import datetime
from pathlib import Path

import duckdb_kql
from pydantic_core import to_json
from rich.table import Table

from benchmarks import tenant
from benchmarks.answers import RULE
from detection.kql import bounds, queries, with_bounds
from detection.window import windows
from tests.query_api import tables_of

SIGNALS, CHANGES, ACTORS = 200_000, 1_000, 5_000


def table() -> Table:
    """Rows and bytes of both answers: signals of everybody, and of those who made a change."""
    stretch = windows(datetime.fromisoformat(tenant.AT), None, RULE)
    text = with_bounds(queries(RULE)["signals"], bounds(stretch))
    asked = {"without": text[: text.rindex("signals | where")] + "signals", "with": text}
    table = Table("semi-join", "rows", "MB", "MB compressed", title=_title(), title_justify="left")
    with tempfile.TemporaryDirectory() as folder:
        tenant.write(Path(folder), SIGNALS, CHANGES, ACTORS)
        with tables_of(Path(folder), RULE.tables) as connection:
            connection.execute("SET VARIABLE moment = '2100-01-01'::TIMESTAMP")
            for name, query in asked.items():
                rows = duckdb_kql.execute(connection.cursor(), query).fetchall()
                sent = to_json(rows)
                packed = zlib.compress(sent)
                table.add_row(name, f"{len(rows):,}", f"{len(sent) / 1e6:.1f}", f"{len(packed) / 1e6:.1f}")
    return table


def _title() -> str:
    return (
        f"semi-join: {SIGNALS:,} abuse signals of {ACTORS:,} people, a fifth of whom made {CHANGES:,} changes"
    )
