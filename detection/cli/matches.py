"""`matches`: what a rule's query returns at a moment, without any memory."""

from datetime import datetime
from typing import Annotated

import typer

from detection.cli.options import Format, Logs, RuleName, time_option
from detection.cli.output import (
    progress,
    reading,
    say_held_back,
    say_loaded,
    say_rejected,
    write_lines,
    write_rows,
)
from detection.matches import matches_at
from detection.rows import columns
from detection.rule import default_rule, load_rule
from detection.sources.files import Files
from detection.withheld import held_back


def matches(
    logs: Logs,
    at: Annotated[datetime, time_option("--at", "The moment; what was ingested after it is not there yet")],
    rule: RuleName = None,
    form: Annotated[Format, typer.Option("--format", help="A JSON object is a line.")] = Format.table,
) -> None:
    """Print what the rule's query returns at a moment, the newest change first: no memory, nothing is told."""
    chosen = load_rule(rule or default_rule())
    with progress() as bar, reading(bar):
        source = Files(logs, chosen.tables)
        found = matches_at(chosen, at, source)
    say_loaded(source.loaded)
    say_rejected(found.logs.rejected)
    say_held_back(held_back(found.logs, chosen, found.windows, found.undecided))
    if form is Format.json:
        write_lines(found.lines())
    else:
        write_rows(found.rows(), columns(chosen), form)
