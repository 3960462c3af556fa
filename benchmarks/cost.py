"""The cost of a month: the runs of hours.py times the prices. docs/deploy.md has the same calculation.

A script cannot read Microsoft's price pages. The price of a GB-second is published elsewhere and is the
default; the others are arguments. Without a price, the table shows the amount.
"""

from argparse import ArgumentParser
from dataclasses import dataclass

from benchmarks.figures import FigureTable
from benchmarks.hours import hours, run
from benchmarks.processes import Measurement
from benchmarks.size import Size

RUNS = 24 * 30
ROUNDS = 12 * 24 * 30  # deliveries of a second each, the least that Flex Consumption bills
ROUND_REQUESTS = 2  # to the table, of a delivery without messages: the list of rules, the outbox of a rule
GIB = 2  # of the instance
# Granted each month (Azure Functions pricing page, September 2026; docs/deploy.md).
GRANTED_GB_SECONDS, GRANTED_EXECUTIONS = 100_000, 250_000
# USD, East US, on demand (modal.com/blog/azure-function-pricing-guide, 22 May 2025).
GB_SECOND = 0.000026
LINE = 3_000  # bytes of a run's line with a hundred alerts


@dataclass(frozen=True, slots=True)
class Prices:
    """USD for a GB-second, for 10,000 table requests, and for a GB of the job's log; None if not given."""

    gb_second: float
    table_10k: float | None
    log_gb: float | None


def arguments(parser: ArgumentParser) -> None:
    """Adds the prices as options."""
    parser.add_argument(
        "--gb-second", type=float, default=GB_SECOND, help="USD for a GB-s of Flex Consumption"
    )
    parser.add_argument(
        "--table-10k", type=float, help="USD for 10,000 requests of Table Storage (no default)"
    )
    parser.add_argument("--log-gb", type=float, help="USD for a GB into Log Analytics (no default)")


def tables(size: Size, prices: Prices) -> dict[str, FigureTable]:
    """A month of the quietest hour, and a month of the busiest hour."""
    assert RUNS + ROUNDS < GRANTED_EXECUTIONS  # so executions cost nothing
    rows = []
    for hour in dict.fromkeys((hours(size)[0], hours(size)[-1])):
        for sum_name, amount, paid, price in _sums(run(hour, size), prices):
            usd = ("", "no price given") if price is None else (f"{price:g}", f"{paid * price:.2f}")
            rows.append([hour.name, sum_name, f"{amount:,.3f}", f"{paid:,.3f}", *usd])
    title = f"a month: {RUNS} runs and {ROUNDS:,} delivery rounds on {GIB} GiB; queries of Analytics tables cost nothing"
    return {"cost": FigureTable(title, ("every hour", "what", "amount", "paid", "USD each", "USD"), rows)}


def _sums(process: Measurement, prices: Prices) -> list[tuple[str, float, float, float | None]]:
    """The name of each sum, its amount, the paid part of it, and its price."""
    gb_seconds = GIB * (RUNS * max(process.wall, 1) + ROUNDS)
    requests = RUNS * process.result["requests"]["table"] + ROUNDS * ROUND_REQUESTS
    log = RUNS * LINE / 1e9
    return [
        ("GB-s", gb_seconds, max(gb_seconds - GRANTED_GB_SECONDS, 0), prices.gb_second),
        ("10,000 table requests", requests / 10_000, requests / 10_000, prices.table_10k),
        ("GB of the job's log", log, log, prices.log_gb),
    ]
