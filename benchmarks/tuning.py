"""What each knob against noise does to a month: messages, alerts, incidents and pairs of a quiet and a noisy tenant."""

import tempfile
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.backtest import RANGE, Month, write
from benchmarks.processes import measured

QUIET, NOISY = Month(1_000_000, 2), Month(1_000_000, 20)
KNOBS = (
    "",
    "minimum.length=2",
    "minimum.length=5",
    "within=PT12H",
    "within=PT1H",
    "groupingConfiguration.lookbackDuration=PT5H",
    "groupingConfiguration.lookbackDuration=P7D",
    "STORM_ALERTS=3",
)


def tables() -> list[Table]:
    """One for each tenant."""
    return [_table("a quiet tenant", QUIET), _table("a noisy tenant", NOISY)]


def _table(tenant: str, month: Month) -> Table:
    title = f"{tenant}: {month.rows:,} completions in 30 days, {month.percent} % of them signals"
    columns = ("set", "messages", "alerts", "incidents", "pairs", "of the pairs")
    table = Table(*columns, title=title, title_justify="left")
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), month)
        shipped = _figures(folder, KNOBS[0])["pairs"]
        for knob in KNOBS:
            told = _figures(folder, knob)
            counts = (f"{told[name]:,}" for name in ("messages", "alerts", "incidents", "pairs"))
            table.add_row(knob or "as shipped", *counts, f"{told['pairs'] / shipped:.0%}")
    return table


def _figures(folder: str, knob: str) -> dict[str, Any]:
    """What a month of hourly runs tells with one thing set otherwise."""
    arguments = ["-m", "detection", "backtest", "--logs", folder, *RANGE, "--format", "json"]
    ran = measured([*arguments, *(["--set", knob] if knob else [])])
    figures: dict[str, Any] = ran.last["figures"]
    return figures
