"""`run`, `runs` and `deliver`: the job with the settings of the environment."""

import sys
from datetime import datetime
from typing import Annotated

import typer

from detection.base.errors import ConfigurationError
from detection.base.json_types import json_values
from detection.cli.options import (
    RowFormat,
    RowFormatOption,
    TextFormat,
    clock,
    environment_job,
    time_option,
)
from detection.cli.output import (
    write_failed_attempt,
    write_json_line,
    write_rejected,
    write_remark,
    write_rows,
)
from detection.cli.summary import coverage_warnings, record_lines, run_health, run_row
from detection.logs.window import Window
from detection.messages.text import escape_line, plural

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


def run(
    run_time: Annotated[datetime | None, time_option("--at", "Time of the run. Defaults to now")] = None,
    begin: Annotated[datetime | None, time_option("--from", "Start of a recorded gap to read")] = None,
    end: Annotated[datetime | None, time_option("--to", "End of the gap")] = None,
    output_format: Annotated[
        TextFormat, typer.Option("--format", help="Output format; json prints one run record per line.")
    ] = TextFormat.text,
) -> None:
    """Run every rule once, for real: read, correlate, commit and send messages.

    The settings come from the environment. With --from and --to, it reads a gap and keeps the watermark.
    """
    if (begin is None) is not (end is None) or (run_time and begin):
        raise ConfigurationError("give --at, or --from and --to")
    if max(filter(None, (run_time, end)), default=clock()) > clock():
        raise ConfigurationError("--at and --to must not be ahead of the clock")
    job = environment_job()
    records = job.detect_gap(Window(begin, end)) if begin and end else job.detect(run_time)
    for record in records:
        write_rejected(record.rejected)
        if output_format is TextFormat.json:
            write_json_line(json_values(record))
        else:
            print("\n".join(record_lines(record)))


def runs(
    last: Annotated[int, typer.Option(min=1, help="Number of runs per rule.")] = 10,
    output_format: RowFormatOption = RowFormat.table,
) -> None:
    """List the last runs, the newest first, and the silences in force.

    Exits 1 if the last run of a rule failed.
    """
    job = environment_job()
    records, ages = job.records(last), job.ages(clock())
    write_rows(map(run_row, records), COLUMNS, output_format)
    run_healths = [run_health(rule, age, records) for rule, age in ages.items()]
    for health in run_healths:
        write_remark(health.text)
    for text in coverage_warnings(list(ages), records):
        write_remark(text)
    for active in job.desk.active_silences():
        write_remark(escape_line(f"{active.title}: {active.silence.criteria_text}"))
    if not all(health.healthy for health in run_healths):
        sys.exit(1)


def deliver(
    retry_dead: Annotated[bool, typer.Option("--retry-dead", help="Send dead letters again, too.")] = False,
) -> None:
    """Send the messages that are due. Exits 1 if an attempt failed."""
    job = environment_job()
    if retry_dead:
        write_remark(f"{plural(job.requeue(), 'dead letter')} requeued")
    attempts = job.deliver(report=write_failed_attempt)
    failed_count = sum(not attempt.outcome.sent for attempt in attempts)
    print(f"{len(attempts) - failed_count} sent, {failed_count} failed")
    if failed_count:
        sys.exit(1)
