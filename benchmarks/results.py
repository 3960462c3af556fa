"""benchmarks/results.json: the latest figures of every part, and the runs that measured them.

The pages show only the figures of that file (pages.py).
"""

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.figures import FigureTable
from benchmarks.size import FULL
from detection.base.json_types import type_adapter

RESULTS = Path(__file__).with_name("results.json")
LIBRARIES = (
    "azure-data-tables",
    "azure-functions",
    "azure-identity",
    "azure-monitor-query",
    "duckdb",
    "duckdb-kql",
    "msgspec",
    "orjson",
    "pandas",
    "polars",
    "pyarrow",
    "pydantic-core",
)


@dataclass(frozen=True, slots=True)
class Run:
    """Time and machine of a run, and its largest size. `load` is the load average of the minute before."""

    began: datetime
    largest: int
    load: float
    cores: int
    processor: str
    memory_gib: int
    python: str
    libraries: Mapping[str, str]

    def __str__(self) -> str:
        reduced = "" if self.largest >= FULL.max_rows else f", **reduced to {self.largest:,} rows**"
        return (
            f"{self.began.day} {self.began:%B %Y, %H:%M} UTC, {self.cores} cores ({self.processor}), "
            f"{self.memory_gib} GiB, Python {self.python}, load {self.load} at the start{reduced}"
        )


@dataclass(frozen=True, slots=True)
class Part:
    """The tables of a part by name, the beginning of their run, and the duration of the part in seconds."""

    run: datetime
    seconds: int
    tables: Mapping[str, FigureTable]


@dataclass(frozen=True, slots=True)
class Results:
    """The latest figures of every part, and the runs that measured them."""

    runs: Sequence[Run] = ()
    parts: Mapping[str, Part] = field(default_factory=dict)

    def with_part(self, name: str, part: Part, run: Run) -> "Results":
        """The same results with a part replaced, without runs that have no figures left."""
        parts = {**self.parts, name: part}
        used = {part.run for part in parts.values()}
        runs = [*(old for old in self.runs if old.began != run.began), run]
        return replace(self, runs=[old for old in runs if old.began in used], parts=parts)

    def part_of(self, table: str) -> Part | None:
        """The part with the table of that name."""
        return next((part for part in self.parts.values() if table in part.tables), None)

    def run_of(self, part: Part) -> Run:
        """The run that measured a part."""
        return next(run for run in self.runs if run.began == part.run)

    def main_run(self) -> Run:
        """The run that measured most of the parts."""
        return max(self.runs, key=lambda run: sum(part.run == run.began for part in self.parts.values()))


def this_run(largest: int) -> Run:
    """A run that begins now on this machine."""
    return Run(
        began=datetime.now(UTC).replace(second=0, microsecond=0),
        largest=largest,
        load=round(os.getloadavg()[0], 1),
        cores=os.cpu_count() or 0,
        processor=_processor(),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        python=sys.version.split()[0],
        libraries={name: version(name) for name in LIBRARIES},
    )


def read(path: Path = RESULTS) -> Results:
    """The stored results."""
    return type_adapter(Results).validate_json(path.read_bytes()) if path.exists() else Results()


def write(results: Results, path: Path = RESULTS) -> None:
    """Stores the results."""
    path.write_bytes(type_adapter(Results).dump_json(results, indent=1) + b"\n")


def _processor() -> str:
    """The model of the processor on Linux; elsewhere the architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
