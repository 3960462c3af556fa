"""`matches` over made-up logs of rising size: Parquet to JSON, whole process."""

import tempfile
from pathlib import Path

from benchmarks import tenant
from benchmarks.answers import RULE
from benchmarks.figures import FigureTable
from benchmarks.processes import measure
from benchmarks.size import Size

SIZES = (10_000, 100_000, 500_000)
# The rule and its published rule, which read the same logs.
RULES = (RULE.folder, *([RULE.sequence.published.rule] if RULE.sequence.published else []))


def tables(size: Size) -> dict[str, FigureTable]:
    """Both rules at every size, smallest first."""
    rows = []
    for signals in size.capped(SIZES):
        changes = -(-signals // 100)
        with tempfile.TemporaryDirectory() as folder:
            tenant.write(Path(folder), signals, changes, 5_000)
            for rule in RULES[:1] if size.toy else RULES:
                command = ["-m", "detection", "matches", "--logs", folder, "--at", tenant.AT]
                process = measure([*command, "--format", "json", "--rule", rule])
                counts = (signals, changes, process.stdout.count("\n"))
                times = (f"{process.wall:.1f}", f"{process.cpu:.1f}", f"{process.peak:.0f}")
                rows.append([rule, *(f"{count:,}" for count in counts), *times])
    columns = ("rule", "signals", "changes", "rows", "wall s", "CPU s", "peak MiB")
    return {"matches": FigureTable("matches: Parquet to JSON, whole process", columns, rows)}
