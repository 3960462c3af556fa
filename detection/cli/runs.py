"""`runs`: the last runs, how long ago the last complete one was, and why later ones were not."""

import sys
from typing import Annotated

import typer

from detection.cli.environment import clock, job
from detection.cli.options import Format
from detection.cli.output import say, write_rows
from detection.cli.summary import blind_rules, run_row, standing

COLUMNS = [
    "rule",
    "at",
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
    form: Annotated[Format, typer.Option("--format", help="A JSON object is a line.")] = Format.table,
) -> None:
    """List the last runs, the newest first, and why those that failed did; exit code 1 if a rule's last run failed."""
    present = job()
    records, ages = present.records(last), present.ages(clock())
    write_rows(map(run_row, records), COLUMNS, form)
    standings = [standing(rule, age, records) for rule, age in ages.items()]
    for one in standings:
        say(one.text)
    for text in blind_rules(list(ages), records):
        say(text)
    if not all(one.good for one in standings):
        sys.exit(1)
