"""`run`: one run with the environment's settings, for real."""

import sys
from datetime import datetime
from typing import Annotated

import typer

from detection.base.errors import ConfigurationError
from detection.base.json_types import json_values
from detection.cli.options import RowFormat, TextFormat, clock, environment_job, time_option
from detection.cli.output import write_json_line, write_rejected, write_remark, write_rows
from detection.cli.summary import blind_rules, record_lines, run_health, run_row
from detection.delivery.deliver import Attempt
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


def deliver(
    retry_dead: Annotated[bool, typer.Option("--retry-dead", help="Try dead letters again as well.")] = False,
) -> None:
    """Send the messages that are due; exit code 1 if one could not be sent."""
    job = environment_job()
    if retry_dead:
        write_remark(f"{job.requeue()} dead letters are due again")
    attempts = job.deliver(report=_report_failure)
    failed = [attempt for attempt in attempts if not attempt.outcome.sent]
    print(f"{len(attempts) - len(failed)} sent, {len(failed)} failed")
    if failed:
        sys.exit(1)


def _report_failure(attempt: Attempt) -> None:
    if not attempt.outcome.sent:
        delivery, reason = attempt.delivery, attempt.outcome.dead_reason or attempt.outcome.reason
        write_remark(
            f"not sent: {delivery.id} to {delivery.destination}, attempt {delivery.attempt}: {reason}"
        )
