"""A backtest in the terminal: a few lines, and tables of days, of who and what, and of what keeps the noise down."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from detection.backtest.backtest import Backtest
from detection.backtest.figures import Shares
from detection.messages.text import inert, many
from detection.rule import Rule, Side
from detection.timestamps import iso

SHOWN = 10  # names of one kind


def tables(result: Backtest, rule: Rule) -> None:
    """Prints them."""
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    print("\n".join(_facts(result)) + "\n")
    figures = result.figures
    days = [
        (f"{day.day:%a %d %b}", day.runs, day.messages, day.alerts, day.pairs, day.opened)
        for day in figures.days
    ]
    console.print(_table("day", ("runs", "messages", "alerts", "pairs", "incidents opened"), days))
    for name, shares, side in (
        ("change", figures.changes, rule.sequence.changes),
        ("signal", figures.signals, rule.sequence.signals),
        ("actor", figures.actors, None),
    ):
        if shares.first:
            console.print(_shares(name, shares, side))
    if result.removed:
        removed = [
            (one.by if one.stands else f"{one.by} (if it stood)", one.messages, one.alerts, one.pairs)
            for one in result.removed
        ]
        console.print(_table("removed by", ("messages", "alerts", "pairs"), removed))


def _facts(result: Backtest) -> list[str]:
    figures, compared = result.figures, result.published
    busiest = [f"{many(day.messages, 'message')} on {day.day:%d %b}" for day in figures.busiest]
    facts = [
        ("rule", f"{inert(result.rule)}, {iso(result.first)} to {iso(result.last)}"),
        *(
            [
                (
                    "set otherwise",
                    ", ".join(inert(f"{key}={value}") for key, value in result.overridden.items()),
                )
            ]
            if result.overridden
            else []
        ),
        *(
            (f"read, {side}", f"{one.rows:,} rows, {one.named:,} naming an actor; {result.read[side]:,} held")
            for side, one in result.health.items()
        ),
        (
            "told",
            f"{figures.pairs:,} pairs in {many(figures.alerts, 'alert')}, {many(figures.incidents, 'incident')}",
        ),
        (
            "for the on-call",
            f"{many(figures.messages, 'message')}, {many(figures.digests, 'digest')} among them",
        ),
        *([("busiest", "; ".join(busiest))] if busiest else []),
    ]
    lines = [f"{name:<18} {text}" for name, text in facts]
    if compared:
        lines += [
            f"{'published rule':<18} returned {compared.returned:,} rows, {compared.repeated:,} of them again;",
            f"{'':<18} missed {compared.missed:,} of the pairs told here, and returned {compared.false:,} others",
        ]
    return lines


def _shares(name: str, shares: Shares, side: Side | None) -> Table:
    first = shares.first[:SHOWN]
    rows = [(side.label(one.name) if side else one.name, one.alerts, one.pairs) for one in first]
    table = _table(name, ("alerts", "pairs"), rows)
    if shares.of > len(first):
        table.caption = f"the first {len(first)} of {shares.of:,}"
    return table


def _table(name: str, counted: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A table whose first column names, and whose others count. What comes from the logs is text and nothing more."""
    table = Table(name)
    for column in counted:
        table.add_column(column, justify="right")
    for first, *counts in rows:
        shown = (f"{count:,}" if isinstance(count, int) else str(count) for count in counts)
        table.add_row(Text(inert(first)), *shown)
    return table
