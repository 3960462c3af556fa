"""`run`: one run with the environment's settings, for real."""

from datetime import datetime
from typing import Annotated

import typer

from detection.cli.environment import clock, job
from detection.cli.options import AlertFormat, time_option
from detection.cli.output import json_line, say_rejected
from detection.cli.summary import record_lines
from detection.errors import ConfigurationError
from detection.job import plain
from detection.window import Window


def run(
    at: Annotated[datetime | None, time_option("--at", "The run's moment; now if not given")] = None,
    begin: Annotated[datetime | None, time_option("--from", "Read a gap: from here")] = None,
    end: Annotated[datetime | None, time_option("--to", "Read a gap: up to here")] = None,
    form: Annotated[
        AlertFormat, typer.Option("--format", help="json: a run record is a line.")
    ] = AlertFormat.text,
) -> None:
    """One run with the settings of the environment: it reads, commits, and tells. Not a drill.

    With --from and --to it reads a stretch that was recorded as a gap, and the watermark stays.
    """
    if (begin is None) is not (end is None) or (at and begin):
        raise ConfigurationError("give --at, or --from and --to")
    if max(filter(None, (at, end)), default=clock()) > clock():
        raise ConfigurationError("the moment lies ahead of the clock")
    present = job()
    records = present.detect_gap(Window(begin, end)) if begin and end else present.detect(at)
    for record in records:
        say_rejected(record.rejected)
        if form is AlertFormat.json:
            json_line(plain(record))
        else:
            print("\n".join(record_lines(record)))
