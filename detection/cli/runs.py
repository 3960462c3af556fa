"""`runs`: the last runs, how long ago the last complete one was, and why later ones were not."""

import sys
from typing import Annotated

import typer

from detection.cli.environment import clock, environment_job
from detection.cli.options import RowFormat
from detection.cli.output import write_remark, write_rows
from detection.cli.summary import blind_rules, run_health, run_row

COLUMNS = [
    "rule",
    "time",
    "outcome",
    "changes",
    "signals",
    "chains",
    "pairs",
    "new_pairs",
    "silenced",
    "alerts",
    "coverage",
    "gap",
    "reason",
]


def runs(
    last: Annotated[int, typer.Option(min=1, help="How many of each rule.")] = 10,
    output_format: Annotated[
        RowFormat, typer.Option("--format", help="A JSON object is a line.")
    ] = RowFormat.table,
) -> None:
    """List the last runs, the newest first, and why those that failed did; exit code 1 if a rule's last run failed."""
    job = environment_job()
    records, ages = job.records(last), job.ages(clock())
    write_rows(map(run_row, records), COLUMNS, output_format)
    run_healths = [run_health(rule, age, records) for rule, age in ages.items()]
    for health in run_healths:
        write_remark(health.text)
    for text in blind_rules(list(ages), records):
        write_remark(text)
    if not all(health.healthy for health in run_healths):
        sys.exit(1)
