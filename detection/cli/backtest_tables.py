"""A backtest in the terminal: a few lines, and tables of days, of who and what, and of what keeps the noise down."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from detection.backtest.backtest import Backtest
from detection.backtest.figures import TopCounts
from detection.base.timestamps import iso
from detection.messages.text import escape_line, plural
from detection.rules.model import Rule, Side

NAMES_SHOWN = 10  # names of one kind


def write_backtest(result: Backtest, rule: Rule) -> None:
    """Prints them."""
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    print("\n".join(_fact_lines(result)) + "\n")
    figures = result.figures
    days = [
        (f"{day.day:%a %d %b}", day.runs, day.messages, day.alerts, day.pairs, day.opened)
        for day in figures.days
    ]
    console.print(_counts_table("day", ("runs", "messages", "alerts", "pairs", "incidents opened"), days))
    for name, top_counts, side in (
        ("change", figures.changes, rule.sequence.changes),
        ("signal", figures.signals, rule.sequence.signals),
        ("actor", figures.actors, None),
    ):
        if top_counts.top:
            console.print(_top_table(name, top_counts, side))
    if result.noise_reductions:
        reduction_rows = [
            (
                reduction.removed_by if reduction.in_place else f"{reduction.removed_by} (if it stood)",
                reduction.messages,
                reduction.alerts,
                reduction.pairs,
            )
            for reduction in result.noise_reductions
        ]
        console.print(_counts_table("removed by", ("messages", "alerts", "pairs"), reduction_rows))


def _fact_lines(result: Backtest) -> list[str]:
    figures, comparison = result.figures, result.published
    busiest = [f"{plural(day.messages, 'message')} on {day.day:%d %b}" for day in figures.busiest]
    facts = [
        ("rule", f"{escape_line(result.rule)}, {iso(result.first_run)} to {iso(result.last_run)}"),
        *(
            [
                (
                    "set otherwise",
                    ", ".join(escape_line(f"{key}={value}") for key, value in result.overridden.items()),
                )
            ]
            if result.overridden
            else []
        ),
        *(
            (
                f"read, {side}",
                f"{side_health.rows:,} rows, {side_health.named:,} naming an actor; {result.row_counts[side]:,} held",
            )
            for side, side_health in result.health.items()
        ),
        (
            "told",
            f"{figures.pairs:,} pairs in {plural(figures.alerts, 'alert')}, {plural(figures.incidents, 'incident')}",
        ),
        (
            "for the on-call",
            f"{plural(figures.messages, 'message')}, {plural(figures.digests, 'digest')} among them",
        ),
        *([("busiest", "; ".join(busiest))] if busiest else []),
    ]
    lines = [f"{name:<18} {text}" for name, text in facts]
    if comparison:
        lines += [
            f"{'published rule':<18} returned {comparison.returned:,} rows, {comparison.repeated:,} of them again;",
            f"{'':<18} missed {comparison.missed:,} of the pairs told here, and returned {comparison.false:,} others",
        ]
    return lines


def _top_table(name: str, top_counts: TopCounts, side: Side | None) -> Table:
    top = top_counts.top[:NAMES_SHOWN]
    rows = [
        (side.label(named_count.name) if side else named_count.name, named_count.alerts, named_count.pairs)
        for named_count in top
    ]
    table = _counts_table(name, ("alerts", "pairs"), rows)
    if top_counts.total > len(top):
        table.caption = f"the first {len(top)} of {top_counts.total:,}"
    return table


def _counts_table(name: str, count_columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A table whose first column names, and whose others count. What comes from the logs is text and nothing more."""
    table = Table(name)
    for column in count_columns:
        table.add_column(column, justify="right")
    for row_name, *counts in rows:
        cells = (f"{count:,}" if isinstance(count, int) else str(count) for count in counts)
        table.add_row(Text(escape_line(row_name)), *cells)
    return table
