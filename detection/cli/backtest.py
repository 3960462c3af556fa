"""`backtest`: what a rule would have told over a stretch of the past."""

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from detection.backtest.backtest import Plan, backtested, planned
from detection.backtest.page import page
from detection.cli.backtest_tables import tables
from detection.cli.environment import clock, job
from detection.cli.options import ReportFormat, RuleName, time_option
from detection.cli.output import json_line, progress, say, say_loaded, say_rejected
from detection.errors import ConfigurationError
from detection.job import plain
from detection.replay import Replayed
from detection.rule import default_rule
from detection.sources.log_analytics import open_log_analytics
from detection.sources.past import Archive, across_rows
from detection.sources.past_files import past_files
from detection.sources.past_workspace import PastWorkspace


def backtest(
    begin: Annotated[datetime, time_option("--from", "The first run")],
    end: Annotated[datetime, time_option("--to", "The last run is at or before this")],
    logs: Annotated[
        Path | None,
        typer.Option(
            "--logs", metavar="DIR", help="Folder of exported logs: <table>*.jsonl, .csv or .parquet."
        ),
    ] = None,
    workspace: Annotated[
        str | None,
        typer.Option(
            "--workspace", metavar="ID", help="Read a Log Analytics workspace (several: comma-separated)."
        ),
    ] = None,
    rule: RuleName = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="A setting or a key of rule.yaml otherwise; may be repeated."
        ),
    ] = None,
    silences: Annotated[
        bool,
        typer.Option("--silences", help="Say what each silence of INCIDENT_STORAGE would remove, too."),
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE.html", help="Write the report with pictures there."),
    ] = None,
    form: Annotated[ReportFormat, typer.Option("--format", help="json: one object.")] = ReportFormat.table,
) -> None:
    """Try a rule on the past: hourly runs over logs that are read once. Never posts anything, keeps nothing."""
    environment = {**os.environ, "LOG_ANALYTICS_WORKSPACE_ID": workspace or ""}
    plan = planned(rule or default_rule(), begin, end, sets or [], environment)
    known = list(job().index(plan.rule).silences()) if silences else []
    if word := across_rows(plan.rule):
        say(f"replay may say more: the rule's queries look across rows, here of several runs at once: {word}")
    with progress() as bar, ExitStack() as opened:
        reading = bar.add_task("reading the logs", total=None)
        archive = opened.enter_context(_archive(plan, logs))

        def watch(runs: Iterable[Replayed], number: int, what: str) -> Iterable[Replayed]:
            bar.update(reading, visible=False)
            return bar.track(runs, total=number, description=what)

        result = backtested(plan, archive, known, watch)
    say_rejected(result.rejected)
    if report:
        _write(report, page(result, plan.rule))
    if form is ReportFormat.json:
        json_line(plain(result))
    else:
        tables(result, plan.rule)


@contextmanager
def _archive(plan: Plan, logs: Path | None) -> Iterator[Archive]:
    """Where the logs of the past come from."""
    settings = plan.settings
    if bool(logs) is bool(settings.LOG_ANALYTICS_WORKSPACE_ID):
        raise ConfigurationError("give --logs or --workspace, and not both")
    if logs:
        tables = plan.rule.tables | (plan.published.tables if plan.published else {})
        with past_files(logs, tables) as files:
            say_loaded(files.loaded)
            yield files
        return
    opened = open_log_analytics(
        settings.LOG_ANALYTICS_WORKSPACE_ID,
        settings.LOG_ANALYTICS_ENDPOINT,
        settings.AZURE_CLIENT_ID,
        clock,
        inline=settings.PARSERS == "inline",
    )
    try:
        yield PastWorkspace(opened)
    finally:
        opened.close()


def _write(report: Path, text: str) -> None:
    try:
        report.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{report} cannot be written to: {error.strerror}") from error
    say(f"the report is in {report}")
