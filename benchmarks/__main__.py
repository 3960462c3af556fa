"""Measure speed, memory and costs on this machine, and print a table as each part ends.

Each measurement runs in a separate process. Seconds are CPU seconds unless the column says wall: compare rows
of one table, not figures of two machines. Progress goes to stderr. If a part fails, the others still run and
the exit code is 1.

With --write the figures also go to benchmarks/results.json, part by part, and from there into the pages of
docs, each with the run it is of. `make bench` without ARGS measures all parts and writes; `make bench ARGS="wire cold"`
prints two.
"""

import sys
import traceback
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping, Sequence
from time import monotonic

from rich.console import Console

from benchmarks import (
    backtest,
    beyond,
    cold,
    correlation,
    cost,
    hours,
    large,
    matches,
    package,
    pages,
    results,
    scale,
    semi_join,
    tuning,
    volume,
    wire,
)
from benchmarks.figures import FigureTable
from benchmarks.results import Part
from benchmarks.size import FULL, TOY, Size

Measure = Callable[[Size, cost.Prices], Mapping[str, FigureTable]]

PARTS: Mapping[str, Measure] = {
    "wire": lambda size, _: wire.tables(size),
    "semi-join": lambda size, _: semi_join.tables(size),
    "correlation": lambda size, _: correlation.tables(size),
    "matches": lambda size, _: matches.tables(size),
    "cold": lambda size, _: cold.tables(size),
    "hours": lambda size, _: hours.tables(size),
    "cost": cost.tables,
    "volume": lambda size, _: volume.tables(size),
    "scale": lambda size, _: scale.tables(size),
    "tuning": lambda size, _: tuning.tables(size),
    "package": lambda size, _: package.tables(size),
    "backtest": lambda size, _: backtest.tables(size),
    "large": lambda size, _: large.tables(size),
    "beyond": lambda size, _: beyond.tables(size),
}


def main(arguments: Sequence[str] | None = None, parts: Mapping[str, Measure] = PARTS) -> int:
    """Measures the chosen parts. Returns the exit code."""
    chosen = _chosen(arguments, parts)
    size = TOY if chosen.toy else Size(chosen.largest)
    prices = cost.Prices(chosen.gb_second, chosen.table_10k, chosen.log_gb)
    console, run, began, failed = (
        Console(width=130),
        results.this_run(size.max_rows),
        monotonic(),
        list[str](),
    )
    console.print(f"{run}\n", highlight=False)
    for number, name in enumerate(names := chosen.parts or list(parts), 1):
        part_began = monotonic()
        _print_progress(f"[{number}/{len(names)}, {part_began - began:.0f} s elapsed] {name} …")
        try:
            tables = parts[name](size, prices)
        except Exception:  # noqa: BLE001  # the other parts are still measured
            traceback.print_exc()
            failed.append(name)
            continue
        for table in tables.values():
            console.print(table.rich())
        if chosen.write:
            part = Part(run.began, round(monotonic() - part_began), tables)
            latest = results.read().with_part(name, part, run)
            results.write(latest)
            pages.write(latest)
    measured = f"{len(names) - len(failed)} of {len(names)} parts measured in {monotonic() - began:.0f} s"
    _print_progress(f"{measured}; failed: {', '.join(failed)}" if failed else measured)
    return 1 if failed else 0


def _chosen(arguments: Sequence[str] | None, parts: Mapping[str, Measure]) -> Namespace:
    parser = ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "parts", nargs="*", metavar="part", help=f"parts to measure: {', '.join(parts)}; all by default"
    )
    parser.add_argument(
        "--largest",
        type=int,
        default=FULL.max_rows,
        metavar="ROWS",
        help="limit runs to this number of rows; the pages then call the run reduced",
    )
    parser.add_argument(
        "--toy", action="store_true", help="run all code once at toy size, without meaningful figures"
    )
    parser.add_argument(
        "--write", action="store_true", help="store the figures and write them into the pages"
    )
    cost.arguments(parser)
    chosen = parser.parse_args(arguments)
    if unknown := sorted(set(chosen.parts) - parts.keys()):
        parser.error(f"unknown part: {', '.join(unknown)}; the parts are {', '.join(parts)}")
    if chosen.largest < 1:
        parser.error("--largest must be at least 1")
    if chosen.toy and chosen.write:
        parser.error("--toy has no meaningful figures to write; drop --toy or --write")
    return chosen


def _print_progress(progress: str) -> None:
    print(progress, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
