"""The effect of each setting on a month of a quiet and a noisy tenant: messages, alerts, incidents, pairs."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.backtest import RANGE, Month, write
from benchmarks.figures import FigureTable
from benchmarks.processes import measure
from benchmarks.size import Size

QUIET, NOISY = Month(1_000_000, 2), Month(1_000_000, 20)
KNOBS = (
    "",
    "threshold.length=2",
    "threshold.length=5",
    "within=PT12H",
    "within=PT1H",
    "groupingConfiguration.lookbackDuration=PT5H",
    "groupingConfiguration.lookbackDuration=P7D",
    "STORM_ALERTS=3",
)
COUNTS = ("messages", "alerts", "incidents", "pairs")


def tables(size: Size) -> dict[str, FigureTable]:
    """A table for each tenant."""
    tenants = {"quiet": QUIET} if size.toy else {"quiet": QUIET, "noisy": NOISY}
    return {f"tuning-{name}": _tenant(name, month, size) for name, month in tenants.items()}


def _tenant(name: str, month: Month, size: Size) -> FigureTable:
    month = replace(month, rows=min(month.rows, size.max_rows))
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), month)
        figures = {knob: _figures(folder, knob) for knob in (KNOBS[:1] if size.toy else KNOBS)}
    shipped = figures[KNOBS[0]]["pairs"]
    rows = [
        [
            knob or "as shipped",
            *(f"{backtest[count]:,}" for count in COUNTS),
            f"{backtest['pairs'] / shipped:.0%}" if shipped else "",
        ]
        for knob, backtest in figures.items()
    ]
    title = f"a {name} tenant: {month.rows:,} completions in 30 days, {month.percent} % of them signals"
    return FigureTable(title, ("set", *COUNTS, "of the pairs"), rows)


def _figures(folder: str, knob: str) -> dict[str, Any]:
    """The figures of a month of hourly runs with one setting changed."""
    arguments = ["-m", "detection", "backtest", "--logs", folder, *RANGE, "--format", "json"]
    figures: dict[str, Any] = measure([*arguments, *(["--set", knob] if knob else [])]).result["figures"]
    return figures
