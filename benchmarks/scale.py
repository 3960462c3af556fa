"""Seconds and requests of runs over many actors, of the list of incidents, and of delivery, on a table that
answers after 10 ms.

The real client talks to a double of the table service (table_double.py), which runs in a process of its own and
adds the latency. The logs are in memory. So the seconds are those of the job and of its requests to the table.
The rows of 200,000 keys take minutes to make, and 1.6 GB.
`python -m benchmarks.scale known:1000 days:90` measures single cases of scale_cases.py.
"""

import json
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import requests
from rich.console import Console

from benchmarks.figures import FigureTable
from benchmarks.processes import MeasurementFailed, measure
from benchmarks.scale_cases import CASES, DAILY, IN_VIEW
from benchmarks.size import Size
from benchmarks.table_double import COUNTS, LATENCY


@dataclass(frozen=True, slots=True)
class Goal:
    """A case at an amount, with the seconds and requests that it may take; None: no goal."""

    title: str
    case: str
    amount: int
    seconds: float | None = None
    requests: int | None = None


GOALS = (
    Goal("{amount:,} actors known, nothing new", "known", 1_000, 1, 30),
    Goal("{amount:,} actors known, nothing new", "known", 5_000, 3, 100),
    Goal("{amount:,} actors new", "new", 1_000, 5, 300),
    Goal("{amount:,} actors new", "new", 5_000, 25, 1_500),
    Goal("{amount:,} actors new", "new", 20_000, 120),
    Goal(
        "{in_view:,} actors known, {amount:,} keys out of view, nothing new",
        "out-of-view",
        200_000,
        1.5,
        40,
    ),
    Goal("quiet hour", "quiet", 1, None, 4),
    Goal("first page of the list of {amount:,} incidents", "list", 20_000, None, 1),
    Goal("an incident by its id, of {amount:,}", "id", 20_000, None, 2),
    Goal("an id that does not exist, of {amount:,}", "unknown-id", 20_000, None, 2),
    Goal("{amount:,} messages to a receiver of 50 ms", "messages", 1_000, 60, None),
)
GROWTH = (
    ("actors known, nothing new", "known", (10, 100, 1_000, 5_000, 20_000)),
    ("actors new", "new", (10, 100, 1_000, 5_000, 20_000)),
    ("incidents in the list, its first page", "list", (1, 100, 1_000, 20_000)),
    ("incidents, one of them by its id", "id", (1, 100, 1_000, 20_000)),
    (f"days of marks of {DAILY} actors, nothing new", "days", (1, 10, 30, 90)),
)
FIGURES = ("MB", "CPU s", "result")


@dataclass(frozen=True, slots=True)
class Figures:
    """What the work of a case took: `bytes` are those of bodies both ways, `cpu` the seconds of the job."""

    seconds: float
    requests: int
    bytes: int
    cpu: float
    result: str

    @property
    def cells(self) -> tuple[str, str, str]:
        """The columns FIGURES."""
        return f"{self.bytes / 1e6:.2f}", f"{self.cpu:.1f}", self.result


def tables(size: Size) -> dict[str, FigureTable]:
    """The cases that have goals, and the growth of each."""
    rows = [_goal_row(goal, min(goal.amount, size.max_rows)) for goal in GOALS]
    columns = ("case", "s", "goal", "s ÷ goal", "requests", "goal of requests", "requests ÷ goal", *FIGURES)
    growth = [
        [title, f"{amount:,}", f"{figures.seconds:.2f}", f"{figures.requests:,}", *figures.cells]
        for title, case, amounts in GROWTH
        for amount in size.capped(amounts)[-1 if size.toy else 0 :]
        for figures in [measure_case(case, amount)]
    ]
    milliseconds = f"{LATENCY * 1000:.0f} ms a request"
    return {
        "scale": FigureTable(f"on a table that takes {milliseconds}", columns, rows),
        "scale-growth": FigureTable(
            f"growth, at {milliseconds}", ("of", "amount", "s", "requests", *FIGURES), growth
        ),
    }


def _goal_row(goal: Goal, amount: int) -> list[str]:
    figures = measure_case(goal.case, amount)
    is_full = amount == goal.amount  # a goal is for this amount only
    return [
        goal.title.format(amount=amount, in_view=min(IN_VIEW, amount)),
        *_with_goal(f"{figures.seconds:.2f}", figures.seconds, goal.seconds if is_full else None),
        *_with_goal(f"{figures.requests:,}", figures.requests, goal.requests if is_full else None),
        *figures.cells,
    ]


def _with_goal(cell: str, amount: float, goal: float | None) -> list[str]:
    return [cell, f"{goal:,g}", f"{amount / goal:.2f}"] if goal else [cell, "", ""]


@cache  # both tables show some of the cases
def measure_case(name: str, amount: int) -> Figures:
    """Prepares the rows of a case, serves them, and does its work. Raises MeasurementFailed."""
    with _serving(name, amount) as endpoint:
        work = measure(["-m", "benchmarks.scale_cases", "work", name, str(amount), endpoint]).result
        port, *_ = json.loads(endpoint)
        counts = requests.get(f"http://127.0.0.1:{port}{COUNTS}", timeout=60).json()
    if counts["refused"]:
        raise MeasurementFailed(f"{name} {amount}: {counts['refused'][:3]}")
    return Figures(work["seconds"], counts["requests"], counts["bytes"], work["cpu"], work["result"])


@contextmanager
def _serving(name: str, amount: int) -> Iterator[str]:
    """Runs the double with the rows of a case. Yields its endpoint as JSON."""
    command = [sys.executable, "-m", "benchmarks.scale_cases", "serve", name, str(amount)]
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        try:
            endpoint = process.stdout.readline().strip() if process.stdout else ""
            if not endpoint:
                errors.seek(0)
                raise MeasurementFailed(f"{name} {amount} was not prepared\n{errors.read()[-2000:]}")
            yield endpoint
        finally:
            process.terminate()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures single cases and prints their figures. Returns the exit code."""
    parser = ArgumentParser(prog="python -m benchmarks.scale", description="Measure single cases of scale.")
    parser.add_argument(
        "cases", nargs="+", metavar="case:amount", help=f"a case and its amount; cases: {', '.join(CASES)}"
    )
    names = [case.partition(":")[::2] for case in parser.parse_args(arguments).cases]
    if wrong := [name for name, amount in names if name not in CASES or not amount.isdecimal()]:
        parser.error(f"{', '.join(wrong)}: give a case and its amount, as in known:1000")
    figures = [(name, int(amount), measure_case(name, int(amount))) for name, amount in names]
    rows = [
        [name, f"{amount:,}", f"{case.seconds:.2f}", f"{case.requests:,}", *case.cells]
        for name, amount, case in figures
    ]
    columns = ("case", "amount", "s", "requests", *FIGURES)
    Console(width=130).print(FigureTable(f"{LATENCY * 1000:.0f} ms a request", columns, rows).rich())
    return 0


if __name__ == "__main__":
    sys.exit(main())
