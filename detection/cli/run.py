"""`run`: one run with the environment's settings, for real."""

from datetime import datetime
from typing import Annotated

import typer

from detection.app import json_values
from detection.base.errors import ConfigurationError
from detection.cli.environment import clock, environment_job
from detection.cli.options import TextFormat, time_option
from detection.cli.output import write_json_line, write_rejected
from detection.cli.summary import record_lines
from detection.logs.window import Window


def run(
    run_time: Annotated[datetime | None, time_option("--at", "The run's moment; now if not given")] = None,
    begin: Annotated[datetime | None, time_option("--from", "Read a gap: from here")] = None,
    end: Annotated[datetime | None, time_option("--to", "Read a gap: up to here")] = None,
    output_format: Annotated[
        TextFormat, typer.Option("--format", help="json: a run record is a line.")
    ] = TextFormat.text,
) -> None:
    """One run with the settings of the environment: it reads, commits, and tells. Not a drill.

    With --from and --to it reads a stretch that was recorded as a gap, and the watermark stays.
    """
    if (begin is None) is not (end is None) or (run_time and begin):
        raise ConfigurationError("give --at, or --from and --to")
    if max(filter(None, (run_time, end)), default=clock()) > clock():
        raise ConfigurationError("the moment lies ahead of the clock")
    job = environment_job()
    records = job.detect_gap(Window(begin, end)) if begin and end else job.detect(run_time)
    for record in records:
        write_rejected(record.rejected)
        if output_format is TextFormat.json:
            write_json_line(json_values(record))
        else:
            print("\n".join(record_lines(record)))
