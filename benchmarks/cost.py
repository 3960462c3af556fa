"""What a month costs: the runs of hours.py times the prices. The sums are docs/deploy.md's.

Only one price could be read where it was written down for others, not on Microsoft's own pages, which leave the numbers
out for machines: the others are arguments, and what has no price is shown as an amount.
"""

from argparse import ArgumentParser
from dataclasses import dataclass

from rich.table import Table

from benchmarks.hours import HOURS, run
from benchmarks.processes import Measured

RUNS = 24 * 30
ROUNDS = 12 * 24 * 30  # of deliveries, a second each: the least that Flex Consumption counts
GIB = 2  # of the instance
# Granted each month (Azure Functions pricing page, September 2026; docs/deploy.md).
GRANTED_GB_SECONDS, GRANTED_EXECUTIONS = 100_000, 250_000
# USD, East US, on demand (modal.com/blog/azure-function-pricing-guide, 22 May 2025).
GB_SECOND = 0.000026
LINE = 3_000  # bytes of a run's line, with a hundred alerts named
QUIET, BUSY = HOURS[0], HOURS[-1]


@dataclass(frozen=True, slots=True)
class Prices:
    """USD for a GB-second, for 10,000 table requests, and for a GB of the job's own log; None: not given."""

    gb_second: float
    table_10k: float | None
    log_gb: float | None


def arguments(parser: ArgumentParser) -> None:
    """The prices, as options."""
    parser.add_argument(
        "--gb-second", type=float, default=GB_SECOND, help="USD for a GB-s of Flex Consumption"
    )
    parser.add_argument(
        "--table-10k", type=float, help="USD for 10,000 requests of Table Storage (no default)"
    )
    parser.add_argument("--log-gb", type=float, help="USD for a GB into Log Analytics (no default)")


def table(prices: Prices) -> Table:
    """A month of a tenant where nothing happens, and of one where 500 people are told of in every hour."""
    title = f"a month: {RUNS} runs and {ROUNDS:,} delivery rounds on {GIB} GiB; queries of Analytics tables cost nothing"
    table = Table("tenant", "what", "amount", "paid", "USD each", "USD", title=title, title_justify="left")
    assert RUNS + ROUNDS < GRANTED_EXECUTIONS  # so executions cost nothing
    for hour in (QUIET, BUSY):
        for what, amount, paid, price in _sums(run(hour), prices):
            usd = "no price given" if price is None else f"{paid * price:.2f}"
            table.add_row(
                hour.name, what, f"{amount:,.3f}", f"{paid:,.3f}", "" if price is None else f"{price:g}", usd
            )
    return table


def _sums(one: Measured, prices: Prices) -> list[tuple[str, float, float, float | None]]:
    """What it is, how much of it, how much of that is paid, and at which price."""
    gb_seconds = GIB * (RUNS * max(one.wall, 1) + ROUNDS)
    requests = RUNS * one.last["requests"]["table"] + ROUNDS
    log = RUNS * LINE / 1e9
    return [
        ("GB-s", gb_seconds, max(gb_seconds - GRANTED_GB_SECONDS, 0), prices.gb_second),
        ("10,000 table requests", requests / 10_000, requests / 10_000, prices.table_10k),
        ("GB of the job's log", log, log, prices.log_gb),
    ]
