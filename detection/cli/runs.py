"""`runs`: the last runs, and how long ago the last complete one was."""

import sys
from typing import Annotated

import typer

from detection.cli.environment import clock, job
from detection.cli.options import Format
from detection.cli.output import say, write_rows
from detection.cli.summary import run_row

COLUMNS = ["rule", "at", "changes", "signals", "chains", "pairs", "new_pairs", "alerts", "gap"]


def runs(
    last: Annotated[int, typer.Option(min=1, help="How many of each rule.")] = 10,
    form: Annotated[Format, typer.Option("--format", help="A JSON object is a line.")] = Format.table,
) -> None:
    """List the last complete runs, the newest first; exit code 1 if a rule has had none."""
    present = job()
    write_rows((run_row(record) for record in present.records(last)), COLUMNS, form)
    ages = present.ages(clock())
    for rule, age in ages.items():
        say(
            f"{rule}: "
            + (f"the last complete run was {age} ago" if age is not None else "no complete run yet")
        )
    if None in ages.values():
        sys.exit(1)
