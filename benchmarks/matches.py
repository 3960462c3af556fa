"""`matches` at the keyboard, over made-up logs of rising size: Parquet to JSON, whole process."""

import tempfile
from pathlib import Path

from rich.table import Table

from benchmarks import tenant
from benchmarks.processes import measured
from detection.rule import rule_names

SIZES = (10_000, 100_000, 500_000)


def table() -> Table:
    """Both rules at every size, smallest first."""
    columns = ("rule", "signals", "changes", "rows", "wall s", "CPU s", "peak MiB")
    table = Table(*columns, title="matches: Parquet to JSON, whole process", title_justify="left")
    for signals in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            tenant.write(Path(folder), signals, signals // 100, 5_000)
            for rule in rule_names():
                command = ["-m", "detection", "matches", "--logs", folder, "--at", tenant.AT]
                one = measured([*command, "--format", "json", "--rule", rule])
                rows, sizes = one.printed.count("\n"), (f"{signals:,}", f"{signals // 100:,}")
                figures = (f"{rows:,}", f"{one.wall:.2f}", f"{one.cpu:.2f}", f"{one.peak:.0f}")
                table.add_row(rule, *sizes, *figures)
    return table
