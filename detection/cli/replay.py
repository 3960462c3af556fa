"""`replay`: the alerts of hourly runs over the past."""

from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Annotated

import typer

from detection.base.errors import ConfigurationError
from detection.cli.options import LogsFolder, RuleName, TextFormat, duration_option, moment, time_option
from detection.cli.output import (
    progress,
    reading_progress,
    write_alert,
    write_ignored_columns,
    write_rejected,
    write_remark,
)
from detection.logs.history.files import open_file_archive
from detection.logs.history.past import RunRange, cross_row_keyword
from detection.messages.text import plural
from detection.rules.loading import default_rule, load_rule
from detection.runs.replay import replay as run_replay
from detection.runs.replay import run_times
from detection.store.table import MemoryTable


def replay(
    logs_folder: LogsFolder,
    begin: Annotated[datetime, time_option("--from", "Time of the first run")],
    end: Annotated[datetime, time_option("--to", "Latest time of the last run")],
    interval: Annotated[
        timedelta | None,
        duration_option("--every", "Time between runs. Defaults to the rule's queryFrequency"),
    ] = None,
    skip: Annotated[str, typer.Option(metavar="TIME,…", help="Times of runs to leave out.")] = "",
    rule_name: RuleName = None,
    output_format: Annotated[
        TextFormat, typer.Option("--format", help="Output format; json prints one alert per line.")
    ] = "text",
    with_pairs: Annotated[
        bool, typer.Option("--pairs", help="With --format json: add every pair, as `matches` prints it.")
    ] = False,
) -> None:
    """Run a rule hourly over the past and print its alerts. Stores nothing and sends nothing.

    A run reads the rows that had arrived by its time, by _ingested or else by the row's time stamp.
    """
    if with_pairs and output_format != "json":
        raise ConfigurationError("--pairs needs --format json")
    rule = load_rule(rule_name or default_rule())
    interval = interval or rule.query_frequency
    skipped = {moment(text.strip()) for text in skip.split(",") if text.strip()}
    times = run_times(begin, end, interval, skipped)
    last_run = None
    with progress() as bar, ExitStack() as exit_stack:
        with reading_progress(bar):
            files = exit_stack.enter_context(open_file_archive(logs_folder, rule.tables))
            source = files.source(rule, RunRange.of_runs(times, interval, rule))
        write_ignored_columns(files.loaded)
        if keyword := cross_row_keyword(rule):
            write_remark(f"slow: every run reads the logs again, because the rule's query uses {keyword}")
        runs = run_replay(rule, source, times, MemoryTable())
        for last_run in bar.track(runs, total=len(times), description="replaying"):
            for verdict in last_run.verdicts:
                write_alert(verdict, rule, last_run.record.windows.now, output_format, with_pairs=with_pairs)
    write_rejected(last_run.record.rejected if last_run else {})
    write_remark(plural(len(times), "run"))
