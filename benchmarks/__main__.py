"""Measures and prints one table: `python -m benchmarks`. Every line is a process of its own."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import tenant
from detection.rule import rule_names

SIGNALS = (10_000, 100_000, 500_000, 1_000_000)


@dataclass(frozen=True, slots=True)
class Measured:
    """A process: what it printed, its wall and CPU time in seconds, its peak memory in MiB."""

    printed: str
    wall: float
    cpu: float
    peak: float


def main() -> None:
    """Both tables, smallest size first."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--largest", type=int, default=SIGNALS[-1], help="leave out sizes above this (signals)"
    )
    largest = parser.parse_args().largest
    sizes = [size for size in SIGNALS if size <= largest]
    console = Console(width=110)
    console.print(
        f"{os.cpu_count()} cores, Python {sys.version.split()[0]}; every figure is of a process of its own\n"
    )
    console.print(_correlation(sizes))
    console.print(_matches(sizes))


def _correlation(sizes: list[int]) -> Table:
    table = Table(
        "signals",
        "changes",
        "pairs",
        "seconds",
        "µs/signal",
        title="correlation: events to chains",
        title_justify="left",
    )
    for signals in sizes:
        changes = signals // 100
        seconds, pairs = measured(
            ["-m", "benchmarks.correlation", str(signals), str(changes)]
        ).printed.split()
        per_signal = float(seconds) / signals * 1e6
        table.add_row(f"{signals:,}", f"{changes:,}", f"{int(pairs):,}", seconds, f"{per_signal:.2f}")
    return table


def _matches(sizes: list[int]) -> Table:
    table = Table(
        "rule",
        "signals",
        "changes",
        "rows",
        "wall s",
        "CPU s",
        "peak MiB",
        title="matches: Parquet to JSON, whole process",
        title_justify="left",
    )
    for signals in sizes:
        with tempfile.TemporaryDirectory() as folder:
            tenant.write(Path(folder), signals, signals // 100, 5_000)
            for rule in rule_names():
                command = [
                    "-m",
                    "detection",
                    "matches",
                    "--logs",
                    folder,
                    "--at",
                    tenant.AT,
                    "--format",
                    "json",
                    "--rule",
                    rule,
                ]
                one = measured(command)
                rows = one.printed.count("\n")
                table.add_row(
                    rule,
                    f"{signals:,}",
                    f"{signals // 100:,}",
                    f"{rows:,}",
                    f"{one.wall:.2f}",
                    f"{one.cpu:.2f}",
                    f"{one.peak:.0f}",
                )
    return table


def measured(command: list[str]) -> Measured:
    """Runs Python with these arguments to its end."""
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen([sys.executable, *command], stdout=output, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - began
        output.seek(0)
        printed = output.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return Measured(printed, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


main()
