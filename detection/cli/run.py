"""`run`, `runs` and `deliver`: the job with the settings of the environment."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated

import typer

from detection.app import Job
from detection.base.errors import ConfigurationError
from detection.base.json_types import json_values
from detection.base.timestamps import iso
from detection.cli.acts import act
from detection.cli.options import (
    DirectOption,
    RowFormatOption,
    TextFormat,
    clock,
    environment_job,
    time_option,
)
from detection.cli.output import (
    damage_text,
    progress,
    require_whole,
    unsent_text,
    write_failed_attempt,
    write_json_line,
    write_rejected,
    write_remark,
    write_rows,
)
from detection.cli.summary import coverage_warnings, record_lines, run_health, run_row
from detection.delivery.deliver import Attempt
from detection.messages.text import escape_name, plural
from detection.runs.record import RunRecord
from detection.store.gaps import Gap
from detection.store.layout import DamagedRow
from detection.store.table import MemoryTable

DAY = timedelta(days=1)
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
    gap_name: Annotated[
        str | None,
        typer.Argument(
            metavar="GAP", help="With --gap: id of the gap, as `runs` lists it.", show_default=False
        ),
    ] = None,
    run_time: Annotated[datetime | None, time_option("--at", "Time of the run. Defaults to now")] = None,
    gap: Annotated[
        bool,
        typer.Option("--gap", help="Read a gap instead. Without an id, all open gaps, the oldest first."),
    ] = False,
    output_format: Annotated[
        TextFormat, typer.Option("--format", help="Output format; json prints one run record per line.")
    ] = "text",
) -> None:
    """Run every rule once, for real: read, correlate, commit and send messages.

    The settings come from the environment. Without INCIDENT_STORAGE, incidents are in memory until the run
    ends. With --gap, it reads a gap for its rule and keeps the watermark. A reading that ends early is
    continued by the next. Exits 1 if a message was not sent.
    """
    if (gap and run_time) or (gap_name and not gap):
        raise ConfigurationError("give --at TIME, or --gap and the id of a gap")
    if run_time and run_time > clock():
        raise ConfigurationError("--at must not be ahead of the clock")
    job, attempts = _reporting(environment_job(in_memory=not gap))
    for record in _read_gaps(job, gap_name) if gap else job.detect(run_time):
        write_rejected(record.rejected)
        if output_format == "json":
            write_json_line(json_values(record))
        else:
            print("\n".join(record_lines(record)))
    _require_sent(job, attempts)


def _reporting(job: Job) -> tuple[Job, list[Attempt]]:
    """The job, with a remark for each failed attempt at a message, and the list that gets every attempt."""
    attempts: list[Attempt] = []

    def report(attempt: Attempt) -> None:
        write_failed_attempt(attempt)
        attempts.append(attempt)

    return replace(job, report=report), attempts


def _require_sent(job: Job, attempts: Sequence[Attempt]) -> None:
    """Ends the command with 1 if messages wait or attempts made dead letters; remarks say what to do."""
    if not job.settings.destinations and any(rule.on_call.mode == "page" for rule in job.rules):
        write_remark("no destination is set, so alerts notify no person; set WEBHOOK_URL or WEBHOOKS")
    waiting = job.waiting()
    dead_count = sum(not attempt.outcome.sent and attempt.next_due is None for attempt in attempts)
    if not waiting and not dead_count:
        return
    if isinstance(job.table, MemoryTable):
        write_remark(unsent_text(len(waiting) + dead_count))
        sys.exit(1)
    if waiting:
        due = iso(min(delivery.due for delivery in waiting))
        verb = "waits" if len(waiting) == 1 else "wait"
        write_remark(
            f"{plural(len(waiting), 'message')} {verb} in the outbox, the next attempt is due at {due}; the "
            "app makes it by DELIVER_SCHEDULE, and so does `python -m detection deliver`"
        )
    if dead_count:
        verb = "is a dead letter" if dead_count == 1 else "are dead letters"
        write_remark(
            f"{plural(dead_count, 'message')} {verb} and no attempt follows; repair the destination, then "
            "run `python -m detection deliver --retry-dead`"
        )
    sys.exit(1)


def _read_gaps(job: Job, name: str | None) -> list[RunRecord]:
    gaps = job.desk.open_gaps_of(name) if name else job.desk.open_gaps()
    if not gaps:
        write_remark("no gap is open")
    with progress() as bar:
        tasks = {
            open_gap.id: bar.add_task(
                f"gap {open_gap.id}, days", total=(open_gap.until - open_gap.after) / DAY
            )
            for _, open_gap in gaps
        }

        def report(open_gap: Gap, record: RunRecord) -> None:
            read_until = record.windows.changes.until or open_gap.until
            bar.update(tasks[open_gap.id], completed=(read_until - open_gap.after) / DAY)

        return job.read_gaps(gaps, report)


def runs(
    last: Annotated[int, typer.Option(min=1, help="Number of runs per rule.")] = 10,
    output_format: RowFormatOption = "table",
) -> None:
    """List the last runs, the newest first, the open gaps, and the silences in force.

    Exits 1 if the last run of a rule failed, no rule runs, or a list is not complete.
    """
    job, damages = environment_job(), list[DamagedRow]()
    records, ages = job.records(last, damages.append), job.ages(clock())
    write_rows(map(run_row, records), COLUMNS, output_format)
    run_healths = [run_health(rule, age, records) for rule, age in ages.items()]
    for health in run_healths:
        write_remark(health.text)
    for text in coverage_warnings(list(ages), records):
        write_remark(text)
    for folder, gap in job.desk.open_gaps(damages.append):
        write_remark(f"{folder}: {gap.title}")
    for active in job.desk.active_silences(damages.append):
        write_remark(escape_name(f"{active.title}: {active.silence.criteria_text}"))
    if not run_healths:
        write_remark("no rule runs: every rule is disabled")
    require_whole([*map(damage_text, damages)])
    if not run_healths or not all(health.healthy for health in run_healths):
        sys.exit(1)


def deliver(
    retry_dead: Annotated[
        bool,
        typer.Option(
            "--retry-dead", help="Have the app send dead letters again. With --direct, send them from here."
        ),
    ] = False,
    direct: DirectOption = False,
) -> None:
    """Send the messages that are due, with the settings and rights of the job. Exits 1 if a message still
    waits or is given up.

    With --retry-dead and without --direct, this command sends nothing: the app does, by its schedule.
    """
    if retry_dead:
        requeued = act("messages/retry", {}, direct=direct)["requeued"]
        write_remark(f"{plural(requeued, 'dead letter')} requeued")
        if not direct:
            write_remark("the app sends them with its next delivery")
            return
    job, attempts = _reporting(environment_job())
    job.deliver()
    failed_count = sum(not attempt.outcome.sent for attempt in attempts)
    print(f"{len(attempts) - failed_count:,} sent, {failed_count:,} failed")
    _require_sent(job, attempts)
