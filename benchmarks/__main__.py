"""Measures and prints: all of it, or the parts that are named. `make bench ARGS="wire cold"`.

Every figure is of a process of its own. Seconds are CPU seconds where nothing else is said; compare the lines of
one run with each other, not with another machine's.
"""

import os
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from benchmarks import (
    backtest,
    beyond,
    cold,
    correlation,
    cost,
    hours,
    large,
    matches,
    semi_join,
    tuning,
    wire,
)

PARTS: dict[str, Callable[[Namespace], list[Table]]] = {
    "wire": lambda _: [wire.table()],
    "semi-join": lambda _: [semi_join.table()],
    "correlation": lambda _: [correlation.table(), correlation.flat()],
    "matches": lambda _: [matches.table()],
    "cold": lambda _: [cold.table()],
    "hours": lambda _: [hours.table()],
    "large": lambda chosen: [large.table(chosen.largest)],
    "backtest": lambda chosen: [backtest.table(chosen.largest)],
    "tuning": lambda _: tuning.tables(),
    "beyond": lambda _: [beyond.table()],
    "cost": lambda chosen: [cost.table(cost.Prices(chosen.gb_second, chosen.table_10k, chosen.log_gb))],
}


def main() -> None:
    """The tables of the chosen parts, as they are done."""
    chosen = _chosen()
    console = Console(width=130)
    console.print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f}\n")
    for name in chosen.parts or PARTS:
        for table in PARTS[name](chosen):
            console.print(table)


def _chosen() -> Namespace:
    parser = ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; all if none is named"
    )
    parser.add_argument(
        "--largest", type=int, default=10_000_000, help="leave out runs over more rows than this"
    )
    cost.arguments(parser)
    chosen = parser.parse_args()
    if unknown := set(chosen.parts) - PARTS.keys():
        parser.error(f"unknown part: {', '.join(sorted(unknown))}")
    return chosen


main()
